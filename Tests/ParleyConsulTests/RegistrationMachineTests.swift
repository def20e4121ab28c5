import ParleyCore
import Testing

@testable import ParleyConsul

@Suite(.timeLimit(.minutes(1))) struct RegistrationMachineTests {
    private static let start = SystemTimeSource().now
    private static let rules = RegistrationMachine.Rules(
        beat: .seconds(5),
        backoff: Backoff(initial: .seconds(1), cap: .seconds(60), jitter: 0)
    )

    private func after(_ seconds: Int64) -> ContinuousClock.Instant { Self.start.advanced(by: .seconds(seconds)) }

    private func registered() -> RegistrationMachine {
        var machine = RegistrationMachine(Self.rules)
        machine.succeeded(now: Self.start, chance: 0)
        return machine
    }

    @Test func registersThenBeats() {
        var machine = RegistrationMachine(Self.rules)
        #expect(machine.next(now: Self.start) == .register)
        machine.succeeded(now: Self.start, chance: 0)
        #expect(machine.next(now: Self.start) == .wait(until: self.after(5)))
        #expect(machine.next(now: self.after(5)) == .beat)
        machine.succeeded(now: self.after(5), chance: 0.5)
        #expect(machine.next(now: self.after(5)) == .wait(until: Self.start.advanced(by: .milliseconds(9_500))))
    }

    @Test func aClockThatJumpsAnHourIsOneBeat() {
        var machine = self.registered()
        #expect(machine.next(now: self.after(3_600)) == .beat)
        machine.succeeded(now: self.after(3_600), chance: 0)
        #expect(machine.next(now: self.after(3_600)) == .wait(until: self.after(3_605)))
    }

    @Test func whoIsForgottenRegistersAtOnce() {
        var machine = self.registered()
        machine.forgotten()
        #expect(machine.next(now: Self.start) == .register)
    }

    @Test func failuresWaitNeverLongerThanABeat() {
        var machine = self.registered()
        var now = self.after(5)
        for expected: Int64 in [1, 2, 4, 5, 5, 5] {
            #expect(machine.next(now: now) == .beat)
            machine.failed(now: now, chance: 0)
            #expect(machine.next(now: now) == .wait(until: now.advanced(by: .seconds(expected))))
            now = now.advanced(by: .seconds(expected))
        }
    }

    @Test func leavingInterruptsAWaitAndGivesUpInTime() {
        var machine = self.registered()
        machine.failed(now: Self.start, chance: 0)
        machine.leave(limit: self.after(3))
        #expect(machine.isLeaving)
        #expect(machine.next(now: Self.start) == .deregister)
        machine.failed(now: Self.start, chance: 0)
        #expect(machine.next(now: Self.start) == .wait(until: self.after(1)))
        #expect(machine.next(now: self.after(1)) == .deregister)
        machine.failed(now: self.after(1), chance: 0)
        // The next try would be at its end.
        #expect(machine.next(now: self.after(2)) == .wait(until: self.after(3)))
        #expect(machine.next(now: self.after(3)) == .end(isClean: false))
    }

    @Test func leavingEndsWithTheAgentsAnswer() {
        var machine = self.registered()
        machine.leave(limit: self.after(3))
        machine.succeeded(now: Self.start, chance: 0)
        #expect(machine.next(now: self.after(9)) == .end(isClean: true))
        // A second call to leave changes nothing.
        machine.leave(limit: self.after(20))
        #expect(machine.next(now: self.after(9)) == .end(isClean: true))
    }

    @Test func registeringAgainLeadsBackFromEverywhere() {
        var machine = self.registered()
        machine.leave(limit: self.after(3))
        machine.renew()
        #expect(!machine.isLeaving)
        #expect(machine.next(now: Self.start) == .register)
    }
}
