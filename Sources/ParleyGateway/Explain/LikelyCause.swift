/// What most probably went wrong, and the commands that show it.
struct LikelyCause {
    var cause: String
    var next: [String]

    /// The most telling sign decides; the order of the tests is from the surest to the vaguest.
    static func of(_ record: ExchangeRecord) -> LikelyCause {
        if let limit = record.limit { return Self.limit(limit, record) }
        let flags = record.flags
        if flags.contains(.noneHealthy) { return Self.noneHealthy(record) }
        if flags.contains(.totalTimeout) { return Self.totalTimeout(record) }
        if let cause = Self.ofClient(record) { return cause }
        if let cause = Self.ofGateway(record) { return cause }
        if let attempt = record.attempts.last(where: { $0.outcome != .answered }) {
            if record.attempts.last?.outcome == .answered, !record.isOwnAnswer {
                var cause = Self.of(attempt, record)
                cause.cause = "\(attempt.instance) failed, and another instance answered. " + cause.cause
                return cause
            }
            return Self.of(attempt, record)
        }
        if let attempt = record.attempts.last, let status = attempt.status, status >= 300 {
            return LikelyCause(
                cause: "\(attempt.instance) itself answered \(status)"
                    + (attempt.retry == .notNeeded ? "." : "; \(Timeline.text(attempt.retry))."),
                next: [Self.curl(attempt.instance, record.path), Self.searchLogs(record)]
            )
        }
        return LikelyCause(
            cause: record.why.isEmpty ? "The record does not say." : "The gateway saw: \(record.why).",
            next: ["parley gateway status"]
        )
    }

    // MARK: - The gateway's own rules

    private static func limit(_ limit: ExchangeRecord.LimitState, _ record: ExchangeRecord) -> LikelyCause {
        switch limit.kind {
        case .requests:
            var cause = "Client key \(limit.key) sends faster than zone \(limit.zone) allows "
            cause += "(\(ExplainText.rate(limit.limit)), burst \(limit.burst))."
            if let next = limit.nextMilliseconds {
                cause += " Its next request would have passed \(ExplainText.duration(Int64(next) &* 1_000)) later."
            }
            return LikelyCause(
                cause: cause,
                next: [
                    "parley gateway status",
                    "# if the client is right: raise rate or burst of zone \(ExplainText.quoted(limit.zone))",
                ]
            )
        case .connections:
            return LikelyCause(
                cause: "Key \(limit.key) has \(limit.current) requests under way, and zone \(limit.zone) allows "
                    + "\(limit.limit) at once. It passes as soon as one of them has ended.",
                next: ["parley gateway status"]
            )
        }
    }

    private static func ofClient(_ record: ExchangeRecord) -> LikelyCause? {
        let flags = record.flags
        if flags.contains(.addressDenied) {
            return LikelyCause(
                cause: "The address \(record.client) is denied by the rules of location \(record.route ?? "-").",
                next: [
                    "# let it in: add `allow \(ExplainText.quoted(record.client))` before the `deny` that matches",
                    "# behind a proxy: check real_ip_header and set_real_ip_from, this is the address that was judged",
                ]
            )
        }
        if flags.contains(.unauthorized) {
            return LikelyCause(
                cause: "The credentials are missing, wrong or too old: \(record.why).",
                next: [Self.curl(record.host, record.path) + " -H 'Authorization: …'"]
            )
        }
        if flags.contains(.bodyTooLarge) {
            return LikelyCause(
                cause: "The body of the request is larger than client_max_body_size allows here.",
                next: ["# raise client_max_body_size in location \(ExplainText.quoted(record.route ?? "-"))"]
            )
        }
        if flags.contains(.invalidHeader) || flags.contains(.clientProtocolError) {
            return LikelyCause(
                cause: "The client broke a rule of HTTP: \(record.why).",
                next: ["# look at the client at \(ExplainText.quoted(record.client)): it must be mended there"]
            )
        }
        if flags.contains(.clientTimeout) {
            return LikelyCause(
                cause: "The client sent or took too slowly: \(record.why).",
                next: ["# a slow line: raise client_body_timeout or send_timeout; else it is an attack, and stopped"]
            )
        }
        if flags.contains(.clientGone) {
            let phase = record.attempts.last.map { " while \($0.instance) was in phase \($0.phase.rawValue)" } ?? ""
            let time = ExplainText.duration(record.durationMicroseconds)
            return LikelyCause(
                cause: "The client went away after \(time)\(phase): its own time limit is probably shorter.",
                next: record.attempts.last.map { [Self.curl($0.instance, record.path)] } ?? ["parley gateway status"]
            )
        }
        return nil
    }

    private static func ofGateway(_ record: ExchangeRecord) -> LikelyCause? {
        let flags = record.flags
        if flags.contains(.noRoute) {
            return LikelyCause(
                cause: "No location answers this path on server \(record.server.isEmpty ? "-" : record.server).",
                next: ["parley gateway status", "# add a location, or check Host: it chose the server"]
            )
        }
        if flags.contains(.overloaded) {
            return LikelyCause(
                cause: "The gateway has as many connections as worker_connections allows.",
                next: ["parley gateway status", "ss -s"]
            )
        }
        if flags.contains(.shuttingDown) {
            return LikelyCause(
                cause: "The gateway was shutting down. The client should try again, elsewhere.",
                next: ["parley gateway status"]
            )
        }
        if flags.contains(.internalError) {
            return LikelyCause(
                cause: "The configuration leads nowhere for this request: \(record.why).",
                next: ["parley gateway test --nginx FILE"]
            )
        }
        return nil
    }

    // MARK: - The services behind

