import ParleyCore
import ParleyTestKit
import Testing

@Suite struct DeadlineTests {
    private let clock = ManualClock()

    @Test func `what is left shrinks to zero and stays there`() {
        let deadline = Deadline(after: .seconds(2), on: self.clock)
        #expect(deadline.remaining(at: self.clock.now) == .seconds(2))
        #expect(!deadline.hasPassed(at: self.clock.now))
        self.clock.advance(by: .seconds(2))
        #expect(deadline.remaining(at: self.clock.now) == .zero)
        #expect(deadline.hasPassed(at: self.clock.now))
        self.clock.advance(by: .seconds(5))
        #expect(deadline.remaining(at: self.clock.now) == .zero)
    }

    @Test func `a calendar jump does not move a deadline`() {
        let deadline = Deadline(after: .seconds(2), on: self.clock)
        self.clock.jumpWall(by: .seconds(86_400))
        #expect(deadline.remaining(at: self.clock.now) == .seconds(2))
    }

    @Test func `the earlier deadline is the smaller one`() {
        #expect(Deadline(after: .seconds(1), on: self.clock) < Deadline(after: .seconds(2), on: self.clock))
    }
}
