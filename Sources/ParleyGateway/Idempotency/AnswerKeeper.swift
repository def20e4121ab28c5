internal import Crypto
internal import HTTPTypes
internal import NIOCore
internal import ParleyCore
internal import ParleyHTTPServer
internal import Synchronization

/// Makes a POST or PATCH that comes twice with one `Idempotency-Key` happen once: the second gets the first one's
/// answer.
///
/// Answers are kept in this process only. What is kept, what is refused and with which codes is as in
/// ``ParleyHTTPServer/IdempotencyMiddleware``.
struct AnswerKeeper: Sendable {
    static let maxAnswerBytes = 1_048_576

    let rules: IdempotencyRules
    private let store: InMemoryIdempotencyStore
    private let time: any TimeSource

    init(_ rules: IdempotencyRules, store: InMemoryIdempotencyStore, time: any TimeSource) {
        self.rules = rules
        self.store = store
        self.time = time
    }

    /// - Throws: ``ParleyCore/ProblemError`` when as many are under way as may be.
    func begin(_ key: IdempotencyKey, fingerprint: String) throws -> IdempotencyClaim {
        let now = self.time.wallTime
        // Who has begun always ends, unless the process does, and the store with it.
        let until = now + .milliseconds(Int64(self.rules.keepMilliseconds))
        return try self.store.begin(key, fingerprint: fingerprint, now: now, leaseUntil: until)
    }

    func finish(_ key: IdempotencyKey, token: String, answer: StoredAnswer) {
        let until = self.time.wallTime + .milliseconds(Int64(self.rules.keepMilliseconds))
        self.store.finish(key, token: token, answer: answer, until: until)
    }

    /// The key is free again after this time: what has become of the request is not known.
    func keepTaken(_ key: IdempotencyKey, token: String, for lease: Duration) {
        self.store.renew(key, token: token, leaseUntil: self.time.wallTime + lease)
    }

    func release(_ key: IdempotencyKey, token: String) { self.store.release(key, token: token) }

    /// Refusals of the caller, and of this moment, are not about the request: another token, or another time, may have
    /// another answer.
    static func isKept(_ status: UInt16) -> Bool {
        (200..<500).contains(status) && ![401, 403, 408, 425, 429].contains(status)
    }
}

/// The keepers of a gateway, one for each rule and way to tell callers apart: what they remember outlives a reload.
final class AnswerKeepers: Sendable {
    /// The same name in two files of passwords is two callers.
    private struct Scope: Hashable {
        var rules: IdempotencyRules
        var userFile: String?
        var keys: APIKeys?
        var tokens: JWTRules?
    }

    private let stores = Mutex<[Scope: InMemoryIdempotencyStore]>([:])
    private let time: any TimeSource

    init(time: any TimeSource) {
        self.time = time
    }

    func keeper(_ rules: IdempotencyRules, _ settings: LocationSettings) -> AnswerKeeper {
        let scope = Scope(
            rules: rules,
            userFile: settings.basicAuth?.userFile,
            keys: settings.apiKeys,
            tokens: settings.jwt
        )
        let store = self.stores.withLock { stores in
            if let store = stores[scope] { return store }
            let store = InMemoryIdempotencyStore(maxBytes: rules.maxStoredBytes)
            stores[scope] = store
            return store
        }
        return AnswerKeeper(rules, store: store, time: self.time)
    }
}

/// One request with a key: whose it is, and what has become of it.
struct KeyedRequest {
    enum State {
        /// Its body has to come first: it decides whether it is the same request.
        case collecting
        case begun(token: String)
        /// The answer so far.
        case answering(token: String, StoredAnswer)
    }

    let keeper: AnswerKeeper
    let key: IdempotencyKey
    var state = State.collecting

    static func fingerprint(method: String, host: ByteBuffer, target: ByteBuffer, body: [ByteBuffer]) -> String {
        var hash = SHA256()
        hash.update(data: Array("\(method) ".utf8))
        hash.update(data: Array(host.readableBytesView))
        hash.update(data: Array(target.readableBytesView))
        hash.update(data: [UInt8(ascii: "\n")])
        for part in body { part.withUnsafeReadableBytes { hash.update(bufferPointer: $0) } }
        return Self.hex(hash.finalize())
    }

    /// Who asks, as far as it can be told: what one of them may see another one may not. A stranger is an address.
    static func caller(_ identity: AccessIdentity?, credentials: [UInt8], address: [UInt8]) -> String {
        if let identity, !identity.name.isEmpty { return "name \(String(decoding: identity.name, as: UTF8.self))" }
        if !credentials.isEmpty { return "credentials \(Self.hex(SHA256.hash(data: credentials)))" }
        return "address \(Self.hex(address))"
    }

    private static func hex(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