    private static func noneHealthy(_ record: ExchangeRecord) -> LikelyCause {
        let name = record.upstream ?? "-"
        let out = record.unavailable.filter { $0.state != .available }
        guard let worst = out.first else {
            return LikelyCause(
                cause: "Upstream \(name) has no instances at all: is the service registered, does its name resolve?",
                next: ["parley gateway status"]
            )
        }
        var cause = "Every instance of upstream \(name) is out: "
        cause +=
            out.prefix(8).map { candidate in
                var text = "\(candidate.name) (\(candidate.state.rawValue)"
                if let reason = candidate.reason { text += ", \(reason)" }
                if let until = candidate.until { text += ", until \(until)" }
                return text + ")"
            }.joined(separator: "; ") + "."
        if let first = out.compactMap(\.until).min() { cause += " The first is asked again at \(first)." }
        return LikelyCause(cause: cause, next: Self.reach(worst.name) + ["parley gateway status"])
    }

    private static func totalTimeout(_ record: ExchangeRecord) -> LikelyCause {
        let tries = ExplainText.count(record.attempts.count, "attempt")
        return LikelyCause(
            cause: "The time for the whole request was over after \(tries).",
            next: record.attempts.last.map { [Self.time($0.instance, record.path)] } ?? ["parley gateway status"]
        )
    }

    private static func of(_ attempt: ExchangeRecord.Attempt, _ record: ExchangeRecord) -> LikelyCause {
        let name = attempt.instance
        switch attempt.outcome {
        case .connectFailed:
            let isRefused = attempt.detail.lowercased().contains("refused")
            return LikelyCause(
                cause: isRefused
                    ? "Nothing listens at \(name): the service is not running, or on another port."
                    : "\(name) cannot be reached: \(attempt.detail).",
                next: Self.reach(name)
            )
        case .connectTimeout:
            return LikelyCause(
                cause: "\(name) does not take connections in time: a firewall, a wrong address, or it is overwhelmed.",
                next: Self.reach(name)
            )
        case .tlsFailed:
            let (host, port) = ExplainText.endpoint(name)
            let address = ExplainText.quoted("\(host):\(port ?? "443")")
            return LikelyCause(
                cause: "\(name) and the gateway do not agree on TLS: \(attempt.detail).",
                next: ["openssl s_client -connect \(address) -servername \(ExplainText.quoted(host)) </dev/null"]
            )
        case .sendTimeout:
            return LikelyCause(
                cause: "\(name) stopped taking the request: it hangs, or reads bodies slower than proxy_send_timeout.",
                next: [Self.time(name, record.path)]
            )
        case .readTimeout:
            let wait = attempt.timings[attempt.phase].map { " in \(ExplainText.duration($0))" } ?? ""
            return LikelyCause(
                cause: "\(name) sent nothing\(wait): it hangs, or needs longer than proxy_read_timeout.",
                next: [Self.time(name, record.path), Self.searchLogs(record)]
            )
        case .lost:
            let idle =
                attempt.isReusedConnection
                ? " The connection was a kept one: its idle time there is probably shorter than keepalive_timeout here."
                : ""
            return LikelyCause(
                cause: "\(name) closed the connection without an answer: it crashed or was stopped.\(idle)",
                next: [Self.curl(name, record.path), Self.searchLogs(record)]
            )
        case .truncated:
            return LikelyCause(
                cause: "\(name) closed the connection within its answer: it crashed, or its Content-Length is wrong.",
                next: [Self.curl(name, record.path), Self.searchLogs(record)]
            )
        case .garbage:
            return LikelyCause(
                cause: "What \(name) sent is no HTTP: is it the right port, and http or https?",
                next: [Self.curl(name, record.path)]
            )
        case .headTooLarge:
            return LikelyCause(
                cause: "The head of \(name)'s answer is larger than proxy_buffer_size: often cookies.",
                next: [Self.curl(name, record.path) + " -o /dev/null"]
            )
        case .misdirected:
            return LikelyCause(
                cause: "Another instance answers at \(name): the registry still has the address of one that is gone.",
                next: Self.reach(name)
            )
        case .refused:
            return LikelyCause(
                cause: "\(name) refused the stream: it is at its limit, or shutting down. Nothing was done.",
                next: ["parley gateway status"]
            )
        case .overflow:
            return LikelyCause(
                cause: "The limits of upstream \(record.upstream ?? name) are reached: its instances are too slow for "
                    + "what comes.",
                next: ["parley gateway status"]
            )
        case .answered, .cancelled:
            return LikelyCause(
                cause: record.why.isEmpty ? "The record does not say." : "The gateway saw: \(record.why).",
                next: [Self.curl(name, record.path)]
            )
        }
    }

    // MARK: - Commands

    private static func url(_ instance: String, _ path: String) -> String {
        ExplainText.quoted("http://\(instance)\(path.hasPrefix("/") ? "" : "/")\(path)")
    }

    private static func curl(_ instance: String, _ path: String) -> String { "curl -sv \(Self.url(instance, path))" }

    private static func time(_ instance: String, _ path: String) -> String {
        "curl -s -o /dev/null -w '%{http_code} after %{time_total} s\\n' \(Self.url(instance, path))"
    }

    private static func reach(_ instance: String) -> [String] {
        let port = ExplainText.endpoint(instance).port
        return (port.map { ["ss -tlnp | grep ':\($0)'"] } ?? []) + ["curl \(Self.url(instance, "/health"))"]
    }

    private static func searchLogs(_ record: ExchangeRecord) -> String {
        "grep -r \(ExplainText.quoted(record.id)) /var/log  # the service has the same X-Request-ID"
    }
}
