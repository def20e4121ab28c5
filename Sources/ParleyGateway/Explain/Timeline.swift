/// What happened to a request, line by line.
enum Timeline {
    static func lines(_ record: ExchangeRecord) -> [String] {
        let sent = record.sentID.map { " (sent as \($0))" } ?? ""
        var lines = ["\(record.time) request \(record.id)\(sent) from \(record.client)"]
        if let route = record.route {
            let server = record.server.isEmpty ? "the server without a name" : "server \(record.server)"
            lines.append("+0 µs  \(server), location \(route)" + (record.upstream.map { ", upstream \($0)" } ?? ""))
        } else if !record.server.isEmpty {
            lines.append("+0 µs  server \(record.server), no location")
        }
        if let limit = record.limit { lines.append(Self.line(limit)) }
        for (number, attempt) in record.attempts.enumerated() {
            lines += Self.lines(attempt, number: number + 1)
        }
        if !record.unavailable.isEmpty {
            lines.append("no instance could be picked:")
            lines += record.unavailable.map { "    " + Self.line($0) }
        }
        let end = ExplainText.duration(record.durationMicroseconds)
        let why = record.why.isEmpty ? "" : ": \(record.why)"
        lines.append("+\(end)  \(record.isOwnAnswer ? "the gateway's own status" : "status") \(record.status)\(why)")
        return lines.map(ExplainText.printable)
    }

    private static func line(_ limit: ExchangeRecord.LimitState) -> String {
        switch limit.kind {
        case .requests:
            let above = "\(limit.current / 1_000).\(abs(limit.current % 1_000) / 100)"
            return "limit \(limit.zone) refused key \(limit.key): \(above) requests above "
                + "\(ExplainText.rate(limit.limit)), burst \(limit.burst)"
        case .connections:
            return "limit \(limit.zone) refused key \(limit.key): \(limit.current) of \(limit.limit) at once"
        }
    }

    private static func lines(_ attempt: ExchangeRecord.Attempt, number: Int) -> [String] {
        let start = ExplainText.duration(attempt.startMicroseconds)
        var lines = ["+\(start)  attempt \(number): \(attempt.instance), by \(attempt.method)"]
        if !attempt.why.isEmpty { lines[0] += " (\(attempt.why))" }
        lines += attempt.considered.map { "    " + Self.line($0) }
        var phases: [String] = []
        for phase in ExchangeRecord.Phase.allCases {
            guard let time = attempt.timings[phase] else { continue }
            phases.append("\(Self.name(phase)) \(ExplainText.duration(time))")
        }
        if !phases.isEmpty { lines.append("    " + phases.joined(separator: ", ")) }
        let connection = attempt.isReusedConnection ? "a reused connection" : "a new connection"
        lines.append(
            "    \(connection), \(ExplainText.count(attempt.bytesSent, "byte")) sent, "
                + "\(ExplainText.count(attempt.bytesReceived, "byte")) received"
        )
        var outcome = Self.text(attempt)
        if !attempt.detail.isEmpty { outcome += " (\(attempt.detail))" }
        lines.append("    \(outcome); \(Self.text(attempt.retry))")
        return lines
    }

    private static func line(_ candidate: ExchangeRecord.Candidate) -> String {
        var line = "\(candidate.name): weight \(candidate.weight), "
        line += "\(ExplainText.count(candidate.activeRequests, "active request")), "
        line += "\(ExplainText.count(candidate.fails, "failure")), \(Self.text(candidate.state))"
        if let until = candidate.until { line += " until \(until)" }
        if let reason = candidate.reason { line += " (\(reason))" }
        return line
    }

    private static func name(_ phase: ExchangeRecord.Phase) -> String {
        switch phase {
        case .connect: "connect"
        case .tls: "TLS"
        case .write: "write"
        case .firstByte: "first byte"
        case .body: "body"
        case .done: "done"
        }
    }

    private static func text(_ state: ExchangeRecord.Candidate.State) -> String {
        switch state {
        case .available: "available"
        case .tried: "tried before"
        case .down: "down in the configuration"
        case .failed: "out after failures"
        case .ejected: "ejected"
        case .unhealthy: "its health check fails"
        case .full: "full"
        case .backup: "a backup"
        }
    }

    private static func text(_ attempt: ExchangeRecord.Attempt) -> String {
        switch attempt.outcome {
        case .answered: "answered \(attempt.status.map(String.init) ?? "")"
        case .connectFailed: "no connection"
        case .connectTimeout: "no connection in time"
        case .tlsFailed: "the TLS handshake failed"
        case .sendTimeout: "took the request too slowly"
        case .readTimeout:
            attempt.phase == .body ? "the answer stopped midway, for too long" : "no answer in time"
        case .lost: "the connection ended before an answer"
        case .truncated: "the connection ended within the answer"
        case .garbage: "what came is no HTTP"
        case .headTooLarge: "the head of the answer is too large"
        case .misdirected: "another instance answered"
        case .refused: "the stream was refused"
        case .overflow: "no room for another request"
        case .cancelled: "given up in phase \(Self.name(attempt.phase))"
        }
    }

    static func text(_ decision: ExchangeRecord.RetryDecision) -> String {
        switch decision {
        case .retried: "tried again"
        case .notNeeded: "no retry needed"
        case .notListed: "not tried again: proxy_next_upstream does not list it"
        case .triesExhausted: "not tried again: all tries are used"
        case .timeExhausted: "not tried again: proxy_next_upstream_timeout is over"
        case .nonIdempotent: "not tried again: the method must not be sent twice"
        case .bodySent: "not tried again: the body was streamed and is gone"
        case .answerBegun: "not tried again: the client has part of the answer"
        case .noInstanceLeft: "not tried again: no other instance is left"
        case .budget: "not tried again: the retry budget is used up"
        case .clientGone: "not tried again: the client is gone"
        }
    }
}
