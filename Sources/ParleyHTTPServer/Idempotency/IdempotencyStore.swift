public import HTTPTypes
public import ParleyCore

/// Names one piece of work of one caller.
public struct IdempotencyKey: Sendable, Hashable {
    /// Who asks: keys of different callers never meet.
    public var caller: String
    /// The value of `Idempotency-Key`.
    public var key: String

    public init(caller: String, key: String) {
        self.caller = caller
        self.key = key
    }
}

/// An answer that can be given again.
public struct StoredAnswer: Sendable, Hashable {
    public var status: Int
    public var headerFields: HTTPFields
    public var body: [UInt8]

    public init(status: Int, headerFields: HTTPFields, body: [UInt8]) {
        self.status = status
        self.headerFields = headerFields
        self.body = body
    }
}

/// What a store says to somebody who wants to begin.
public enum IdempotencyClaim: Sendable, Hashable {
    /// Nobody has begun, or who had has given up: go on, and end with this token.
    case begun(token: String)
    /// Somebody has begun, with a request of this fingerprint, and may take until then.
    case running(fingerprint: String, until: Timestamp)
    /// It has been done, by a request of this fingerprint.
    case answered(fingerprint: String, StoredAnswer)
}

/// Remembers which requests have been answered, and how.
///
/// Of any number of callers that begin with one key at the same time, one gets
/// ``IdempotencyClaim/begun(token:)``; that is the whole of what makes a request happen once, so a store must decide it
/// in one step. Who has begun ends with ``finish(_:token:answer:until:)`` or ``release(_:token:)``. If neither comes,
/// because the process died, the key is free again at `leaseUntil`; what the work had done by then, its own transaction
/// decides.
///
/// Errors are thrown as they are; nothing has been begun then.
public protocol IdempotencyStore: Sendable {
    /// - Parameters:
    ///   - fingerprint: of the request, so that another one with the same key is found out.
    ///   - now: the calendar's reading.
    ///   - leaseUntil: when somebody else may begin if this one has not ended.
    func begin(
        _ key: IdempotencyKey,
        fingerprint: String,
        now: Timestamp,
        leaseUntil: Timestamp
    ) async throws -> IdempotencyClaim

    /// Keeps the answer until `until`. Does nothing if somebody else has begun since.
    func finish(_ key: IdempotencyKey, token: String, answer: StoredAnswer, until: Timestamp) async throws

    /// The work failed, and may be begun again at once. Does nothing if somebody else has begun since.
    func release(_ key: IdempotencyKey, token: String) async throws
}
