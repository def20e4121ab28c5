public import ParleyCore

/// One try, as the transport sees it.
public struct Attempt: Sendable {
    public let target: CallTarget
    /// Counted from 1.
    public let number: Int
    /// Until when it may take: the transport keeps to it, with ``withinLimit(on:_:)``.
    public let limit: Deadline
    /// The end of the whole call.
    public let deadline: Deadline
    /// What is left of the retries of all hops, to be told to the service.
    public let hopBudget: Int?
    /// Whether coming to the limit says something about the instance: a caller that leaves it less
    /// than a tenth of the attempt timeout has only itself to blame.
    public let blamesTimeout: Bool

    /// Runs `body`, and cancels it at the limit.
    ///
    /// - Throws: ``AttemptTimedOut`` at the limit, but not before `body` has ended.
    public func withinLimit<Value: Sendable>(
        on time: any TimeSource,
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let limit = self.limit
        return try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTask { try await body() }
            group.addTask {
                try await time.sleep(until: limit.instant)
                throw AttemptTimedOut()
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() else { throw CancellationError() }
            return value
        }
    }
}

/// What a transport says about the end of a try.
public struct Judgement: Sendable {
    public var verdict: Verdict
    /// For people: a status, or a kind of error.
    public var note: String

    public init(_ verdict: Verdict, note: String) {
        self.verdict = verdict
        self.note = note
    }
}

/// What is to be called.
public struct Call: Sendable {
    public var service: ServiceName
    /// Whether doing it twice has the effect of once.
    public var isRepeatable: Bool
    /// The caller's own limit; the policy's `timeout` if there is none.
    public var deadline: Deadline?
    /// Its deadline and its retry budget count, too.
    public var context: RequestContext?
    /// What belongs to the same instance, for `consistentHash`.
    public var key: String?

    public init(
        _ service: ServiceName,
        isRepeatable: Bool,
        deadline: Deadline? = nil,
        context: RequestContext? = nil,
        key: String? = nil
    ) {
        self.service = service
        self.isRepeatable = isRepeatable
        self.deadline = deadline
        self.context = context
        self.key = key
    }
}
