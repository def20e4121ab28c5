internal import NIOCore
internal import ParleyCore

extension GatewayWorker {
    /// Counts and logs a request that is over, and keeps its story if something went wrong.
    func record(_ exchange: Exchange) {
        if let probe = exchange.probe { return probe.note(exchange) }
        let duration = ((exchange.ended ?? .now()) - exchange.started).nanoseconds / 1_000
        let bytesIn = Int64(exchange.head.block.bytes.readableBytes + exchange.bodyBytesReceived)
        let location = exchange.location
        self.metrics.requestEnded(
            route: self.routeNumber(exchange),
            status: Int(exchange.status),
            microseconds: duration,
            bytesIn: bytesIn,
            bytesOut: Int64(exchange.bodyBytesSent)
        )
        if exchange.attempts.count > 0 { self.countAttempts(exchange) }
        if let location, !location.logs.isEmpty { self.log(exchange, location, duration, bytesIn) }
        let isStory = exchange.attempts.count > 1 || (exchange.status >= 400 && exchange.isOwnAnswer)
        if isStory, !exchange.flags.isEmpty || exchange.attempts.count > 1 {
            self.shared.records.add(self.story(exchange, duration), shard: self.index)
        }
    }

    /// What began before a reload is counted by its names: its numbers may belong to others now.
    private func routeNumber(_ exchange: Exchange) -> Int {
        guard let location = exchange.location else { return -1 }
        if exchange.plan === self.plan { return location.index }
        let server = exchange.server.map { String(decoding: $0.name, as: UTF8.self) } ?? ""
        let route = MetricsShape.Route(server: server, route: location.model.name)
        return self.metrics.shape.routes.firstIndex(of: route) ?? -1
    }

    private func countAttempts(_ exchange: Exchange) {
        let isCurrent = exchange.plan === self.plan
        for index in exchange.attempts.indices {
            let upstream = exchange.attempts[index].upstream
            guard upstream.index >= 0 else { continue }
            let peer = exchange.attempts[index].peer
            let number: Int
            let instance: Int
            if isCurrent {
                number = upstream.index
                instance = self.instanceNumber(peer, upstream)
            } else {
                number = self.metrics.shape.upstreams.firstIndex(of: upstream.model.name) ?? -1
                instance = self.metrics.instance(upstream.group.model(of: peer)?.name ?? "-", of: number)
            }
            self.metrics.attemptEnded(
                upstream: number,
                instance: instance,
                hasFailed: exchange.attempts[index].failure != nil,
                isRetry: index > 0
            )
        }
    }

    private func log(_ exchange: Exchange, _ location: CompiledLocation, _ duration: Int64, _ bytesIn: Int64) {
        let now = self.shared.time.wallTime
        let facts = AccessLogFacts(
            time: Timestamp(microseconds: now.microseconds - duration),
            status: Int(exchange.status),
            bytesIn: bytesIn,
            bytesOut: Int64(exchange.bodyBytesSent),
            durationMicroseconds: duration,
            retries: max(0, exchange.attempts.count - 1),
            flags: exchange.flags
        )
        for log in location.logs {
            if let condition = log.condition {
                let value = condition.evaluated(in: exchange)
                if value.readableBytes == 0 || value == ByteBuffer(string: "0") { continue }
            }
            self.logBuffer.append(to: log.number, self.shared.log) { buffer in
                log.format.write(facts, route: location.nameBytes, scope: exchange, into: &buffer)
            }
        }
        self.scheduleLogFlush()
    }

    // MARK: - The story

    private func story(_ exchange: Exchange, _ duration: Int64) -> ExchangeRecord {
        let now = self.shared.time.wallTime
        let block = exchange.head.block
        var record = ExchangeRecord(
            id: exchange.recordedID,
            time: Timestamp(microseconds: now.microseconds - duration),
            method: block.text(exchange.head.methodName),
            host: String(buffer: exchange.host),
            path: String(buffer: exchange.rawTarget),
            server: exchange.server.map { String(decoding: $0.name, as: UTF8.self) } ?? "",
            route: exchange.location?.model.name,
            upstream: exchange.upstream?.model.name,
            client: String(buffer: exchange.client.text),
            status: Int(exchange.status),
            flags: exchange.flags,
            isOwnAnswer: exchange.isOwnAnswer,
            why: exchange.why,
            durationMicroseconds: duration
        )
        record.limit = exchange.limitState
        if let sent = exchange.sentID, sent != record.id { record.sentID = sent }
        record.attempts = exchange.attempts.map { self.attempt($0, exchange) }
        if let upstream = exchange.upstream, exchange.flags.contains(.noneHealthy) {
            record.unavailable = exchange.candidates(of: upstream, picked: nil)
        }
        return record
    }

    private func attempt(_ note: AttemptNote, _ exchange: Exchange) -> ExchangeRecord.Attempt {
        func microseconds(_ from: NIODeadline?, _ to: NIODeadline?) -> Int64? {
            guard let from, let to else { return nil }
            return (to - from).nanoseconds / 1_000
        }
        let end = note.ended ?? .now()
        let peer = note.upstream.group.model(of: note.peer)
        return ExchangeRecord.Attempt(
            instance: peer?.name ?? "-",
            method: note.upstream.model.method.directive,
            why: peer.map { ChoiceReason.text(note.upstream.model.method, $0, among: note.candidates) } ?? "",
            considered: note.candidates,
            isReusedConnection: note.isReused,
            phase: Self.phase(note),
            bytesSent: Int64(note.bytesSent),
            bytesReceived: Int64(note.bytesReceived),
            startMicroseconds: (note.began - exchange.started).nanoseconds / 1_000,
            timings: ExchangeRecord.Timings(
                connect: note.isReused ? nil : microseconds(note.began, note.connected ?? end),
                write: microseconds(note.connected, note.sent),
                firstByte: microseconds(note.sent, note.firstByte ?? (note.failure == nil ? nil : end)),
                body: microseconds(note.firstByte, end)
            ),
            outcome: Self.outcome(note),
            detail: note.failure?.detail ?? "",
            status: note.status > 0 ? Int(note.status) : nil,
            retry: note.retry
        )
    }

    private static func phase(_ note: AttemptNote) -> ExchangeRecord.Phase {
        if note.failure == nil, note.ended != nil { return .done }
        if note.firstByte != nil { return .body }
        if note.failure?.kind == .tls { return .tls }
        if note.failure?.kind == .sendTimeout { return .write }
        return note.connected == nil ? .connect : .firstByte
    }

    private static func outcome(_ note: AttemptNote) -> ExchangeRecord.Outcome {
        switch note.failure?.kind {
        case nil: note.ended == nil && note.status == 0 ? .cancelled : .answered
        case .connect: .connectFailed
        case .connectTimeout: .connectTimeout
        case .tls: .tlsFailed
        case .sendTimeout: .sendTimeout
        case .readTimeout: .readTimeout
        case .lost: .lost
        case .truncated: .truncated
        case .garbage: .garbage
        case .headTooLarge: .headTooLarge
        case .misdirected: .misdirected
        case .refused: .refused
        case .overflow: .overflow
        }
    }
}

extension UpstreamModel.Method {
    /// nginx's word for it.
    var directive: String {
        switch self {
        case .roundRobin: "round_robin"
        case .leastConnections: "least_conn"
        case .ipHash: "ip_hash"
        case .hash(_, let isConsistent): isConsistent ? "hash consistent" : "hash"
        case .random(let isTwo): isTwo ? "random two" : "random"
        case .ewma: "ewma"
        }
    }
}
