public import ParleyCore

/// A failure of the SQLite backend: what, in which file, whether trying again is safe, and what to do.
public struct SQLiteError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case invalidPath, notADatabase, foreignDatabase, newerSchema, corrupt, corruptRow, cannotOpen
            case networkFileSystem, diskFull, busy, overloaded, closed, transactionOver, constraint, changedMigration
            case statement, inputOutput
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// The path names no file on disk: empty, `:memory:`, a folder or a device.
        public static let invalidPath = Code(kind: .invalidPath)
        /// The file is there and is no SQLite database. It was not touched.
        public static let notADatabase = Code(kind: .notADatabase)
        /// The file is a SQLite database of another program. It was not touched.
        public static let foreignDatabase = Code(kind: .foreignDatabase)
        /// A newer version of Parley has written the file. It was not touched.
        public static let newerSchema = Code(kind: .newerSchema)
        /// SQLite found the file damaged.
        public static let corrupt = Code(kind: .corrupt)
        /// One row holds what this program cannot read.
        public static let corruptRow = Code(kind: .corruptRow)
        /// The file or its folder cannot be created, read or written.
        public static let cannotOpen = Code(kind: .cannotOpen)
        /// The file lies on a network file system, where SQLite's locks do not hold.
        public static let networkFileSystem = Code(kind: .networkFileSystem)
        /// The disk, or the file's own limit, is full; the transaction was rolled back.
        public static let diskFull = Code(kind: .diskFull)
        /// Another process held the write lock for longer than ``SQLiteConfiguration/busyLimit``.
        public static let busy = Code(kind: .busy)
        /// ``SQLiteConfiguration/maximumQueuedWrites`` transactions wait already.
        public static let overloaded = Code(kind: .overloaded)
        /// The backend has been shut down.
        public static let closed = Code(kind: .closed)
        /// A transaction was used after the scope that handed it out.
        public static let transactionOver = Code(kind: .transactionOver)
        /// A constraint of the schema refused the change.
        public static let constraint = Code(kind: .constraint)
        /// A migration that was applied before has another text now.
        public static let changedMigration = Code(kind: .changedMigration)
        /// SQLite refused a statement: wrong SQL, wrong number of arguments, or not allowed here.
        public static let statement = Code(kind: .statement)
        /// Reading or writing the file failed.
        public static let inputOutput = Code(kind: .inputOutput)
    }

    public var code: Code
    public var path: String
    /// What happened and what to do about it.
    public var message: String
    public var retry: RetrySafety
    public var cause: (any Error)?

    public init(
        _ code: Code,
        path: String,
        _ message: String,
        retry: RetrySafety = .permanent,
        cause: (any Error)? = nil
    ) {
        self.code = code
        self.path = path
        self.message = message
        self.retry = retry
        self.cause = cause
    }

    public var description: String {
        "\(self.code): \(self.path): \(self.message)" + (self.cause.map { " (\($0))" } ?? "")
    }
}
