public import ParleyCore
internal import Synchronization

/// One try, as the transport sees it.
public struct Attempt: Sendable {
    public let target: CallTarget
    /// Counted from 1.
    public let number: Int
    /// Until when it may take: the transport keeps to it, by itself or with ``withinLimit(on:_:)``.
    public let limit: Deadline
    /// The end of the whole call.
    public let deadline: Deadline
    /// What is left of the retries of all hops, to be told to the service.
    public let hopBudget: Int?
    /// Whether coming to the limit says something about the instance: a caller that leaves it less
    /// than a tenth of the attempt timeout has only itself to blame.
    public let blamesTimeout: Bool

    /// Runs `body`, and cancels it at the limit. A `body` that ends without having to wait begins no timer.
    ///
    /// - Throws: ``AttemptTimedOut`` at the limit, but not before `body` has ended.
    public func withinLimit<Value: Sendable>(
        on time: any TimeSource,
        _ body: @escaping @Sendable () async throws -> Value
    ) async throws -> Value {
        let limit = self.limit
        let isOver = Flag()
        return try await withThrowingTaskGroup(of: Value.self) { group in
            group.addTaskThatBegins {
                defer { isOver.set() }
                return try await body()
            }
            if !isOver.isSet {
                group.addTask {
                    try await time.sleep(until: limit.instant)
                    throw AttemptTimedOut()
                }
            }
            defer { group.cancelAll() }
            guard let value = try await group.next() else { throw CancellationError() }
            return value
        }
    }
}

private final class Flag: Sendable {
    private let value = Atomic(false)

    var isSet: Bool { self.value.load(ordering: .acquiring) }

    func set() { self.value.store(true, ordering: .releasing) }
}

extension ThrowingTaskGroup where Failure == any Error {
    /// As `addTask`, but what the task does before it waits for the first time is done at once and on this thread,
    /// where the system can do that.
    fileprivate mutating func addTaskThatBegins(
        _ operation: @escaping @Sendable () async throws -> ChildTaskResult
    ) {
        if #available(macOS 26, *) {
            self.addImmediateTask { try await operation() }
        } else {
            self.addTask { try await operation() }
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
