public import ParleyCore
internal import Synchronization

/// A whole bus in memory: transport, outbox and inbox with the semantics of the durable ones, for tests and for
/// programs that may lose everything when they end.
public final class InMemoryBackend: TransactionRunner {
    public let transport: InMemoryTransport
    public let outbox: InMemoryOutbox
    public let inbox: InMemoryInbox

    public init(time: any TimeSource = SystemTimeSource()) {
        self.transport = InMemoryTransport(time: time)
        self.outbox = InMemoryOutbox(time: time)
        self.inbox = InMemoryInbox(time: time)
    }

    public func withTransaction<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try InMemoryTransaction.run(body)
    }
}

/// A transaction over Swift values: what the stores write is undone when the body throws.
///
/// It has no SQL; `execute` and `query` throw ``MessagingError`` with ``MessagingError/Code/unsupported``. Transactions
/// run one after another in the whole process, which is what makes undoing simple.
public final class InMemoryTransaction: Transaction {
    private static let gate = Mutex(())

    private var undo: [@Sendable () -> Void] = []
    private var afterCommit: [@Sendable () -> Void] = []

    public static func run<Value: Sendable>(
        _ body: @Sendable (any Transaction) throws -> Value
    ) throws -> Value {
        let (value, afterCommit) = try self.gate.withLock { _ in
            let transaction = InMemoryTransaction()
            do {
                return (try body(transaction), transaction.afterCommit)
            } catch {
                for step in transaction.undo.reversed() { step() }
                throw error
            }
        }
        for step in afterCommit { step() }
        return value
    }

    /// The in-memory transaction that a store was given.
    package static func require(_ transaction: any Transaction) throws -> InMemoryTransaction {
        guard let own = transaction as? InMemoryTransaction else {
            throw MessagingError(
                .unsupported,
                "an in-memory store takes part only in a transaction of the in-memory backend",
                retry: .permanent
            )
        }
        return own
    }

    /// Registers how to take a write back.
    package func onRollback(_ step: @escaping @Sendable () -> Void) { self.undo.append(step) }

    /// Registers what to do once the writes are there to stay.
    package func onCommit(_ step: @escaping @Sendable () -> Void) { self.afterCommit.append(step) }

    public func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int { throw Self.noSQL }
    public func query(_ sql: String, _ arguments: [SQLValue]) throws -> [[SQLValue]] { throw Self.noSQL }

    private static var noSQL: MessagingError {
        MessagingError(.unsupported, "the in-memory backend has no SQL; use a database backend", retry: .permanent)
    }
}
