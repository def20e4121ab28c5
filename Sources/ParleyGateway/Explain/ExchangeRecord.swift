package import ParleyCore

/// The story of one request that the gateway answered with an error of its own, or that needed more than one try.
///
/// It is made once something has gone wrong, so its texts are strings. What a client or an instance wrote is cut to
/// ``maxTextBytes`` when the record is stored.
package struct ExchangeRecord: Sendable, Hashable, Codable {
    package static let maxTextBytes = 1_024
    package static let maxAttempts = 16
    package static let maxCandidates = 64

    package var id: String
    /// The client's own `X-Request-ID`, when the gateway has answered with another one.
    package var sentID: String?
    /// When the head of the request was complete.
    package var time: Timestamp
    package var method: String
    package var host: String
    /// Path and query as the client wrote them.
    package var path: String
    /// The first name of the virtual server.
    package var server: String
    /// The name of the location; `nil` when none was found.
    package var route: String?
    package var upstream: String?
    package var client: String
    package var status: Int
    package var flags: ResponseFlags
    /// Whether the status is the gateway's own, or passed on from an instance after a retry.
    package var isOwnAnswer: Bool
    /// What was seen, in a few words: `connection refused`.
    package var why: String
    package var durationMicroseconds: Int64
    package var limit: LimitState?
    package var attempts: [Attempt] = []
    /// Instances at the moment when none could be picked.
    package var unavailable: [Candidate] = []

    package init(
        id: String,
        time: Timestamp,
        method: String,
        host: String,
        path: String,
        server: String = "",
        route: String? = nil,
        upstream: String? = nil,
        client: String,
        status: Int,
        flags: ResponseFlags,
        isOwnAnswer: Bool = true,
        why: String,
        durationMicroseconds: Int64
    ) {
        self.id = id
        self.time = time
        self.method = method
        self.host = host
        self.path = path
        self.server = server
        self.route = route
        self.upstream = upstream
        self.client = client
        self.status = status
        self.flags = flags
        self.isOwnAnswer = isOwnAnswer
        self.why = why
        self.durationMicroseconds = durationMicroseconds
    }
}

extension ExchangeRecord {
    /// What a limiter saw when it refused.
    package struct LimitState: Sendable, Hashable, Codable {
        package enum Kind: String, Sendable, Codable { case requests, connections }

        package var kind: Kind
        package var zone: String
        /// The value of the zone's key, for people: an address as text.
        package var key: String
        /// Requests: thousandths of a request in a second. Connections: how many at once.
        package var limit: Int
        /// Requests above the rate that may be under way, in whole requests.
        package var burst: Int
        /// Requests: thousandths of a request above the rate. Connections: how many there were.
        package var current: Int
        /// After how long the next request of this key would have passed; `nil` for connections.
        package var nextMilliseconds: Int?

        package init(
            kind: Kind,
            zone: String,
            key: String,
            limit: Int,
            burst: Int = 0,
            current: Int,
            nextMilliseconds: Int? = nil
        ) {
            self.kind = kind
            self.zone = zone
            self.key = key
            self.limit = limit
            self.burst = burst
            self.current = current
            self.nextMilliseconds = nextMilliseconds
        }
    }

    /// An instance, as the balancer saw it at the moment of its choice.
    package struct Candidate: Sendable, Hashable, Codable {
        package enum State: String, Sendable, Codable {
            /// It could be picked.
            case available
            /// This request had been there already.
            case tried
            /// `down` in the configuration.
            case down
            /// `max_fails` within `fail_timeout`.
            case failed
            /// Ejected by outlier detection.
            case ejected
            /// The active health check says so.
            case unhealthy
            /// `max_conns`, or a limit of the circuit breaker.
            case full
            /// Kept for when no other is left.
            case backup
        }

        package var name: String
        package var weight: Int
        package var activeRequests: Int
        package var fails: Int
        package var state: State
        /// Until when it is `failed` or `ejected`.
        package var until: Timestamp?
        /// What made it so, in a few words: `connection refused`.
        package var reason: String?

        package init(
            name: String,
            weight: Int = 1,
            activeRequests: Int = 0,
            fails: Int = 0,
            state: State = .available,
            until: Timestamp? = nil,
            reason: String? = nil
        ) {
            self.name = name
            self.weight = weight
            self.activeRequests = activeRequests
            self.fails = fails
            self.state = state
            self.until = until
            self.reason = reason
        }
    }

    /// How far an attempt came.
    package enum Phase: String, Sendable, Codable, CaseIterable {
        case connect, tls, write
        case firstByte = "first_byte"
        case body, done
    }

    package enum Outcome: String, Sendable, Codable, CaseIterable {
        /// The answer came, whatever its status.
        case answered
        case connectFailed = "connect_failed"
        case connectTimeout = "connect_timeout"
        case tlsFailed = "tls_failed"
        case sendTimeout = "send_timeout"
        case readTimeout = "read_timeout"
        /// Ended before a head.
        case lost
        /// Ended within the body.
        case truncated
        case garbage
        case headTooLarge = "head_too_large"
        case misdirected
        case refused
        case overflow
        /// The client went away, or the time for the whole request was over.
        case cancelled
    }

