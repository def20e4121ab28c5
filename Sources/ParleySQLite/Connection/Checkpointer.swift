internal import GRDB
internal import GRDBSQLite
internal import Logging
internal import ParleyCore

/// Moves the write-ahead log into the file, on the writer's thread, after a commit that has made it long.
///
/// SQLite versions before 3.51.3 have the WAL-reset bug (https://sqlite.org/wal.html#walresetbug): two checkpoints back
/// to back while another connection commits can corrupt the file. So automatic checkpoints are off on every connection,
/// only RESTART and TRUNCATE are used (they hold SQLite's write lock), and only while this process has its turn in
/// ``ProcessLock``, so no other Parley process writes or checkpoints meanwhile.
final class Checkpointer {
    private let path: String
    private let logger: Logger
    private let configuration: SQLiteConfiguration
    private let busyBudget: BusyBudget
    /// Where SQLite leaves the length of the log after each commit; at a fixed address, because C code writes it.
    private let pages: UnsafeMutablePointer<CInt>
    private var notBefore: UInt64 = 0
    private var lastAlarm: UInt64?
    private var hasWarned = false

    /// The first SQLite without the bug.
    private static let soundVersion: CInt = 3_051_003

    /// How long a reader may hold up the writer for a checkpoint, in busy waits of a millisecond.
    private static let readerWaits = 5
    private static let pauseAfterBusy: UInt64 = 250_000_000
    private static let alarmInterval: UInt64 = 60_000_000_000

    init(path: String, configuration: SQLiteConfiguration, busyBudget: BusyBudget, logger: Logger) {
        self.path = path
        self.configuration = configuration
        self.busyBudget = busyBudget
        self.logger = logger
        self.pages = .allocate(capacity: 1)
        self.pages.initialize(to: 0)
    }

    deinit { self.pages.deallocate() }

    /// To be called after `wal_autocheckpoint` was set, which uses the same hook.
    func observe(_ connection: SQLConnection) {
        guard let handle = connection.database.sqliteConnection else { return }
        _ = sqlite3_wal_hook(
            handle,
            { context, _, _, pages in
                context?.assumingMemoryBound(to: CInt.self).pointee = pages
                return SQLITE_OK
            },
            self.pages
        )
    }

    func checkpointIfLong(_ connection: SQLConnection, lock: borrowing ProcessLock) {
        guard self.pages.pointee >= self.configuration.checkpointPages else { return }
        let now = monotonicNanoseconds()
        guard now >= self.notBefore, lock.acquire(within: .milliseconds(5)) else { return }
        defer { lock.release() }
        let isAlarming = Int(self.pages.pointee) * 4_096 >= self.configuration.logAlarmBytes
        self.busyBudget.limit = Self.readerWaits
        defer { self.busyBudget.limit = self.busyBudget.normalLimit }
        var isBusy = true
        var length: Int64 = 0
        try? connection.forEachRow(isAlarming ? "PRAGMA wal_checkpoint(TRUNCATE)" : "PRAGMA wal_checkpoint(RESTART)") {
            isBusy = $0.integer(0) != 0
            length = $0.integer(1)
        }
        if isBusy {
            // Somebody reads an old state. Asking again at once would hold up the writer each time.
            self.notBefore = now + Self.pauseAfterBusy
            if isAlarming { self.alarm(pages: length, now: now) }
        } else {
            self.pages.pointee = 0
        }
    }

    /// Tells once that other processes use the file and that this SQLite has the WAL-reset bug.
    ///
    /// Parley's own processes keep out of each other's way by their lock; this is for other programs that write to it.
    func warnOfSharing() {
        guard !self.hasWarned else { return }
        self.hasWarned = true
        guard sqlite3_libversion_number() < Self.soundVersion else { return }
        self.logger.warning(
            """
            Several processes use the file, and this SQLite has the WAL-reset bug. Parley's own processes keep out of \
            each other's way; let no other program write to the file meanwhile, or use SQLite 3.51.3 or newer.
            """,
            metadata: ["sqlite.path": "\(self.path)", "sqlite.version": "\(String(cString: sqlite3_libversion()))"]
        )
    }

    private func alarm(pages: Int64, now: UInt64) {
        if let lastAlarm = self.lastAlarm, now < lastAlarm + Self.alarmInterval { return }
        self.lastAlarm = now
        self.logger.warning(
            "The write-ahead log is long: a reader holds an old state open. Find and end it, or the disk fills up.",
            metadata: ["sqlite.path": "\(self.path)", "sqlite.wal.bytes": "\(pages * 4_096)"]
        )
    }
}
