public import ParleyCore
public import ParleyRESP

/// So many in such a time, and so many more at once.
///
/// The same numbers as nginx's `limit_req … nodelay`: 200 a minute with a burst of 50 admits 51 at once, then one every
/// 300 ms.
public struct RateLimit: Sendable, Hashable {
    /// The time between two, when they come evenly. At least a microsecond.
    public var interval: Duration
    /// How many more than one may come at once; 0 to 1,000,000.
    public var burst: Int

    /// - Parameters:
    ///   - count: How many in `period`; at least 1.
    ///   - period: Up to a day for each one.
    public init(_ count: Int, per period: Duration, burst: Int = 0) {
        let interval = max(.microseconds(1), period / max(1, count))
        self.interval = min(.seconds(86_400), interval)
        self.burst = min(1_000_000, max(0, burst))
    }
}

/// What a limiter says to one question.
public struct RateDecision: Sendable {
    public var isAdmitted: Bool
    /// How many more would be admitted at this moment; `nil` when the server was not asked.
    public var remaining: Int?
    /// When it makes sense to come again; zero when admitted. `nil` when the server was not asked.
    public var retryAfter: Duration?
    /// Why the server did not answer; the decision is then the limiter's ``RedisRateLimiter/WhenUnavailable``.
    public var failure: RESPError?
}

/// Counts for many processes: one limit for each key, kept in Redis or Valkey.
///
/// One script on the server's clock decides and counts in one step (the generic cell rate algorithm: one time for each
/// key), so neither the number of clients nor their clocks matter. A key that is not asked about goes away by itself.
///
/// It counts questions: one whose answer got lost has counted. After a fail-over or a restart without a log the counts
/// begin anew.
public struct RedisRateLimiter: Sendable {
    /// What is said when the server does not answer in time. There is no default: one choice lets an attack through,
    /// the other turns a failure of Redis into one of the service.
    public struct WhenUnavailable: Sendable, Hashable, CustomStringConvertible {
        private enum Kind: String { case admit, refuse }
        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// Fail open: everybody is admitted.
        public static let admit = WhenUnavailable(kind: .admit)
        /// Fail closed: nobody is.
        public static let refuse = WhenUnavailable(kind: .refuse)
    }

    public let limit: RateLimit
    public let whenUnavailable: WhenUnavailable
    private let client: RESPClient
    private let prefix: String
    private let deadline: Duration
    private let time: any TimeSource

    /// - Parameters:
    ///   - client: Its `run()` must be active.
    ///   - prefix: What the names of the keys begin with; limiters with different limits need different ones.
    ///   - deadline: How long one question may take, connecting included.
    public init(
        client: RESPClient,
        limit: RateLimit,
        whenUnavailable: WhenUnavailable,
        prefix: String = "parley-rate",
        deadline: Duration = .milliseconds(50),
        time: any TimeSource = SystemTimeSource()
    ) {
        self.client = client
        self.limit = limit
        self.whenUnavailable = whenUnavailable
        self.prefix = prefix
        self.deadline = deadline
        self.time = time
    }

    /// Whether one more is admitted for `key`, which then counts. Never throws, and takes no longer than the deadline.
    public func ask(_ key: String) async -> RateDecision {
        let end = Deadline(after: self.deadline, on: self.time)
        do throws(RESPError) {
            let reply = try await self.client.eval(
                Self.script,
                keys: ["\(self.prefix):\(key)"],
                arguments: [RESPArgument(self.limit.interval.inMicroseconds), RESPArgument(self.limit.burst)],
                deadline: end
            )
            guard let numbers = reply.elements?.compactMap(\.integer), numbers.count == 3 else {
                throw RESPError(.unexpectedReply, "the answer is none of this version of Parley", retry: .mayHaveRun)
            }
            return RateDecision(
                isAdmitted: numbers[0] == 1,
                remaining: Int(clamping: numbers[1]),
                retryAfter: .microseconds(numbers[2])
            )
        } catch {
            return RateDecision(isAdmitted: self.whenUnavailable == .admit, failure: error)
        }
    }

    /// KEYS: the count, which is the time at which everything that was admitted would have come evenly. ARGV: the
    /// interval in microseconds, the burst. Answers whether it is admitted, how many more are, and when to come again.
    private static let script = RESPScript(
        """
        local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
        local time = redis.call('TIME')
        local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
        local even = tonumber(redis.call('GET', KEYS[1])) or now
        -- Later than that only after the clock jumped back, and then nobody is to wait for it to come round again.
        even = math.max(now, math.min(even, now + interval * (burst + 1)))
        local function text(number) return string.format('%.0f', number) end
        local wait = even - interval * burst - now
        if wait > 0 then return {0, 0, text(wait)} end
        even = even + interval
        redis.call('SET', KEYS[1], text(even), 'PX', text(math.ceil((even - now) / 1000)))
        return {1, math.floor((now + interval * (burst + 1) - even) / interval), '0'}
        """
    )
}
