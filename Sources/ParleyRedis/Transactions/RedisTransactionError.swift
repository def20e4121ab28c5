public import ParleyCore

/// Why a transaction on Redis did not come about: what, and what to do about it. Nothing was written.
public struct RedisTransactionError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String {
            case conflict, noSQL, foreignTransaction, over, wrongType, unreadable, tooLarge
        }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// What it had read was changed by others, again and again.
        public static let conflict = Code(kind: .conflict)
        /// Redis has no SQL: use the methods of ``RedisTransaction``, or a database backend.
        public static let noSQL = Code(kind: .noSQL)
        /// A store on Redis was given a transaction of another backend.
        public static let foreignTransaction = Code(kind: .foreignTransaction)
        /// It was used after the scope that handed it out.
        public static let over = Code(kind: .over)
        /// A key holds another type than the transaction takes it for.
        public static let wrongType = Code(kind: .wrongType)
        /// A hash has field names that are not UTF-8.
        public static let unreadable = Code(kind: .unreadable)
        /// It reads or writes more than one script should.
        public static let tooLarge = Code(kind: .tooLarge)
    }

    public var code: Code
    public var message: String
    public var retry: RetrySafety

    public init(_ code: Code, _ message: String, retry: RetrySafety = .permanent) {
        self.code = code
        self.message = message
        self.retry = retry
    }

    public var description: String { "\(self.code): \(self.message)" }
}