    package enum RetryDecision: String, Sendable, Codable, CaseIterable {
        case retried
        /// There was no reason for one.
        case notNeeded = "not_needed"
        /// `proxy_next_upstream` does not name what happened.
        case notListed = "not_listed"
        case triesExhausted = "tries_exhausted"
        /// `proxy_next_upstream_timeout`.
        case timeExhausted = "time_exhausted"
        /// The request may have been carried out, and its method must not be sent twice.
        case nonIdempotent = "non_idempotent"
        /// The body was streamed, and is gone.
        case bodySent = "body_sent"
        /// The client has part of the answer.
        case answerBegun = "answer_begun"
        case noInstanceLeft = "no_instance_left"
        /// The retry budget, or the circuit breaker's limit of retries.
        case budget
        case clientGone = "client_gone"
    }

    package struct Attempt: Sendable, Hashable, Codable {
        package var instance: String
        /// The balancer's method, in nginx's word: `least_conn`.
        package var method: String
        /// Why this one: `2 active requests for weight 3`.
        package var why: String
        package var considered: [Candidate]
        package var isReusedConnection: Bool
        /// The phase in which it ended.
        package var phase: Phase
        package var bytesSent: Int64
        package var bytesReceived: Int64
        /// Microseconds from the beginning of the request until this attempt began.
        package var startMicroseconds: Int64
        package var timings: Timings
        package var outcome: Outcome
        /// What was seen: `connection refused`.
        package var detail: String
        /// Of the answer, when a head came.
        package var status: Int?
        package var retry: RetryDecision

        package init(
            instance: String,
            method: String,
            why: String = "",
            considered: [Candidate] = [],
            isReusedConnection: Bool = false,
            phase: Phase,
            bytesSent: Int64 = 0,
            bytesReceived: Int64 = 0,
            startMicroseconds: Int64 = 0,
            timings: Timings = Timings(),
            outcome: Outcome,
            detail: String = "",
            status: Int? = nil,
            retry: RetryDecision = .notNeeded
        ) {
            self.instance = instance
            self.method = method
            self.why = why
            self.considered = considered
            self.isReusedConnection = isReusedConnection
            self.phase = phase
            self.bytesSent = bytesSent
            self.bytesReceived = bytesReceived
            self.startMicroseconds = startMicroseconds
            self.timings = timings
            self.outcome = outcome
            self.detail = detail
            self.status = status
            self.retry = retry
        }
    }

    /// Microseconds of each phase; `nil` when the attempt did not come so far.
    package struct Timings: Sendable, Hashable, Codable {
        package var connect: Int64?
        package var tls: Int64?
        package var write: Int64?
        package var firstByte: Int64?
        package var body: Int64?

        package init(
            connect: Int64? = nil,
            tls: Int64? = nil,
            write: Int64? = nil,
            firstByte: Int64? = nil,
            body: Int64? = nil
        ) {
            self.connect = connect
            self.tls = tls
            self.write = write
            self.firstByte = firstByte
            self.body = body
        }

        package subscript(phase: Phase) -> Int64? {
            switch phase {
            case .connect: self.connect
            case .tls: self.tls
            case .write: self.write
            case .firstByte: self.firstByte
            case .body: self.body
            case .done: nil
            }
        }
    }
}

extension ExchangeRecord {
    /// About how much memory it takes.
    var byteCount: Int {
        var count = 512
        for text in [self.id, self.method, self.host, self.path, self.server, self.client, self.why] {
            count += text.utf8.count
        }
        count += (self.sentID?.utf8.count ?? 0) + (self.route?.utf8.count ?? 0) + (self.upstream?.utf8.count ?? 0)
        if let limit { count += 96 + limit.key.utf8.count + limit.zone.utf8.count }
        count += self.unavailable.reduce(0) { $0 + $1.byteCount }
        for attempt in self.attempts {
            count += 256 + attempt.instance.utf8.count + attempt.why.utf8.count + attempt.detail.utf8.count
            count += attempt.considered.reduce(0) { $0 + $1.byteCount }
        }
        return count
    }

    /// The same with everything cut to the limits.
    func bounded() -> ExchangeRecord {
        var record = self
        for path: WritableKeyPath<ExchangeRecord, String> in [
            \.id, \.method, \.host, \.path, \.server, \.client, \.why,
        ] {
            record[keyPath: path] = Self.cut(record[keyPath: path])
        }
        record.sentID = record.sentID.map(Self.cut)
        record.route = record.route.map(Self.cut)
        record.upstream = record.upstream.map(Self.cut)
        if let limit { record.limit?.key = Self.cut(limit.key) }
        record.unavailable = Self.cut(record.unavailable)
        // The first ones and the last: how it began, and how it ended.
        if record.attempts.count > Self.maxAttempts {
            record.attempts = record.attempts.prefix(Self.maxAttempts - 1) + record.attempts.suffix(1)
        }
        for index in record.attempts.indices {
            record.attempts[index].why = Self.cut(record.attempts[index].why)
            record.attempts[index].detail = Self.cut(record.attempts[index].detail)
            record.attempts[index].considered = Self.cut(record.attempts[index].considered)
        }
        return record
    }

    private static func cut(_ text: String) -> String {
        guard text.utf8.count > Self.maxTextBytes else { return text }
        return String(decoding: text.utf8.prefix(Self.maxTextBytes), as: UTF8.self) + "…"
    }

    private static func cut(_ candidates: [Candidate]) -> [Candidate] {
        candidates.prefix(Self.maxCandidates).map { candidate in
            var candidate = candidate
            candidate.reason = candidate.reason.map(Self.cut)
            return candidate
        }
    }
}

extension ExchangeRecord.Candidate {
    fileprivate var byteCount: Int { 96 + self.name.utf8.count + (self.reason?.utf8.count ?? 0) }
}
