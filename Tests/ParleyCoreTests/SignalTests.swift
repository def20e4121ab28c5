import ParleyCore
import ParleyTestKit
import Testing

@Suite(.timeLimit(.minutes(1))) struct SignalTests {
    private let clock = ManualClock()

    @Test func `a ring after the generation was read is not missed`() async {
        let signal = Signal()
        let generation = signal.generation
        signal.ring()
        await signal.wait(after: generation, until: nil, on: self.clock)
    }

    @Test func `a ring wakes everybody who waits`() async {
        let signal = Signal()
        let generation = signal.generation
        await withTaskGroup(of: Void.self) { group in
            for number in 0..<20 {
                let instant = number % 2 == 0 ? nil : self.clock.now.advanced(by: .seconds(1))
                group.addTask { await signal.wait(after: generation, until: instant, on: self.clock) }
            }
            await self.clock.waitForSleepers(10)
            signal.ring()
        }
        #expect(self.clock.sleepers == 0, "those that had a time do not sleep on")
    }

    @Test func `a wait ends at its instant`() async {
        let signal = Signal()
        let end = self.clock.now.advanced(by: .seconds(1))
        async let wait: Void = signal.wait(after: signal.generation, until: end, on: self.clock)
        await self.clock.waitForSleepers(1)
        self.clock.advance(by: .seconds(1))
        await wait
        await signal.wait(after: signal.generation, until: end, on: self.clock)
    }

    @Test func `a cancelled wait ends, before it began and in the middle`() async {
        let signal = Signal()
        for round in 0..<200 {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await signal.wait(after: signal.generation, until: nil, on: self.clock) }
                for _ in 0..<(round % 4) { await Task.yield() }
                group.cancelAll()
            }
        }
    }

    @Test func `no ring is lost between eight consumers and a producer`() async {
        let signal = Signal()
        let items = Guarded(0)
        let taken = Guarded(0)
        let total = 20_000
        await withTaskGroup(of: Void.self) { group in
            for consumer in 0..<8 {
                group.addTask {
                    while taken.current < total {
                        let generation = signal.generation
                        let hasTaken = items.withLock { items in
                            guard items > 0 else { return false }
                            items -= 1
                            return true
                        }
                        if hasTaken {
                            taken.withLock { $0 += 1 }
                            if taken.current == total { signal.ring() }
                        } else if taken.current < total {
                            // Half of them with a time, which on this clock never comes.
                            let distant = self.clock.now.advanced(by: .seconds(86_400))
                            let end = consumer % 2 == 0 ? nil : distant
                            await signal.wait(after: generation, until: end, on: self.clock)
                        }
                    }
                }
            }
            group.addTask {
                for number in 0..<total {
                    items.withLock { $0 += 1 }
                    signal.ring()
                    if number % 16 == 0 { await Task.yield() }
                }
            }
        }
        #expect(taken.current == total)
    }
}
