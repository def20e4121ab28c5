internal import ParleyCore
internal import Testing

@testable internal import ParleyResilience

@Suite struct OutlierDetectorTests {
    private func detector(_ count: Int, _ change: (inout OutlierPolicy) -> Void = { _ in }) -> OutlierDetector {
        var policy = OutlierPolicy(consecutiveFailures: 3, baseTime: .seconds(30), longestTime: .seconds(70))
        change(&policy)
        var detector = OutlierDetector(policy)
        detector.rearrange([Int?](repeating: nil, count: count))
        return detector
    }

    private func fail(_ detector: inout OutlierDetector, _ place: Int, _ count: Int = 3, at now: Duration) -> [Int] {
        var ejected: [Int] = []
        for _ in 0..<count { ejected += detector.record(.ill, of: place, at: at(now)) }
        return ejected
    }

    @Test(arguments: [(0, 0), (1, 0), (2, 1), (3, 1), (10, 1), (20, 2), (29, 2), (100_000, 10_000)])
    func atMostATenthAndAtLeastOneButNeverTheLast(_ count: Int, _ most: Int) {
        #expect(self.detector(count).mostEjected == most)
        #expect(self.detector(count) { $0.maxEjectedPercent = 100 }.mostEjected == max(0, count - 1))
        #expect(self.detector(count) { $0.maxEjectedPercent = 0 }.mostEjected == 0)
    }

    @Test func failuresInARowEjectAndTimeBringsBack() {
        var detector = self.detector(2)
        #expect(self.fail(&detector, 0, 2, at: .zero).isEmpty)
        #expect(self.fail(&detector, 0, 1, at: .zero) == [0])
        #expect(detector.isEjected(0, at: at(.seconds(29))) && !detector.isEjected(0, at: at(.seconds(30))))
        // The other one is all that is left.
        #expect(self.fail(&detector, 1, 10, at: .seconds(1)).isEmpty)
    }

    @Test func theTimeGrowsWithTheCountToItsCapAndSuccessLowersIt() {
        var detector = self.detector(2)
        var now = Duration.zero
        var times: [Duration] = []
        for _ in 0..<4 {
            #expect(self.fail(&detector, 0, at: now) == [0])
            guard let until = detector.ejectedUntil(0) else { return }
            times.append(at(now).duration(to: until))
            now = origin.duration(to: until)
        }
        #expect(times == [30, 60, 70, 70].map { .seconds($0) } && detector.ejections(of: 0) == 4)
        for _ in 0..<100 { _ = detector.record(.well, of: 0, at: at(now + .seconds(10))) }
        #expect(detector.ejections(of: 0) == 3)
        for step in 2...9 { _ = detector.record(.well, of: 0, at: at(now + .seconds(10 * step))) }
        #expect(detector.ejections(of: 0) == 0)
    }

    @Test func whoFailsFarMoreThanTheOthersIsEjectedAtTheEndOfAnInterval() {
        var detector = self.detector(10) { $0.consecutiveFailures = 0 }
        for call in 0..<60 {
            for place in 0..<10 {
                let health: InstanceHealth = place == 4 && call % 10 != 0 ? .ill : .well
                #expect(detector.record(health, of: place, at: at(.milliseconds(call))).isEmpty)
            }
        }
        #expect(detector.record(.well, of: 0, at: at(.seconds(11))) == [4])
    }

    @Test func whoHasNothingToBeComparedWithIsNotJudged() {
        var detector = self.detector(4) { $0.consecutiveFailures = 0 }
        for _ in 0..<60 { for place in 0..<4 { _ = detector.record(place == 1 ? .ill : .well, of: place, at: origin) } }
        #expect(detector.record(.well, of: 0, at: at(.seconds(11))).isEmpty)
    }

    @Test func placesMoveWithTheirInstances() {
        var detector = self.detector(3)
        _ = self.fail(&detector, 2, at: .zero)
        detector.rearrange([2, nil, 0])
        #expect([0, 1, 2].map { detector.isEjected($0, at: at(.seconds(1))) } == [true, false, false])
        detector.rearrange([1, 2])
        #expect(detector.ejectedCount(at: at(.seconds(1))) == 0)
        // One that never was, as a caller's mistake.
        detector.rearrange([7, -1])
        #expect(detector.record(.ill, of: 9, at: origin).isEmpty)
    }

    @Test(arguments: 1...40 as ClosedRange<UInt64>) func neverMoreThanItsShareWhateverComes(seed: UInt64) {
        let lots = Lots(seed)
        var count = 1 + lots.below(40)
        var detector = self.detector(count) { $0.maxEjectedPercent = 5 + lots.below(60) }
        var row = [Int](repeating: 0, count: count)
        var now = Duration.zero
        for step in 0..<1_500 {
            now += .milliseconds(lots.happens(1) ? 60_000 : lots.happens(3) ? -500 : lots.below(200))
            if lots.happens(2) {
                let gone = lots.below(count)
                let origins: [Int?] = (0..<count).filter { $0 != gone || count == 1 }.map { $0 } + [nil]
                detector.rearrange(origins)
                row = origins.map { $0.map { row[$0] } ?? 0 }
                count = origins.count
                continue
            }
            let place = lots.below(count)
            let health: InstanceHealth = lots.happens(60) ? .ill : lots.happens(10) ? .unknown : .well
            let wasEjected = detector.isEjected(place, at: at(now))
            let before = detector.ejectedCount(at: at(now))
            let ejected = detector.record(health, of: place, at: at(now))
            // A row of three ejects exactly if there is room; fewer never do (the share of failures is not asked here,
            // because no instance has fifty calls).
            if !wasEjected, health == .ill { row[place] += 1 }
            if !wasEjected, health == .well { row[place] = 0 }
            let hasRoom = before < detector.mostEjected
            let expected = !wasEjected && health == .ill && row[place] >= 3 && hasRoom
            #expect(ejected == (expected ? [place] : []), "seed \(seed), step \(step)")
            if expected {
                row[place] = 0
                #expect(detector.ejectedCount(at: at(now)) <= detector.mostEjected, "seed \(seed), step \(step)")
            }
        }
    }

    @Test func strangePoliciesAreBroughtIntoRange() {
        for number in strangeNumbers {
            for duration in strangeDurations {
                var detector = OutlierDetector(
                    OutlierPolicy(
                        consecutiveFailures: number,
                        failurePercent: number,
                        minimumRequests: number,
                        minimumInstances: number,
                        interval: duration,
                        baseTime: duration,
                        longestTime: duration,
                        maxEjectedPercent: number
                    )
                )
                detector.rearrange([nil, nil, nil])
                for moment in [0, -3_600, 3_600, 1_000_000_000] {
                    for _ in 0..<10 { _ = detector.record(.ill, of: 1, at: at(.seconds(moment))) }
                    #expect(detector.ejectedCount(at: at(.seconds(moment))) <= 2)
                }
            }
        }
    }
}
