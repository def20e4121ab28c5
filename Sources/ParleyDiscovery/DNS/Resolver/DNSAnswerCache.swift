internal import ParleyCore

/// What is known of each service, for how long, and who is finding out more. Pure.
///
/// Of those who ask at once, one looks up. Meanwhile the others get what is known, or wait when nothing is.
struct DNSAnswerCache {
    enum Action {
        case answer([ServiceInstance])
        case fail(DiscoveryError)
        /// The caller finds out and reports it with ``DNSAnswerCache/ended(_:_:now:)``, whatever happens.
        /// `hasAnswer` says whether there is an older answer to fall back to.
        case lookUp(hasAnswer: Bool)
        /// Ask again when somebody has reported.
        case wait
    }

    enum Outcome {
        case found([ServiceInstance], validFor: Duration)
        case failed(DiscoveryError)
        /// The one who looked up was cancelled.
        case abandoned
    }

    private struct Entry {
        var instances: [ServiceInstance]?
        var failure: DiscoveryError?
        var expiry: ContinuousClock.Instant
        var isLookedUp = true
    }

    private let maximumServices: Int
    private let failureHold: Duration
    private var entries: [ServiceName: Entry] = [:]

    init(maximumServices: Int, failureHold: Duration) {
        self.maximumServices = max(1, maximumServices)
        self.failureHold = failureHold
    }

    var count: Int { self.entries.count }

    mutating func ask(_ service: ServiceName, now: ContinuousClock.Instant) -> Action {
        guard var entry = self.entries[service] else {
            if self.entries.count >= self.maximumServices { self.evict() }
            // With every entry under way there is no room: it is looked up all the same, and not kept.
            if self.entries.count < self.maximumServices { self.entries[service] = Entry(expiry: now) }
            return .lookUp(hasAnswer: false)
        }
        if entry.isLookedUp { return entry.instances.map { .answer($0) } ?? .wait }
        if now < entry.expiry {
            if let instances = entry.instances { return .answer(instances) }
            if let failure = entry.failure { return .fail(failure) }
        }
        entry.isLookedUp = true
        self.entries[service] = entry
        return .lookUp(hasAnswer: entry.instances != nil)
    }

    /// - Returns: What the one who looked up answers; `nil` when the lookup was abandoned.
    mutating func ended(
        _ service: ServiceName,
        _ outcome: Outcome,
        now: ContinuousClock.Instant
    ) -> Result<[ServiceInstance], DiscoveryError>? {
        var entry = self.entries[service]
        entry?.isLookedUp = false
        defer { self.entries[service] = entry }
        switch outcome {
        case .found(let instances, let validFor):
            entry?.instances = instances
            entry?.failure = nil
            entry?.expiry = now.advanced(by: validFor)
            return .success(instances)
        case .failed(let error):
            entry?.failure = error
            entry?.expiry = now.advanced(by: self.failureHold)
            return entry?.instances.map { .success($0) } ?? .failure(error)
        case .abandoned:
            entry?.expiry = now
            return nil
        }
    }

    /// The one that has been, or will be, out of date for longest.
    private mutating func evict() {
        let oldest = self.entries.filter { !$0.value.isLookedUp }.min { $0.value.expiry < $1.value.expiry }
        if let oldest { self.entries[oldest.key] = nil }
    }
}
