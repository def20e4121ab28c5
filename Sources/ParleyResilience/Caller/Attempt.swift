package import ParleyCore

/// One try, as the transport sees it.
package struct Attempt: Sendable {
    package let target: CallTarget
    /// Counted from 1.
    package let number: Int
    /// Until when it may take: the transport keeps to it, with ``withinLimit(on:_:)``.
    package let limit: Deadline
    /// The end of the whole call.
    package let deadline: Deadline
    /// What is left of the retries of all hops, to be told to the service.
    package let hopBudget: Int?
    /// Whether coming to the limit says something about the instance; see ``AttemptLimit``.
    package let blamesTimeout: Bool

    /// Runs `body`, and cancels it at the limit.
    ///
    /// - Throws: ``AttemptTimedOut`` at the limit, but not before `body` has ended.
    package func withinLimit<Value: Sendable>(
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
package struct Judgement: Sendable {
    package var verdict: Verdict
    /// For people: a status, or a kind of error.
    package var note: String

    package init(_ verdict: Verdict, note: String) {
        self.verdict = verdict
        self.note = note
    }
}

/// What is to be called.
package struct Call: Sendable {
    package var service: ServiceName
    /// Whether doing it twice has the effect of once.
    package var isRepeatable: Bool
    /// The caller's own limit; the policy's `timeout` if there is none.
    package var deadline: Deadline?
    /// Its deadline and its retry budget count, too.
    package var context: RequestContext?
    /// What belongs to the same instance, for `consistentHash`.
    package var key: String?

    package init(
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
