/// The context as text fields, for every carrier that has named fields: HTTP headers, gRPC metadata, message headers.
///
/// The deadline is sent as the time that is left, because the clocks of two machines differ. Unreadable values of a
/// peer are dropped, not refused: a request with a bad `traceparent` is still a request.
public struct RequestContextFields: Sendable {
    public var requestID: String
    public var caller: String
    public var trace: String
    public var traceState: String
    /// Milliseconds left, a positive whole number.
    public var timeout: String
    public var retryBudget: String
    public var correlationID: String
    public var causationID: String

    /// HTTP header names.
    public static let http = RequestContextFields(
        requestID: "X-Request-ID",
        caller: "X-Service",
        trace: "traceparent",
        traceState: "tracestate",
        timeout: "X-Request-Timeout-Ms",
        retryBudget: "X-Retry-Budget",
        correlationID: "X-Correlation-ID",
        causationID: "X-Causation-ID"
    )

    /// The HTTP header that names an instance: in a request the one that is meant, in an answer the one that gives it.
    /// Not a part of the context, which goes on to the next hop; this ends with the connection.
    public static let instance = "X-Parley-Instance"

    /// gRPC metadata: HTTP's names in lower case, as HTTP/2 wants them. The deadline goes as `grpc-timeout`.
    public static let grpc = RequestContextFields(
        requestID: "x-request-id",
        caller: "x-service",
        trace: "traceparent",
        traceState: "tracestate",
        timeout: "x-request-timeout-ms",
        retryBudget: "x-retry-budget",
        correlationID: "x-correlation-id",
        causationID: "x-causation-id"
    )

    /// CloudEvents extension attributes: lower-case letters and digits only.
    public static let message = RequestContextFields(
        requestID: "requestid",
        caller: "caller",
        trace: "traceparent",
        traceState: "tracestate",
        timeout: "timeoutms",
        retryBudget: "retrybudget",
        correlationID: "correlationid",
        causationID: "causationid"
    )

    /// The longest deadline taken from a peer: a day. Longer values are cut, so that nothing overflows.
    public static let longestTimeout: Duration = .seconds(86_400)

    /// It is passed on untouched, so it must not be able to end a header line: printable ASCII, spaces and tabs.
    private static func isAcceptableTraceState(_ text: String) -> Bool {
        text.utf8.count <= 512 && text.utf8.allSatisfy { (32...126).contains($0) || $0 == 9 }
    }

    /// Calls `write(name, value)` for each field that `context` has.
    public func write(
        _ context: RequestContext,
        now: ContinuousClock.Instant,
        _ write: (_ name: String, _ value: String) -> Void
    ) {
        write(self.requestID, context.requestID)
        if let caller = context.caller { write(self.caller, caller) }
        if let trace = context.trace { write(self.trace, trace.description) }
        if let state = context.traceState { write(self.traceState, state) }
        if let deadline = context.deadline {
            write(self.timeout, String(max(1, deadline.remaining(at: now).inMilliseconds)))
        }
        if let budget = context.retryBudget { write(self.retryBudget, String(budget)) }
        if let correlation = context.correlationID { write(self.correlationID, correlation) }
        if let causation = context.causationID { write(self.causationID, causation) }
    }

    /// Reads a context; a request id that is missing or not acceptable is replaced by `requestID`.
    public func read(
        now: ContinuousClock.Instant,
        orElse requestID: @autoclosure () -> String,
        _ field: (_ name: String) -> String?
    ) -> RequestContext {
        func id(_ name: String) -> String? {
            field(name).flatMap { RequestContext.isAcceptableID($0) ? $0 : nil }
        }
        let deadline = field(self.timeout).flatMap { Int64($0) }.flatMap { milliseconds -> Deadline? in
            guard milliseconds > 0 else { return nil }
            return Deadline(now.advanced(by: min(.milliseconds(milliseconds), Self.longestTimeout)))
        }
        return RequestContext(
            requestID: id(self.requestID) ?? requestID(),
            caller: id(self.caller),
            trace: field(self.trace).flatMap { TraceParent($0) },
            traceState: field(self.traceState).flatMap { Self.isAcceptableTraceState($0) ? $0 : nil },
            deadline: deadline,
            retryBudget: field(self.retryBudget).flatMap { Int($0) }.flatMap { (0...1_000).contains($0) ? $0 : nil },
            correlationID: id(self.correlationID),
            causationID: id(self.causationID)
        )
    }
}
