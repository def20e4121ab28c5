package import Logging
internal import NIOCore
internal import NIOPosix
package import ParleyCore

/// Says where a configuration would send requests. It runs the gateway's own routing up to the choice of an instance:
/// nothing listens, no name is resolved, no certificate, password file or log is opened.
package final class RoutePlanner: Sendable {
    private let plan: GatewayPlan
    private let worker: WorkerHandle

    /// - Throws: ``GatewayError`` when the configuration contradicts itself.
    package init(
        model: GatewayModel,
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) async throws {
        let log = AccessLogWriter(logger: logger, time: time)
        let certificates = UpstreamCertificates(time: time)
        let questions = OwnQuestions(time: time)
        let shared = GatewayShared(
            logger: logger,
            time: time,
            random: random,
            records: RecordStore(),
            log: log,
            hostname: ProcessFacts.hostname,
            pid: ProcessFacts.pid,
            upstreamCertificates: certificates,
            health: GatewayHealth(questions: questions, timeLimit: .seconds(1), time: time)
        )
        let compiler = PlanCompiler(
            purpose: .routing,
            time: time,
            random: random,
            logger: logger,
            log: log,
            accessLog: nil,
            upstreamCertificates: certificates,
            questions: questions
        )
        let plan = try await compiler.compile(model, after: nil)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        self.plan = plan
        self.worker = try await loop.submit {
            WorkerHandle(GatewayWorker(eventLoop: loop, index: 0, plan: plan, shared: shared))
        }.get()
    }

    /// Blocks for as long as the routing takes; not to be called on an event loop.
    package func outcome(of request: ReplayRequest) -> ReplayOutcome {
        let outcome = try? self.worker.eventLoop.submit { self.decide(request) }.wait()
        return outcome ?? ReplayOutcome(server: "")
    }

    private func decide(_ request: ReplayRequest) -> ReplayOutcome {
        guard let worker = self.worker.worker, let socket = self.socket(for: request, worker.regexes) else {
            return ReplayOutcome(server: "")
        }
        let server = String(decoding: socket.fallback.name, as: UTF8.self)
        // No request line has these; a line end would make another request of it.
        guard (request.method + request.target).utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
            return ReplayOutcome(server: server, status: 400)
        }
        var buffer = ByteBuffer()
        // Who has no host speaks HTTP/1.0, where it may be left out.
        buffer.writeString("\(request.method) \(request.target) HTTP/1.\(request.host.isEmpty ? 0 : 1)\r\n")
        Self.write("Host", request.host, into: &buffer)
        Self.write("User-Agent", request.userAgent ?? "", into: &buffer)
        Self.write("Referer", request.referer ?? "", into: &buffer)
        buffer.writeStaticString("\r\n")
        var scanner = RequestScanner(socket.fallback.scanLimits)
        switch scanner.scan(buffer) {
        case .incomplete: return ReplayOutcome(server: server, status: 400)
        case .refused(let refusal): return ReplayOutcome(server: server, status: refusal.status)
        case .head(let head, _):
            let client = IPAddress(request.client).map { ClientAddress($0, port: 0) } ?? ClientAddress()
            let connection = ClientConnection(worker: worker, socket: socket, client: client)
            let probe = RouteProbe(eventLoop: worker.eventLoop)
            connection.probe(head, probe)
            return probe.outcome
        }
    }

    /// What a log has may hold anything; a line end in it would begin another field.
    private static func write(_ name: String, _ value: String, into buffer: inout ByteBuffer) {
        guard !value.isEmpty else { return }
        buffer.writeString("\(name): ")
        buffer.writeBytes(value.utf8.map { $0 < 0x20 || $0 == 0x7F ? UInt8(ascii: "?") : $0 })
        buffer.writeStaticString("\r\n")
    }

    /// A log does not say which socket a request came in on: the one of its port, else one whose servers know its name.
    private func socket(for request: ReplayRequest, _ scratch: RegexScratch) -> GatewayPlan.Socket? {
        let alike = self.plan.sockets.filter { $0.listen.isTLS == request.isTLS }
        let sockets = alike.isEmpty ? self.plan.sockets : alike
        let authority = ByteBuffer(string: request.host)
        guard let host = try? RequestHost(authority.readableBytesUInt8Span) else { return sockets.first }
        let port = request.host.utf8.dropFirst(host.count)
        if port.first == UInt8(ascii: ":"), let number = Int(String(decoding: port.dropFirst(), as: UTF8.self)),
            let socket = sockets.first(where: { $0.listen.port == number })
        {
            return socket
        }
        let name = host.text(of: authority)
        return sockets.first { socket in
            var variables = RequestVariables()
            return socket.table.find(name, scratch: scratch, variables: &variables) != socket.table.fallback
        } ?? sockets.first
    }
}
