package import ParleyCore

/// When an instance that does worse than the others is set aside.
public struct OutlierPolicy: Sendable, Hashable {
    /// Ejects after so many failures in a row; 0 does not look at them. Brought into 0…1,000,000.
    public var consecutiveFailures: Int
    /// Ejects, at the end of an interval, who failed in this share of its calls; 0 does not look at it. Brought into
    /// 0…100.
    public var failurePercent: Int
    /// How many calls of the interval an instance needs to be judged by `failurePercent`. Brought into 1…1,000,000.
    public var minimumRequests: Int
    /// How many instances must have that many, so that there is something to compare with. Brought into 1…1,000,000.
    public var minimumInstances: Int
    /// Brought into 1 s…1 h.
    public var interval: Duration
    /// How long an ejection takes, times how often it has happened. Brought into 0…1 day.
    public var baseTime: Duration
    /// The longest ejection. Brought into 0…1 day.
    public var longestTime: Duration
    /// The largest share of the instances that is ejected at once; of two or more it is at least one, and never all.
    /// Brought into 0…100.
    public var maxEjectedPercent: Int

    public init(
        consecutiveFailures: Int = 5,
        failurePercent: Int = 85,
        minimumRequests: Int = 50,
        minimumInstances: Int = 5,
        interval: Duration = .seconds(10),
        baseTime: Duration = .seconds(30),
        longestTime: Duration = .seconds(300),
        maxEjectedPercent: Int = 10
    ) {
        self.consecutiveFailures = consecutiveFailures
        self.failurePercent = failurePercent
        self.minimumRequests = minimumRequests
        self.minimumInstances = minimumInstances
        self.interval = interval
        self.baseTime = baseTime
        self.longestTime = longestTime
        self.maxEjectedPercent = maxEjectedPercent
    }
}

/// Sets aside the instances that do worse than the others, by Envoy's rules: 30 s times the number of ejections, at
/// most 300 s, at most a tenth of the instances.
///
/// It differs from a breaker in what it knows and in what it does. A breaker sees one instance and refuses calls; this
/// sees all of a service and only prefers the others: an ejected instance is still called when nobody else is left.
///
/// Instances are named by their place in the list that was last given to ``rearrange(_:)``.
package struct OutlierDetector: Equatable, Sendable {
    private struct Entry: Equatable {
        var consecutive = 0
        var total = 0
        var failed = 0
        var ejections = 0
        var ejectedUntil: Moment?
        /// When the number of ejections last went up or down.
        var changedAt: Moment?
    }

    private let policy: OutlierPolicy
    private var entries: [Entry] = []
    private var intervalEnd: Moment?

    package init(_ policy: OutlierPolicy) {
        var policy = policy
        policy.consecutiveFailures = min(max(0, policy.consecutiveFailures), 1_000_000)
        policy.failurePercent = min(max(0, policy.failurePercent), 100)
        policy.minimumRequests = min(max(1, policy.minimumRequests), 1_000_000)
        policy.minimumInstances = min(max(1, policy.minimumInstances), 1_000_000)
        policy.interval = policy.interval.between(.seconds(1), .seconds(3_600))
        policy.baseTime = policy.baseTime.between(.zero, .seconds(86_400))
        policy.longestTime = policy.longestTime.between(.zero, .seconds(86_400))
        policy.maxEjectedPercent = min(max(0, policy.maxEjectedPercent), 100)
        self.policy = policy
    }

    /// The instances are others now.
    ///
    /// - Parameter origins: for each place, where that instance was before; `nil` for a new one.
    package mutating func rearrange(_ origins: [Int?]) {
        let old = self.entries
        self.entries = origins.map { $0.flatMap { old.indices.contains($0) ? old[$0] : nil } ?? Entry() }
    }

    /// How many may be ejected at once.
    package var mostEjected: Int {
        let count = self.entries.count
        guard count > 1, self.policy.maxEjectedPercent > 0 else { return 0 }
        return min(max(1, count * self.policy.maxEjectedPercent / 100), count - 1)
    }

    package func isEjected(_ place: Int, at now: Moment) -> Bool {
        guard let until = self.entries[place].ejectedUntil else { return false }
        return now < until
    }

    package func ejectedUntil(_ place: Int) -> Moment? { self.entries[place].ejectedUntil }

    /// How often it has been ejected, less how often it has proved itself since.
    package func ejections(of place: Int) -> Int { self.entries[place].ejections }

    package func ejectedCount(at now: Moment) -> Int {
        self.entries.count { $0.ejectedUntil.map { now < $0 } ?? false }
    }

    /// The outcome of a call.
    ///
    /// - Returns: the places that are ejected by it.
    package mutating func record(
        _ health: InstanceHealth,
        of place: Int,
        at now: Moment
    ) -> [Int] {
        guard health == .well || health == .ill, self.entries.indices.contains(place) else { return [] }
        var ejected = self.endInterval(at: now)
        // What was under way when it was ejected says nothing new.
        guard !self.isEjected(place, at: now) else { return ejected }
        self.entries[place].total += 1
        guard health == .ill else {
            self.entries[place].consecutive = 0
            self.forgive(place, at: now)
            return ejected
        }
        self.entries[place].failed += 1
        self.entries[place].consecutive += 1
        let limit = self.policy.consecutiveFailures
        if limit > 0, self.entries[place].consecutive >= limit, self.eject(place, at: now) { ejected.append(place) }
        return ejected
    }

    /// A success lowers the number of ejections by one, once in each interval.
    private mutating func forgive(_ place: Int, at now: Moment) {
        guard self.entries[place].ejections > 0 else { return }
        let since = max(self.entries[place].changedAt ?? now, self.entries[place].ejectedUntil ?? now)
        guard since.duration(to: now) >= self.policy.interval else { return }
        self.entries[place].ejections -= 1
        self.entries[place].changedAt = now
    }

    private mutating func endInterval(at now: Moment) -> [Int] {
        guard let end = self.intervalEnd else {
            self.intervalEnd = now.advanced(by: self.policy.interval)
            return []
        }
        guard now >= end else { return [] }
        self.intervalEnd = now.advanced(by: self.policy.interval)
        var ejected: [Int] = []
        let judged = self.entries.indices.filter { self.entries[$0].total >= self.policy.minimumRequests }
        if self.policy.failurePercent > 0, judged.count >= self.policy.minimumInstances {
            for place in judged {
                let entry = self.entries[place]
                guard entry.failed * 100 >= entry.total * self.policy.failurePercent else { continue }
                if !self.isEjected(place, at: now), self.eject(place, at: now) { ejected.append(place) }
            }
        }
        for place in self.entries.indices {
            self.entries[place].total = 0
            self.entries[place].failed = 0
        }
        return ejected
    }

    private mutating func eject(_ place: Int, at now: Moment) -> Bool {
        guard self.ejectedCount(at: now) < self.mostEjected else { return false }
        let count = min(self.entries[place].ejections + 1, 10_000)
        let time = min(self.policy.baseTime * count, self.policy.longestTime)
        self.entries[place].ejections = count
        self.entries[place].consecutive = 0
        self.entries[place].changedAt = now
        self.entries[place].ejectedUntil = now.advanced(by: time)
        return true
    }
}
