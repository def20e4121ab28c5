public import ServiceContextModule

/// What travels with a piece of work through every hop: HTTP, gRPC, messages, outbox rows, saga steps.
///
/// It lives in the task-local `ServiceContext` (``current``), so that a handler three calls down still knows for whom
/// it works and until when. Each edge writes it out and reads it in; ``RequestContextFields`` has the names.
public struct RequestContext: Sendable, Hashable {
    /// Identifies the request that a client made, on every hop (`X-Request-ID`).
    public var requestID: String
    /// Who calls: the name of the service (`X-Service`).
    public var caller: String?
    /// The trace that this work belongs to (`traceparent`).
    public var trace: TraceParent?
    /// Vendor data that goes along with the trace, untouched (`tracestate`).
    public var traceState: String?
    /// Until when somebody waits for the answer.
    public var deadline: Deadline?
    /// How many retries all hops together may still spend; `nil` where no edge has set one.
    public var retryBudget: Int?
    /// The saga or the request that this work is part of.
    public var correlationID: String?
    /// The message that caused this work.
    public var causationID: String?

    public init(
        requestID: String,
        caller: String? = nil,
        trace: TraceParent? = nil,
        traceState: String? = nil,
        deadline: Deadline? = nil,
        retryBudget: Int? = nil,
        correlationID: String? = nil,
        causationID: String? = nil
    ) {
        self.requestID = requestID
        self.caller = caller
        self.trace = trace
        self.traceState = traceState
        self.deadline = deadline
        self.retryBudget = retryBudget
        self.correlationID = correlationID
        self.causationID = causationID
    }

    /// The context of the current task, if an edge has set one.
    public static var current: RequestContext? { ServiceContext.current?.requestContext }

    /// Runs `body` with this context as ``current``.
    public func withCurrent<Value>(
        _ body: () async throws -> Value
    ) async rethrows -> Value {
        var context = ServiceContext.current ?? .topLevel
        context.requestContext = self
        return try await ServiceContext.withValue(context, operation: body)
    }

    /// Whether a text may be taken over from a peer as an id: visible ASCII, 1 to 128 characters.
    ///
    /// Ids end up in log lines, headers and file names; a peer must not be able to put line breaks there.
    public static func isAcceptableID(_ text: some StringProtocol) -> Bool {
        (1...128).contains(text.utf8.count) && text.utf8.allSatisfy { (33...126).contains($0) }
    }
}

extension ServiceContext {
    private enum Key: ServiceContextKey {
        typealias Value = RequestContext
        static var nameOverride: String? { "parley.request" }
    }

    /// Parley's part of the context.
    public var requestContext: RequestContext? {
        get { self[Key.self] }
        set { self[Key.self] = newValue }
    }
}
