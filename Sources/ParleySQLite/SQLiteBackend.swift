internal import GRDB
public import Logging
public import ParleyCore
internal import ParleyMessaging
internal import ParleySagas
public import ServiceLifecycle

/// Everything in one SQLite file: bus, outbox, inbox, sagas, choreographies, events and the application's own tables,
/// which therefore commit together. Several processes of one machine may open the file at the same time.
///
/// ```swift
/// let backend = try await SQLiteBackend(path: "orders.db", logger: logger)
/// try await backend.migrate("orders-1", ["CREATE TABLE orders (id TEXT PRIMARY KEY, total INTEGER NOT NULL)"])
/// try await backend.withTransaction { tx in
///     try tx.execute("INSERT INTO orders VALUES (?, ?)", ["order-1", 1_299])
///     try backend.outbox.append([created], in: tx)
/// }
/// ```
/// ## Guarantees
/// - What has returned is on disk (``SQLiteConfiguration/Durability/full``): it survives `kill -9` and power loss.
/// - Writes that wait together share one commit and one sync of the disk; each is still a transaction of its own: one
///   that throws takes back its own work only.
/// - The positions of messages, and of events, have no gaps and follow the order of the commits, over all processes.
/// - A file that is no database, belongs to another program, is damaged or is newer than this program is refused, with
///   the path and the reason, and not changed.
///
/// ## Limits
/// - One machine: network file systems are refused.
/// - A process must not `fork` while a backend is open.
/// - Beside the file lie `-wal` and `-shm`, which belong to the data, and `-lock`, which is empty.
public final class SQLiteBackend: Service, TransactionRunner {
    /// The file, as an absolute path.
    public var path: String { self.core.path }
    public let transport: SQLiteTransport
    public let outbox: SQLiteOutbox
    public let inbox: SQLiteInbox
    public let sagas: SQLiteSagaStore
    public let choreographies: SQLiteChoreographyStore
    public let events: SQLiteEventStore
    private let core: SQLiteCore

    /// Opens the file, and creates it and its folder if need be. The backend works from now on, also without ``run()``.
    ///
    /// - Throws: ``SQLiteError``: `invalidPath`, `notADatabase`, `foreignDatabase`, `newerSchema`, `corrupt`,
    ///   `cannotOpen`, `networkFileSystem`, `diskFull`, or `busy` when another process holds the file for longer than
    ///   ``SQLiteConfiguration/busyLimit``.
    public init(
        path: String,
        configuration: SQLiteConfiguration = SQLiteConfiguration(),
        time: any TimeSource = SystemTimeSource(),
        logger: Logger
    ) async throws {
        let configuration = configuration.clamped()
        let bells = Bells()
        let writer = Writer(configuration: configuration)
        let opened = try await writer.start {
            try Self.open(path, configuration: configuration, bells: bells, logger: logger)
        }
        self.core = SQLiteCore(
            writer: writer,
            pool: opened.pool,
            path: opened.path,
            configuration: configuration,
            time: time,
            bells: bells,
            logger: logger
        )
        self.transport = SQLiteTransport(core: self.core)
        self.outbox = SQLiteOutbox(core: self.core)
        self.inbox = SQLiteInbox(core: self.core)
        self.sagas = SQLiteSagaStore(core: self.core)
        self.choreographies = SQLiteChoreographyStore(core: self.core)
        self.events = SQLiteEventStore(core: self.core)
    }

    /// Waits for the shutdown, then finishes the writes that wait already and closes the file.
    ///
    /// In a `ServiceGroup` it comes before the services that use it: they are shut down in the opposite order.
    public func run() async throws {
        try? await gracefulShutdown()
        await self.close()
    }

    /// Refuses new work, finishes what waits, closes the file. Closing twice does nothing.
    public func close() async {
        self.core.beginClose()
        await self.core.writer.waitUntilEnded()
    }

    /// Runs `body` in a transaction on the writer's thread and returns after the commit.
    ///
    /// When the calling task is cancelled meanwhile, the transaction is done all the same and its outcome returned: a
    /// caller always learns whether its commit happened. `body` may run again when the disk was full for one that
    /// shared the commit, so it has no effects but on the transaction.
    ///
    /// - Throws: What `body` throws; ``SQLiteError``: `overloaded`, `busy`, `diskFull` and `closed` say that nothing
    ///   was stored, `inputOutput` that it may have been.
    public func withTransaction<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await self.core.write { try body($0) }
    }

    /// Runs queries on one committed state, beside the writer and other readers. Statements that write are refused.
    ///
    /// Keep it short, and read long tables in pages of some 500 rows: while a read goes on, the log grows.
    public func read<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        let path = self.core.path
        return try await self.core.readDatabase { database in
            let transaction = SQLiteTransaction(try SQLConnection(database, path: path))
            defer { transaction.end() }
            return try body(transaction)
        }
    }

    /// Applies a migration of the application's own tables, once for this file, in one transaction; several processes
    /// may call it at the same time. Names that begin with `parley_` are the library's.
    ///
    /// - Parameter statements: One SQL statement each.
    /// - Returns: Whether it was applied now.
    /// - Throws: ``SQLiteError`` with `changedMigration` when the name was applied with other statements before.
    @discardableResult
    public func migrate(_ name: String, _ statements: [String]) async throws -> Bool {
        let time = self.core.time
        return try await self.core.write { try UserMigrations.apply(name, statements, at: time.wallTime, $0) }
    }

    private static func open(
        _ path: String,
        configuration: SQLiteConfiguration,
        bells: Bells,
        logger: Logger
    ) throws -> (loop: WriterLoop, opened: (pool: DatabasePool, path: String)) {
        let budget = BusyBudget(configuration.busyLimit)
        let opened = try DatabaseOpening(path: path, configuration: configuration, busyBudget: budget).open()
        do {
            guard let lock = ProcessLock(path: opened.path + "-lock") else {
                throw SQLiteError(.cannotOpen, path: opened.path + "-lock", "the lock file cannot be created")
            }
            let loop = WriterLoop(
                pool: opened.pool,
                path: opened.path,
                configuration: configuration,
                lock: lock,
                bells: bells,
                doorbell: Self.doorbell(opened.path, bells, logger),
                checkpointer: Checkpointer(
                    path: opened.path,
                    configuration: configuration,
                    busyBudget: budget,
                    logger: logger
                )
            )
            return (loop, opened)
        } catch {
            try? opened.pool.close()
            throw error
        }
    }

    private static func doorbell(_ path: String, _ bells: Bells, _ logger: Logger) -> Doorbell? {
        do {
            guard let file = FileChecks.identity(path) else { return nil }
            return try Doorbell.open(device: file.device, inode: file.inode, bells: bells)
        } catch {
            logger.info(
                "No doorbell between processes; each finds the others' work within a second.",
                metadata: ["sqlite.path": "\(path)", "error": "\(error)"]
            )
            return nil
        }
    }
}
