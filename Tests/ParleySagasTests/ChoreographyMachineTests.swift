import ParleyCore
import ParleySagas
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ChoreographyMachineTests {
    private let scene: Scene

    init() throws { self.scene = try Scene() }

    private static let happy = ["order.created", "inventory.reserved", "payment.processed", "order.confirmed"]

    private func happy() -> [ObservedEvent] {
        self.scene.chain("order.created", "inventory.reserved", "payment.processed", "order.confirmed")
    }

    private func declined() -> [ObservedEvent] {
        self.scene.chain(
            "order.created",
            "inventory.reserved",
            "payment.failed",
            "inventory.released",
            "order.cancelled"
        )
    }

    // MARK: How it stands

    @Test func theHappyPathIsCompletedWithoutFindings() {
        let verdict = self.scene.verdict(self.happy())
        #expect(verdict.status == .completed)
        #expect(verdict.findings == [])
        #expect(verdict.awaited == [] && verdict.remaining == [] && verdict.nextChange == nil)
        #expect(verdict.effects.map(\.status) == [.kept, .kept])
        #expect(verdict.timeline.map(\.event) == Self.happy)
        #expect(verdict.timeline.map(\.depth) == [0, 1, 2, 3])
        #expect(verdict.timeline.map(\.cause) == [nil, 0, 1, 2])
    }

    @Test func aDeclinedCardIsFailedWithEverythingTakenBack() {
        let verdict = self.scene.verdict(self.declined())
        #expect(verdict.status == .failed)
        #expect(verdict.findings == [])
        #expect(verdict.effects == [.init(event: "inventory.reserved", status: .undone)])
    }

    @Test func whatIsAwaitedBecomesLateAndThenStuck() throws {
        let events = Array(self.happy().prefix(2))
        let running = self.scene.verdict(events, at: 11)
        #expect(running.status == .running)
        let awaited = try #require(running.awaited.first)
        #expect(awaited.oneOf == ["payment.processed", "payment.failed"])
        #expect(awaited.from == ["payment-service"])
        #expect(awaited.after == "inventory.reserved" && awaited.since == self.scene.at(1))
        #expect(awaited.dueAt == self.scene.at(11) && !awaited.isLate)
        #expect(running.effects == [.init(event: "inventory.reserved", status: .outstanding)])
        #expect(running.remaining.prefix(2) == ["payment.processed", "payment.failed"])
        #expect(
            Set(running.remaining) == [
                "payment.processed", "payment.failed", "order.confirmed", "inventory.released", "order.cancelled",
            ]
        )
        // Time alone says when to look again, and then it is so.
        let lateAt = try #require(running.nextChange)
        #expect(lateAt > self.scene.at(11) && lateAt < self.scene.at(11.001))
        let instance = self.scene.instance(events)
        let late = self.scene.machine.verdict(of: instance, at: lateAt)
        #expect(late.status == .late && late.awaited.allSatisfy { $0.isLate })
        #expect(late.reason?.contains("payment-service") == true)
        #expect(late.findings.map(\.kind) == [.late])
        let stuckAt = try #require(late.nextChange)
        #expect(stuckAt > self.scene.at(71))
        let stuck = self.scene.machine.verdict(of: instance, at: stuckAt)
        #expect(stuck.status == .stuck && stuck.nextChange == nil)
        #expect(stuck.findings.map(\.kind) == [.missing])
        // It comes after all.
        let after = self.scene.verdict(
            events + [self.scene.event("payment.processed", after: "inventory.reserved", at: 100)],
            at: 101
        )
        #expect(after.status == .running)
        #expect(after.findings.map(\.kind) == [.late])
    }

    @Test func failedWithStockStillReservedIsStuckAndNoFailure() {
        let events =
            self.scene.chain("order.created", "inventory.reserved", "payment.failed")
            + [self.scene.event("order.cancelled", after: "payment.failed", at: 3)]
        // For a while it may only be that the other event has not been seen.
        #expect(self.scene.verdict(events, at: 4).status == .running)
        let verdict = self.scene.verdict(events, at: 64)
        #expect(verdict.status == .stuck)
        #expect(verdict.reason?.contains("inventory.reserved") == true)
        #expect(Set(verdict.findings.map(\.kind)) == [.unexpected, .outstanding])
        let mended = events + [self.scene.event("inventory.released", after: "payment.failed", at: 70)]
        #expect(self.scene.verdict(mended, at: 80).status == .failed)
    }

    @Test func onlyTheMiddleWasSeen() {
        let verdict = self.scene.verdict(
            [self.scene.event("payment.processed", after: "inventory.reserved", at: 2)],
            at: 3
        )
        #expect(verdict.status == .running)
        #expect(verdict.findings.map(\.kind) == [.unexpected])
        #expect(verdict.awaited.first?.oneOf == ["order.confirmed"])
    }

    @Test func nothingIsOpenAndNothingHasEnded() {
        let verdict = self.scene.verdict([self.scene.event("order.shipped", at: 0)], at: 1)
        #expect(verdict.findings.map(\.kind) == [.unexpected])
        #expect(verdict.awaited.first?.oneOf == ["order.created"])
        #expect(self.scene.verdict([self.scene.event("order.shipped", at: 0)], at: 200).status == .stuck)
    }

    // MARK: Findings

    @Test func contradictionsAreFound() {
        let both = Array(self.happy().prefix(2)) + [self.scene.event("inventory.failed", after: "order.created", at: 3)]
        #expect(self.scene.verdict(both, at: 4).findings.map(\.kind) == [.contradiction])
        let ends = self.happy() + [self.scene.event("order.cancelled", after: "payment.processed", at: 9)]
        let kinds = self.scene.verdict(ends).findings.map(\.kind)
        #expect(Set(kinds) == [.unexpected, .contradiction, .afterEnd])
        #expect(self.scene.verdict(ends).status == .completed)
        #expect(self.scene.verdict(ends).reason == "it ended with order.confirmed, and also with order.cancelled")
    }

    @Test func whatHappensAfterTheEndIsFoundAndItsEffectIsOutstanding() {
        let events = self.declined() + [self.scene.event("payment.processed", after: "inventory.reserved", at: 9)]
        let verdict = self.scene.verdict(events, at: 100)
        #expect(verdict.status == .stuck)
        #expect(Set(verdict.findings.map(\.kind)) == [.contradiction, .afterEnd, .outstanding])
        #expect(verdict.effects.contains(.init(event: "payment.processed", status: .outstanding)))
    }

    @Test func theSameThingSaidAgainIsOneHappening() {
        let again = self.scene.event("inventory.reserved", after: "order.created", at: 2, id: "again")
        let verdict = self.scene.verdict(Array(self.happy().prefix(2)) + [again], at: 3)
        #expect(verdict.findings.map(\.kind) == [.repeated])
        #expect(verdict.effects.count == 1)
        #expect(verdict.timeline.last?.messageIDs == ["inventory.reserved", "again"])
    }

    /// A replay under a new id: those after it answer again, and nothing of that is a finding.
    @Test func aReplayAndItsEchoesAreTheSameHappenings() {
        let stopped = Array(self.happy().prefix(2))
        let replay = [
            self.scene.event("order.created", at: 100, id: "r1", replayOf: "order.created"),
            self.scene.event("inventory.reserved", after: "r1", at: 101, id: "r2"),
            self.scene.event("payment.processed", after: "r2", at: 102, id: "r3"),
            self.scene.event("order.confirmed", after: "r3", at: 103, id: "r4"),
        ]
        let verdict = self.scene.verdict(stopped + replay, at: 110)
        #expect(verdict.status == .completed)
        #expect(verdict.findings.map(\.kind) == [.late])
        #expect(verdict.timeline.map(\.event) == Self.happy)
        #expect(verdict.effects.map(\.status) == [.kept, .kept])
    }

    @Test func moreOftenThanDeclaredIsFound() {
        let events =
            self.happy() + [self.scene.event("payment.processed", after: "order.created", at: 3.5, id: "second")]
        #expect(Set(self.scene.verdict(events).findings.map(\.kind)) == [.tooOften, .unexpected, .afterEnd, .missing])
    }

    @Test func messagesThatNameNoCauseFindTheirs() {
        var events = self.happy()
        for index in events.indices { events[index].causationID = nil }
        let verdict = self.scene.verdict(events)
        #expect(verdict.status == .completed && verdict.findings == [])
        #expect(verdict.timeline.map(\.depth) == [0, 1, 2, 3])
        #expect(verdict.timeline.map(\.isCauseInferred) == [false, true, true, true])
    }

    @Test func clocksThatDifferDoNotBreakTheTree() {
        var events = self.happy()
        // The inventory's clock is an hour behind.
        events[1].time = self.scene.at(-3_600)
        let verdict = self.scene.verdict(events)
        #expect(verdict.status == .completed)
        #expect(verdict.timeline.map(\.event) == Self.happy)
    }

    /// What is awaited is measured by the monitor's clock: no service's clock, and no backlog, raises an alarm.
    @Test func aServicesClockRaisesNoAlarm() {
        for skew in [-3_600.0, 3_600] {
            var events = Array(self.happy().prefix(2))
            events[1].time = self.scene.at(skew)
            #expect(self.scene.verdict(events, at: 10.9).status == .running)
            #expect(self.scene.verdict(events, at: 11.1).status == .late)
        }
    }

    @Test func circlesOfCausesEnd() {
        let first = self.scene.event("inventory.reserved", after: "b", at: 1, id: "a")
        let second = self.scene.event("payment.processed", after: "a", at: 2, id: "b")
        let own = self.scene.event("payment.failed", after: "c", at: 3, id: "c", replayOf: "c")
        let verdict = self.scene.verdict([first, second, own])
        #expect(Set(verdict.timeline.flatMap(\.messageIDs)) == ["a", "b", "c"])
        #expect(verdict.timeline == self.scene.verdict([own, second, first]).timeline)
    }

    @Test func aLongChainIsNoProblem() {
        var events = [self.scene.event("order.created", at: 0)]
        for index in 1..<ChoreographyMachine.maximumEvents {
            let before = index == 1 ? "order.created" : "e\(index - 1)"
            events.append(self.scene.event("odd.\(index % 7)", after: before, at: Double(-index), id: "e\(index)"))
        }
        let verdict = self.scene.verdict(events.reversed())
        #expect(verdict.timeline.count == ChoreographyMachine.maximumEvents)
        #expect(verdict.timeline.last?.depth == ChoreographyMachine.maximumEvents - 1)
        // And one more than is kept.
        let more = self.scene.instance(events + [self.scene.event("order.confirmed", at: 1)])
        #expect(more.events.count == ChoreographyMachine.maximumEvents && more.dropped == 1)
        #expect(self.scene.machine.verdict(of: more, at: self.scene.at(1)).findings.contains { $0.kind == .dropped })
    }

    @Test func deliveriesThatWereOddAreSaidAndChangeNothing() {
        let events = self.happy()
        let verdict = self.scene.verdict([events[1], events[0], events[0], events[3], events[2]])
        #expect(verdict.status == .completed)
        #expect(verdict.findings.allSatisfy { $0.isAboutDelivery })
        #expect(Set(verdict.findings.map(\.kind)) == [.duplicate, .outOfOrder])
    }

    // MARK: Any order

    /// Whatever the order, whatever is delivered twice: what is known in the end is the same.
    @Test(arguments: 0..<40) func anyOrderGivesTheSame(_ seed: Int) throws {
        let random = SeededRandomSource(seed: UInt64(seed))
        func below(_ limit: Int) -> Int { Int(random.next() % UInt64(limit)) }
        var events = [self.happy(), self.declined(), Array(self.happy().prefix(2))][below(3)]
        // Some that are odd: without a cause, unknown, contradicting, replayed, after the end, with a strange clock.
        let types = self.scene.machine.choreography.topics + ["odd.one"]
        for number in 0..<below(12) {
            let cause = below(3) == 0 ? nil : events[below(events.count)].id
            let of = below(4) == 0 ? events[below(events.count)] : nil
            events.append(
                self.scene.event(
                    of?.type ?? types[below(types.count)],
                    after: cause,
                    at: Double(below(200)) / 10 - 5,
                    id: "x\(number)",
                    replayOf: of?.id
                )
            )
        }
        if below(2) == 0 { events[below(events.count)].causationID = nil }
        func told(_ verdict: ChoreographyVerdict) -> ChoreographyVerdict {
            var told = verdict
            told.findings.removeAll(where: \.isAboutDelivery)
            return told
        }
        for moment in [5.0, 12, 50, 500] {
            let wanted = told(self.scene.verdict(events, at: moment))
            for _ in 0..<15 {
                var mixed = events + (0..<below(6)).map { _ in events[below(events.count)] }
                for index in mixed.indices { mixed.swapAt(index, below(mixed.count)) }
                #expect(told(self.scene.verdict(mixed, at: moment)) == wanted)
            }
        }
    }
}
