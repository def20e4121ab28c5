internal import HTTPTypes
public import ParleyCore
internal import Synchronization

/// Remembers in this process only: what it knows ends with the process, and other instances know nothing of it. For
/// tests and for single instances whose callers do not repeat across a restart.
public final class InMemoryIdempotencyStore: IdempotencyStore {
    private struct Entry {
        var fingerprint: String
        var token: String
        var answer: StoredAnswer?
        /// Of the lease, or of the answer.
        var until: Timestamp
    }

    private struct State {
        var entries: [IdempotencyKey: Entry] = [:]
        var bytes = 0
        var lastToken: UInt64 = 0
    }

    private let state = Mutex(State())
    private let maxEntries: Int
    private let maxBytes: Int

    /// Above either limit the answers that would be forgotten first go first; work that is under way is never forgotten
    /// before its lease ends.
    ///
    /// - Parameters:
    ///   - maxEntries: at least 1.
    ///   - maxBytes: of the bodies.
    public init(maxEntries: Int = 10_000, maxBytes: Int = 64 * 1_048_576) {
        self.maxEntries = max(1, maxEntries)
        self.maxBytes = max(0, maxBytes)
    }

    /// How many keys are remembered.
    public var count: Int { self.state.withLock { $0.entries.count } }

    /// - Throws: ``ProblemError`` (503) when `maxEntries` requests are under way at once.
    public func begin(
        _ key: IdempotencyKey,
        fingerprint: String,
        now: Timestamp,
        leaseUntil: Timestamp
    ) throws -> IdempotencyClaim {
        let claim = self.state.withLock { state -> IdempotencyClaim? in
            if let entry = state.entries[key], entry.until > now {
                if let answer = entry.answer { return .answered(fingerprint: entry.fingerprint, answer) }
                return .running(fingerprint: entry.fingerprint, until: entry.until)
            }
            Self.remove(key, from: &state)
            if state.entries.count >= self.maxEntries { self.makeRoom(in: &state, now: now) }
            guard state.entries.count < self.maxEntries else { return nil }
            state.lastToken += 1
            let token = String(state.lastToken)
            state.entries[key] = Entry(fingerprint: fingerprint, token: token, answer: nil, until: leaseUntil)
            return .begun(token: token)
        }
        guard let claim else {
            throw ProblemError(
                .serviceUnavailable,
                code: "idempotency_full",
                detail: "Too many requests with an Idempotency-Key are under way; nothing was done. Try again.",
                headers: [.retryAfter: "1"]
            )
        }
        return claim
    }

    public func finish(_ key: IdempotencyKey, token: String, answer: StoredAnswer, until: Timestamp) {
        self.state.withLock { state in
            guard state.entries[key]?.token == token, state.entries[key]?.answer == nil else { return }
            state.entries[key]?.answer = answer
            state.entries[key]?.until = until
            state.bytes += answer.body.count
            if state.bytes > self.maxBytes { self.makeRoom(in: &state, now: nil) }
        }
    }

    /// Whoever has begun cannot say how it ended: another may begin at `leaseUntil`.
    package func renew(_ key: IdempotencyKey, token: String, leaseUntil: Timestamp) {
        self.state.withLock { state in
            guard state.entries[key]?.token == token, state.entries[key]?.answer == nil else { return }
            state.entries[key]?.until = leaseUntil
        }
    }

    public func release(_ key: IdempotencyKey, token: String) {
        self.state.withLock { state in
            guard state.entries[key]?.token == token, state.entries[key]?.answer == nil else { return }
            Self.remove(key, from: &state)
        }
    }

    private static func remove(_ key: IdempotencyKey, from state: inout State) {
        guard let entry = state.entries.removeValue(forKey: key) else { return }
        state.bytes -= entry.answer?.body.count ?? 0
    }

    /// Forgets what is over, and then a tenth of the answers more than needed, so that it is not done for every
    /// request.
    private func makeRoom(in state: inout State, now: Timestamp?) {
        if let now {
            for key in state.entries.filter({ $0.value.until <= now }).keys { Self.remove(key, from: &state) }
        }
        let answered = state.entries.filter { $0.value.answer != nil }.sorted { $0.value.until < $1.value.until }
        for (key, _) in answered {
            let isEnough =
                state.entries.count <= self.maxEntries * 9 / 10 && state.bytes <= self.maxBytes / 10 * 9
            if isEnough { break }
            Self.remove(key, from: &state)
        }
    }
}
