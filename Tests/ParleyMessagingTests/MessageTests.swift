import ParleyCore
import ParleyMessaging
import ParleyTestKit
import Testing

@Suite struct MessageTests {
    private let clock = ManualClock()

    private func message() -> Message {
        Message(id: "m-1", source: "test", type: "order.created", time: self.clock.wallTime, data: [1])
    }

    @Test func `carries its sender's context to the handler, as the cause of what follows`() throws {
        let trace = TraceParent(random: SeededRandomSource(seed: 1))
        let context = RequestContext(
            requestID: "r-1",
            caller: "order-service",
            trace: trace,
            retryBudget: 2,
            correlationID: "saga-1",
            causationID: "m-0"
        )
        let received = self.message().carrying(context, on: self.clock).context(on: self.clock)
        var expected = context
        expected.causationID = "m-1"
        #expect(received == expected)
    }

    @Test func `a deadline travels as a point in calendar time`() {
        let context = RequestContext(requestID: "r", deadline: Deadline(after: .seconds(5), on: self.clock))
        let sent = self.message().carrying(context, on: self.clock)
        #expect(sent.expiresAt == self.clock.wallTime + .seconds(5))
        // Two seconds in a queue are two seconds less.
        self.clock.advance(by: .seconds(2))
        #expect(sent.context(on: self.clock).deadline?.remaining(at: self.clock.now) == .seconds(3))
    }

    @Test func `a message without context is its own request`() {
        #expect(self.message().context(on: self.clock) == RequestContext(requestID: "m-1", causationID: "m-1"))
    }

    @Test func `what no transport could keep is refused`() throws {
        let limit = 100
        try self.message().validate(maximumBytes: limit)
        func refused(_ change: (inout Message) -> Void) {
            var message = self.message()
            change(&message)
            #expect(throws: MessagingError.self) { try message.validate(maximumBytes: limit) }
        }
        refused { $0.id = "" }
        refused { $0.id = "two words" }
        refused { $0.source = "" }
        refused { $0.type = "" }
        refused { $0.topic = "a.*" }
        refused { $0.key = "" }
        refused { $0.key = String(repeating: "k", count: 256) }
        refused { $0.data = Array(repeating: 0, count: 101) }
    }
}
