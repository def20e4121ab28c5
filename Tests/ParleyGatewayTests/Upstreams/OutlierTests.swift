internal import ParleyGateway
internal import Testing

@Suite struct OutlierTests {
    /// Ten peers with port 1 to 10 that `max_fails` leaves alone.
    private func group(
        _ count: Int = 10,
        successRate: SuccessRateRules? = nil,
        _ change: (inout OutlierRules) -> Void = { _ in }
    ) throws -> PeerGroup {
        var rules = OutlierRules()
        change(&rules)
        return try peerGroup((1...count).map { port in peer(port) { $0.maxFails = 0 } }) {
            $0.outliers = rules
            $0.successRate = successRate
        }
    }

    /// Sends a request to a peer; whether it was ejected for the answer.
    private func answer(_ group: PeerGroup, _ port: Int, _ answer: AnswerClass, now: Int64 = 0) throws -> Bool {
        var tried = PeerSet()
        while let peer = group.pick(&tried, now: now) {
            if group.port(peer) == port { return group.finish(peer, .succeeded, answer: answer, now: now) }
            group.finish(peer, .notCounted, now: now)
        }
        Issue.record("\(port) is not eligible")
        return false
    }

    private func eject(_ group: PeerGroup, _ port: Int, now: Int64 = 0) throws -> Bool {
        for _ in 0..<4 { #expect(try !self.answer(group, port, .serverError, now: now)) }
        return try self.answer(group, port, .serverError, now: now)
    }

    @Test func fiveInARow() throws {
        let group = try self.group()
        for answer in [AnswerClass.serverError, .gatewayFailure, .serverError, .serverError, .good] {
            #expect(try !self.answer(group, 3, answer))
        }
        #expect(try self.eject(group, 3))
        #expect(group.state(3)?.standing == .ejected)
        #expect(group.state(3)?.ejectedUntil == 30_000)
        #expect(!(0..<50).contains { _ in group.ports(now: 29_999) == [3] })
        #expect((0..<10).contains { _ in group.ports(now: 30_000) == [3] })
    }

    @Test func gatewayFailuresHaveALimitOfTheirOwn() throws {
        let group = try self.group {
            $0.consecutive5xx = 0
            $0.consecutiveGatewayFailures = 2
        }
        for _ in 0..<9 { #expect(try !self.answer(group, 1, .serverError)) }
        #expect(try !self.answer(group, 1, .gatewayFailure))
        #expect(try !self.answer(group, 1, .serverError))
        #expect(try !self.answer(group, 1, .gatewayFailure))
        #expect(try self.answer(group, 1, .gatewayFailure))
    }

    @Test func eachTimeLongerUpToTheCap() throws {
        let group = try self.group { $0.maxEjection = 70_000 }
        var now: Int64 = 0
        for time in [30_000, 60_000, 70_000, 70_000] as [Int64] {
            #expect(try self.eject(group, 1, now: now))
            #expect(group.state(1, now: now)?.ejectedUntil == now + time)
            now += time
        }
        #expect(group.state(1, now: now)?.ejections == 4)
        // Each interval in the group makes up for one.
        for _ in 0..<3 { _ = group.endOutlierInterval(now: now) }
        #expect(try self.eject(group, 1, now: now))
        #expect(group.state(1, now: now)?.ejectedUntil == now + 60_000)
        _ = group.endOutlierInterval(now: now)
        #expect(group.state(1, now: now)?.ejections == 2)
    }

    @Test func oneAlwaysMoreOnlyByTheirShare() throws {
        let small = try self.group(2)
        #expect(try self.eject(small, 1))
        #expect(try !self.eject(small, 2))
        let two = try self.group { $0.maxEjectedPercent = 29 }
        #expect(try self.eject(two, 1))
        #expect(try self.eject(two, 2))
        #expect(try !self.eject(two, 3))
        // When there is room again, its next failure is enough.
        #expect(try self.answer(two, 3, .serverError, now: 30_000))
    }

    @Test func theOnlyOneAsWell() throws {
        let group = try self.group(1)
        #expect(try self.eject(group, 1))
        #expect(group.pickOnce(now: 29_999) == nil)
        #expect(group.pickOnce(now: 30_000) != nil)
    }

    @Test func whatWasUnderWayCountsOnce() throws {
        let group = try self.group(2)
        var held: [PeerID] = []
        for _ in 0..<40 { held.append(try #require(group.pickOnce())) }
        let mine = held.filter { group.port($0) == 1 }
        let ejections = mine.map { group.finish($0, .failed, answer: .gatewayFailure, now: 0) }
        #expect(ejections.count { $0 } == 1)
        #expect(group.state(1)?.ejections == 1)
        #expect(try !self.answer(group, 1, .gatewayFailure, now: 30_000))
    }

    @Test func aPassedCheckReadmits() throws {
        let group = try peerGroup([peer(1) { $0.maxFails = 0 }, peer(2)]) {
            $0.outliers = OutlierRules()
            $0.healthCheck = HealthCheckRules(kind: .tcp)
        }
        #expect(try self.eject(group, 1))
        let id = try #require(group.state(1)?.id)
        #expect(group.recordCheck(of: id, hasPassed: true, now: 1) == nil)
        #expect(group.state(1, now: 1)?.standing == .available)
        #expect(group.state(1, now: 1)?.ejections == 1)
    }

    @Test func bySuccessRate() throws {
        var rules = SuccessRateRules()
        rules.minRequests = 20
        let group = try self.group(6, successRate: rules) {
            $0.consecutive5xx = 0
            $0.consecutiveGatewayFailures = 0
        }
        func interval(_ count: Int, goodOf: (Int) -> Int, at now: Int64) throws -> [Int] {
            for port in 1...6 where group.state(port, now: now)?.standing == .available {
                for number in 0..<count {
                    _ = try self.answer(group, port, number < goodOf(port) ? .good : .serverError, now: now)
                }
            }
            return group.endOutlierInterval(now: now).compactMap { group.port($0) }
        }
        // Too few requests to say.
        #expect(try interval(19, goodOf: { $0 == 2 ? 0 : 19 }, at: 0).isEmpty)
        // All alike, whatever they are.
        #expect(try interval(20, goodOf: { _ in 3 }, at: 10_000).isEmpty)
        // One of six lies sqrt(5) deviations off; of two, both less than 1.9.
        #expect(try interval(20, goodOf: { $0 <= 2 ? 5 : 20 }, at: 20_000).isEmpty)
        #expect(try interval(20, goodOf: { $0 == 2 ? 5 : 20 }, at: 30_000) == [2])
        #expect(group.state(2, now: 30_000)?.standing == .ejected)
        // The five that are left can still be compared, but one is all that may be out.
        #expect(try interval(20, goodOf: { $0 == 3 ? 5 : 20 }, at: 40_000).isEmpty)
    }
}
