import ParleyCore
import ParleyTestKit
import Testing

@Suite(.timeLimit(.minutes(1))) struct ManualClockTests {
    private let clock = ManualClock()

    @Test func `both readings move together, and only when told`() {
        let (now, wall) = (self.clock.now, self.clock.wallTime)
        #expect(self.clock.now == now && self.clock.wallTime == wall)
        self.clock.advance(by: .milliseconds(1_500))
        #expect(now.duration(to: self.clock.now) == .milliseconds(1_500))
        #expect(self.clock.wallTime - wall == .milliseconds(1_500))
        self.clock.advance(by: .seconds(-1))
        #expect(self.clock.wallTime - wall == .milliseconds(1_500))
    }

    @Test func `a calendar jump wakes nobody and leaves the monotonic reading`() async throws {
        let now = self.clock.now
        async let sleeper: Void = self.clock.sleep(for: .seconds(10))
        await self.clock.waitForSleepers(1)
        self.clock.jumpWall(by: .seconds(-86_400))
        #expect(self.clock.now == now && self.clock.sleepers == 1)
        self.clock.advance(by: .seconds(10))
        try await sleeper
    }

    @Test func `sleepers wake at their instant, not before`() async throws {
        async let early: Void = self.clock.sleep(for: .seconds(1))
        async let late: Void = self.clock.sleep(for: .seconds(2))
        await self.clock.waitForSleepers(2)
        self.clock.advance(by: .milliseconds(999))
        #expect(self.clock.sleepers == 2)
        self.clock.advance(by: .milliseconds(1))
        #expect(self.clock.sleepers == 1)
        try await early
        #expect(self.clock.nextWake == self.clock.now.advanced(by: .seconds(1)))
        self.clock.advance(by: .seconds(1))
        try await late
    }

    @Test func `a sleep until now or earlier does not sleep`() async throws {
        try await self.clock.sleep(until: self.clock.now)
        try await self.clock.sleep(for: .seconds(-5))
    }

    @Test func `cancellation ends a sleep, before it began and in the middle`() async {
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                do { try await self.clock.sleep(for: .seconds(1)) } catch { return error is CancellationError }
                return false
            }
            await self.clock.waitForSleepers(1)
            group.cancelAll()
            #expect(await group.next() == true)
            group.addTask {
                do { try await self.clock.sleep(for: .seconds(1)) } catch { return error is CancellationError }
                return false
            }
            #expect(await group.next() == true)
        }
        #expect(self.clock.sleepers == 0)
    }

    @Test func `many sleepers and cancellations lose nobody`() async {
        let woken = await withTaskGroup(of: Bool.self) { group in
            for number in 0..<200 {
                group.addTask { (try? await self.clock.sleep(for: .milliseconds(number))) != nil }
            }
            for _ in 0..<200 {
                await Task.yield()
                self.clock.advance(by: .milliseconds(1))
            }
            await self.clock.waitForSleepers(0)
            self.clock.advance(by: .seconds(1))
            return await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
        }
        #expect(woken == 200)
    }
}
