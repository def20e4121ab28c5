internal import GRDB
internal import Logging
internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// What the stores of one backend share: the writer, the readers, the clock and the bells.
final class SQLiteCore: Sendable {
    let writer: Writer
    let pool: DatabasePool
    let path: String
    let configuration: SQLiteConfiguration
    let time: any TimeSource
    let bells: Bells
    let logger: Logger
    private let closed = Atomic(false)

    init(
        writer: Writer,
        pool: DatabasePool,
        path: String,
        configuration: SQLiteConfiguration,
        time: any TimeSource,
        bells: Bells,
        logger: Logger
    ) {
        self.writer = writer
        self.pool = pool
        self.path = path
        self.configuration = configuration
        self.time = time
        self.bells = bells
        self.logger = logger
    }

    // Nobody can ask for anything any more: the thread finishes what waits and closes the file.
    deinit { self.writer.close() }

    var isClosed: Bool { self.closed.load(ordering: .acquiring) }

    /// Refuses new work and wakes everybody who waits; the writer's thread closes the file when its queue is empty.
    func beginClose() {
        self.closed.store(true, ordering: .releasing)
        self.writer.close()
        self.bells.ringFromOutside(.all)
    }

    func write<Value: Sendable>(
        isEssential: Bool = false,
        _ body: @escaping @Sendable (SQLiteTransaction) throws -> Value
    ) async throws -> Value {
        try await self.writer.perform(path: self.path, isEssential: isEssential, body)
    }

    /// Runs the library's own queries on one committed state.
    func read<Value: Sendable>(_ body: @escaping @Sendable (SQLConnection) throws -> Value) async throws -> Value {
        try await self.readDatabase { try body(try SQLConnection($0, path: self.path, isPooled: true)) }
    }

    func readDatabase<Value: Sendable>(_ body: @escaping @Sendable (Database) throws -> Value) async throws -> Value {
        guard !self.isClosed else { throw self.closedError }
        do {
            return try await self.pool.read(body)
        } catch let error as DatabaseError {
            // Closed in the meantime: GRDB calls that a misuse.
            throw self.isClosed ? self.closedError : SQLiteError.wrapping(error, path: self.path)
        }
    }

    private var closedError: SQLiteError {
        SQLiteError(.closed, path: self.path, "the backend has been shut down", retry: .notSent)
    }
}

/// The ports know one error for a transport that is gone.
func translatingClosed<Value>(_ body: () async throws -> Value) async throws -> Value {
    do {
        return try await body()
    } catch let error as SQLiteError where error.code == .closed {
        throw MessagingError(.closed, "the SQLite backend has been shut down", retry: .notSent, cause: error)
    }
}
