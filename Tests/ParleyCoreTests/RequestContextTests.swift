import ParleyCore
import ParleyTestKit
import ServiceContextModule
import Testing

@Suite struct RequestContextTests {
    private let clock = ManualClock()

    private func write(_ context: RequestContext, _ fields: RequestContextFields = .http) -> [String: String] {
        var written: [String: String] = [:]
        fields.write(context, now: self.clock.now) { written[$0] = $1 }
        return written
    }

    private func read(_ values: [String: String], _ fields: RequestContextFields = .http) -> RequestContext {
        fields.read(now: self.clock.now, orElse: "made-up") { values[$0] }
    }

    private var full: RequestContext {
        RequestContext(
            requestID: "r-1",
            caller: "order-service",
            trace: TraceParent(random: SeededRandomSource(seed: 1)),
            traceState: "vendor=a b,other=1",
            deadline: Deadline(after: .milliseconds(1_500), on: self.clock),
            retryBudget: 3,
            correlationID: "saga-1",
            causationID: "message-1"
        )
    }

    @Test(arguments: [true, false])
    func `everything comes through`(overHTTP: Bool) {
        let fields = overHTTP ? RequestContextFields.http : .message
        #expect(self.read(self.write(self.full, fields), fields) == self.full)
        let little = RequestContext(requestID: "r-1")
        #expect(self.write(little, fields).count == 1)
        #expect(self.read(self.write(little, fields), fields) == little)
    }

    @Test func `the deadline travels as what is left`() {
        let written = self.write(self.full)
        #expect(written["X-Request-Timeout-Ms"] == "1500")
        self.clock.advance(by: .seconds(5))
        #expect(self.write(self.full).isEmpty == false)
        let late = RequestContext(requestID: "r", deadline: Deadline(self.clock.now.advanced(by: .seconds(-5))))
        #expect(self.write(late)["X-Request-Timeout-Ms"] == "1", "past, and still a deadline")
    }

    @Test(arguments: [
        "", " ", "a b", "a\nb", "a\r\nX-Evil: 1", "\u{0}", "ä", "\u{7f}", String(repeating: "x", count: 129),
    ])
    func `an id that could do harm is replaced or dropped`(id: String) {
        let context = self.read([
            "X-Request-ID": id, "X-Service": id, "X-Correlation-ID": id, "X-Causation-ID": id, "traceparent": id,
        ])
        #expect(context == RequestContext(requestID: "made-up"))
    }

    @Test(arguments: [
        "-1", "0", "", "abc", "1.5", "99999999999999999999", "1e3", " 5", "0x10",
    ])
    func `an unreadable timeout is no deadline`(text: String) {
        #expect(self.read(["X-Request-Timeout-Ms": text]).deadline == nil)
    }

    @Test func `a timeout from a peer is bounded`() {
        for text in ["9223372036854775807", "86400001"] {
            let deadline = self.read(["X-Request-Timeout-Ms": text]).deadline
            #expect(deadline?.remaining(at: self.clock.now) == RequestContextFields.longestTimeout)
        }
    }

    @Test(
        arguments: [("0", 0), ("1000", 1_000), ("1001", nil), ("-1", nil), ("x", nil), ("", nil)] as [(String, Int?)]
    )
    func `a retry budget from a peer is bounded`(text: String, budget: Int?) {
        #expect(self.read(["X-Retry-Budget": text]).retryBudget == budget)
    }

    @Test(arguments: [
        ("a=1", true), ("a=1,\tb=2", true), (String(repeating: "x", count: 512), true),
        (String(repeating: "x", count: 513), false), ("a=1\r\nX-Evil: 1", false), ("a=\u{0}", false), ("a=é", false),
    ])
    func `a trace state that could do harm is dropped`(state: String, isKept: Bool) {
        #expect(self.read(["tracestate": state]).traceState == (isKept ? state : nil))
    }

    @Test func `it is the task's, and its children's`() async {
        #expect(RequestContext.current == nil)
        await self.full.withCurrent {
            #expect(RequestContext.current?.requestID == "r-1")
            await withTaskGroup(of: String?.self) { group in
                group.addTask { RequestContext.current?.requestID }
                #expect(await group.next() == "r-1")
            }
            await RequestContext(requestID: "inner").withCurrent {
                #expect(RequestContext.current == RequestContext(requestID: "inner"))
            }
            #expect(RequestContext.current?.requestID == "r-1")
        }
        #expect(RequestContext.current == nil)
    }

    @Test func `other parts of the service context stay`() async {
        enum Key: ServiceContextKey { typealias Value = Int }
        var context = ServiceContext.topLevel
        context[Key.self] = 7
        await ServiceContext.withValue(context) {
            await RequestContext(requestID: "r").withCurrent { #expect(ServiceContext.current?[Key.self] == 7) }
        }
    }
}
