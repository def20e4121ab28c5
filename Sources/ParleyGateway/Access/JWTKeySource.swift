internal import ParleyCore
internal import Synchronization

/// The keys of an issuer, fetched from where they are and fetched again when that is due.
///
/// A fetch that fails, or brings no key set, leaves the old keys in force. However many ask, one fetches; the others
/// wait for it, or go on with what there is.
final class JWTKeySource: Sendable {
    struct Keys: Sendable {
        var set: JSONWebKeySet
        /// Another number whenever the set has changed.
        var generation: UInt64
    }

    enum Reason { case due, unknownKey }

    private struct State {
        var keys: Keys?
        var document: [UInt8] = []
        var attempted: ContinuousClock.Instant?
        var succeeded: ContinuousClock.Instant?
        var isFetching = false
        var waiting = 0
    }

    private let refresh: Duration
    private let minInterval: Duration
    private let maxWaiting: Int
    private let maxBytes: Int
    private let fetch: @Sendable () async throws -> [UInt8]
    private let time: any TimeSource
    private let fetched = Signal()
    private let state = Mutex(State())

    init(
        refresh: Duration,
        minInterval: Duration,
        maxBytes: Int,
        maxWaiting: Int = 1_024,
        time: any TimeSource,
        fetch: @escaping @Sendable () async throws -> [UInt8]
    ) {
        self.refresh = refresh
        self.minInterval = minInterval
        self.maxBytes = maxBytes
        self.maxWaiting = maxWaiting
        self.time = time
        self.fetch = fetch
    }

    /// The keys, unless there are none, or it is this caller's turn to fetch them anew.
    func current(_ now: ContinuousClock.Instant) -> Keys? {
        self.state.withLock { state in
            guard let keys = state.keys else { return nil }
            return self.isDue(state, now, .due) && !state.isFetching ? nil : keys
        }
    }

    /// The keys after a fetch, if one was due for this reason; `nil` when there have never been any.
    func keys(_ reason: Reason) async -> Keys? {
        let now = self.time.now
        let generation = self.fetched.generation
        enum Turn { case fetch, wait, none }
        let turn = self.state.withLock { state -> Turn in
            if state.isFetching {
                // Those who have keys need not wait, unless for the one that is not among them.
                guard state.keys == nil || reason == .unknownKey, state.waiting < self.maxWaiting else { return .none }
                state.waiting += 1
                return .wait
            }
            guard self.isDue(state, now, reason) else { return .none }
            state.isFetching = true
            state.attempted = now
            return .fetch
        }
        switch turn {
        case .none: break
        case .fetch: await self.fetchNow()
        case .wait:
            await self.fetched.wait(after: generation, until: nil, on: self.time)
            self.state.withLock { $0.waiting -= 1 }
        }
        return self.state.withLock { $0.keys }
    }

    private func isDue(_ state: State, _ now: ContinuousClock.Instant, _ reason: Reason) -> Bool {
        if let attempted = state.attempted, now < attempted.advanced(by: self.minInterval) { return false }
        guard reason == .due, state.keys != nil, let succeeded = state.succeeded else { return true }
        return succeeded.advanced(by: self.refresh) <= now
    }

    private func fetchNow() async {
        let document = try? await self.fetch()
        var set: JSONWebKeySet?
        if let document, document.count <= self.maxBytes { set = await JSONWebKeySet.parse(document) }
        let found = set
        self.state.withLock { state in
            state.isFetching = false
            guard let found, !found.keys.isEmpty, let document else { return }
            state.succeeded = state.attempted
            guard document != state.document || state.keys == nil else { return }
            state.document = document
            state.keys = Keys(set: found, generation: (state.keys?.generation ?? 0) &+ 1)
        }
        self.fetched.ring()
    }
}
