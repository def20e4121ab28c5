internal import AsyncHTTPClient
internal import HTTPTypes
internal import HummingbirdCore
public import Logging
internal import NIOCore
internal import NIOHTTP1
public import ParleyCore
public import ParleyDiscovery
internal import ParleyHTTPClient
internal import ParleyHTTPServer
public import ServiceLifecycle

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A reverse proxy: one address in front of many services.
///
/// Requests go by path prefix to an instance of a service, and both bodies are streamed: a slow reader slows the
/// writer, and nothing is collected in between. Each request carries `X-Request-ID` (the client's own, if it is
/// acceptable), `X-Real-IP`, `X-Forwarded-For`, `-Proto` and `-Host`, the client's `Host`, and a child of its trace;
/// header fields that belong to one connection stay there, both ways.
///
/// What the gateway answers itself is `application/problem+json`: 400 for a path that could mislead (`..`, control
/// characters), 403 for a client outside `allowedClients`, 404 without a route, 405 for TRACE and CONNECT, 413 above
/// `maxBodyBytes`, 502 when the service refuses, breaks or does not speak HTTP, 503 without an instance, 504 when time
/// runs out. `/health` tells how the services are, unless a route takes it.
///
/// **Shutdown** is as in ``ParleyHTTPServer/HTTPService``.
public final class Gateway: Service, Sendable {
    private let configuration: GatewayConfiguration
    private let routes: RouteTable
    private let resolver: any ServiceResolver
    private let connections: HTTPConnections
    private let health: GatewayHealth
    private let state: ListenerState
    private let turns = RoundRobin()
    private let dates: DateHeader
    private let onListening: @Sendable (Endpoint) async -> Void
    private let logger: Logger
    private let time: any TimeSource
    private let random: any RandomSource
    private let ids: UUIDv7Generator

    /// - Parameter onListening: called with the real address before the first connection is accepted.
    /// - Throws: ``ParleyHTTPServer/ServerError`` (`invalidConfiguration`) for a prefix that is no path or is given
    ///   twice.
    public init(
        configuration: GatewayConfiguration,
        resolver: any ServiceResolver,
        onListening: @escaping @Sendable (Endpoint) async -> Void = { _ in },
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) throws {
        self.configuration = configuration
        self.routes = try RouteTable(configuration.routes, gateway: configuration.listener.name)
        self.resolver = resolver
        self.connections = HTTPConnections(
            connectTimeout: configuration.connectTimeout,
            readTimeout: configuration.readTimeout,
            maxConnectionsPerEndpoint: configuration.maxConnectionsPerEndpoint
        )
        self.health = GatewayHealth(
            services: self.routes.services,
            resolver: resolver,
            connections: self.connections,
            timeLimit: configuration.healthTimeout,
            time: time
        )
        self.state = ListenerState(time: time)
        self.dates = DateHeader(time: time)
        self.onListening = onListening
        self.logger = logger
        self.time = time
        self.random = random
        self.ids = UUIDv7Generator(time: time, random: random)
    }

    /// The address it listens on, as soon as it does.
    ///
    /// - Throws: ``ParleyHTTPServer/ServerError`` when it cannot listen.
    public func endpoint() async throws -> Endpoint { try await self.state.endpoint() }

    /// Serves until the graceful shutdown has drained.
    ///
    /// - Throws: ``ParleyHTTPServer/ServerError`` when it cannot listen.
    public func run() async throws {
        let listener = HTTPListener(
            configuration: self.configuration.listener,
            state: self.state,
            logger: self.logger,
            time: self.time
        )
        do {
            try await listener.run(
                responder: { request, writer, channel in
                    try await self.respond(to: request, writer: writer, channel: channel)
                },
                onListening: self.onListening,
                onDraining: {}
            )
        } catch {
            await self.connections.shutdown()
            throw error
        }
        await self.connections.shutdown()
    }
}

extension Gateway {
    private enum Decision {
        case answer(Response)
        case forward(GatewayRoute, target: String)
    }

    private struct BrokenAnswer: Error {}

    @concurrent
    private func respond(
        to request: Request,
        writer: consuming ResponseWriter,
        channel: any Channel
    ) async throws {
        let start = self.time.now
        let context = self.makeContext(request.head, now: start)
        let client = channel.remoteAddress?.ipAddress
        var logger = self.logger
        logger[metadataKey: "request.id"] = "\(context.requestID)"
        let status: HTTPResponse.Status
        switch await self.decide(request, context: context, client: client) {
        case .answer(let response):
            status = response.status
            try await self.write(response, to: writer, method: request.method)
        case .forward(let route, let target):
            if request.headers[.expect]?.lowercased() == "100-continue" {
                try await writer.writeInformationalHead(HTTPResponse(status: .continue))
            }
            let body = Self.hasBody(request.head) ? BodyPipe(time: self.time) : nil
            defer { body?.close() }
            async let pumped: Void = self.pump(request.body, into: body)
            let exchange = UpstreamExchange(
                head: request.head,
                target: target,
                service: route.service,
                client: client,
                context: context,
                body: body,
                configuration: self.configuration,
                resolver: self.resolver,
                connections: self.connections,
                turns: self.turns,
                logger: logger,
                time: self.time
            )
            let result = try? await self.state.whileServing { await exchange.run() }
            switch result ?? .failure(GatewayProblem.shuttingDown) {
            case .failure(let problem):
                status = problem.status
                let response = ProblemRenderer.response(problem, requestID: context.requestID, path: request.uri.path)
                try await self.write(self.finished(response, context: context), to: writer, method: request.method)
            case .success(let answer):
                status = HTTPResponse.Status(code: Int(answer.status.code), reasonPhrase: answer.status.reasonPhrase)
                try await self.stream(answer, status: status, to: writer, request: request, context: context)
            }
            // The connection reads on only when nobody else does; what is left of the body is thrown away, within the
            // listener's limits.
            body?.close()
            await pumped
        }
        logger.debug(
            "request",
            metadata: [
                "http.method": "\(request.method)", "http.path": "\(request.uri.path)",
                "http.status": "\(status.code)", "client": "\(client ?? "-")",
                "duration.us": "\(start.duration(to: self.time.now).inMicroseconds)",
            ]
        )
    }

    private func makeContext(_ head: HTTPRequest, now: ContinuousClock.Instant) -> RequestContext {
        let fields = RequestContextFields.http
        var context = fields.read(now: now, orElse: self.ids.next().description) {
            head.headerFields[named: $0]
        }
        // "Nothing left" is a deadline too.
        if context.deadline == nil, head.headerFields[named: fields.timeout].flatMap({ Int64($0) }) != nil {
            context.deadline = Deadline(now)
        }
        // Who calls is said by those who are inside; a client's claim ends here.
        context.caller = self.configuration.listener.name.description
        context.trace = context.trace?.child(random: self.random) ?? TraceParent(random: self.random)
        return context
    }

    private func decide(_ request: Request, context: RequestContext, client: String?) async -> Decision {
        do {
            let head = request.head
            if head.method == .trace || head.method == .connect {
                throw GatewayProblem.methodNotAllowed(
                    head.method,
                    allow: "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
                )
            }
            guard let target = Self.originForm(head.path), let path = RequestPath(target) else {
                throw GatewayProblem.badPath
            }
            guard let route = self.routes.route(for: path) else {
                if let response = try await self.ownAnswer(path, method: head.method) {
                    return .answer(self.finished(response, context: context))
                }
                throw GatewayProblem.noRoute
            }
            if let allowed = route.allowedClients, !Self.isAllowed(client, by: allowed) {
                throw GatewayProblem.forbidden(route.service)
            }
            let length = head.headerFields[.contentLength].flatMap { Int($0) } ?? 0
            guard length <= self.configuration.maxBodyBytes else {
                throw GatewayProblem.bodyTooLarge(self.configuration.maxBodyBytes, service: route.service)
            }
            if let deadline = context.deadline, deadline.hasPassed(at: self.time.now) {
                throw GatewayProblem.timedOut(route.service)
            }
            return .forward(route, target: target)
        } catch {
            let problem = error as? ProblemError ?? GatewayProblem.badPath
            let response = ProblemRenderer.response(problem, requestID: context.requestID, path: request.uri.path)
            return .answer(self.finished(response, context: context))
        }
    }

    private static func isAllowed(_ client: String?, by allowed: [CIDR]) -> Bool {
        guard let client, let address = IPAddress(client) else { return false }
        return allowed.contains { $0.contains(address) }
    }

    /// `/path?query`, also out of `http://host/path?query`, which a server must accept (RFC 9112, section 3.2.2).
    static func originForm(_ target: String?) -> String? {
        guard let target else { return nil }
        if target.hasPrefix("/") { return target }
        guard let scheme = ["http://", "https://"].first(where: { target.lowercased().hasPrefix($0) }) else {
            return nil
        }
        let rest = target.utf8.dropFirst(scheme.utf8.count)
        let path = rest.drop { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
        let text = String(Substring(path))
        return text.hasPrefix("/") ? text : "/" + text
    }

    private static func hasBody(_ head: HTTPRequest) -> Bool {
        if head.headerFields[.transferEncoding] != nil { return true }
        return (head.headerFields[.contentLength].flatMap { Int64($0) } ?? 0) > 0
    }

    /// `/health`, `/health/live` and `/health/ready`.
    private func ownAnswer(_ path: RequestPath, method: HTTPRequest.Method) async throws -> Response? {
        guard [["health"], ["health", "live"], ["health", "ready"]].contains(path.segments) else { return nil }
        guard method == .get || method == .head else {
            throw GatewayProblem.methodNotAllowed(method, allow: "GET, HEAD")
        }
        let isDraining = self.state.isDraining
        let status: HTTPResponse.Status = isDraining && path.segments.last != "live" ? .serviceUnavailable : .ok
        var report = GatewayHealth.Report(status: isDraining ? .critical : .passing, services: [:])
        if path.segments.count == 1 { report = await self.health.report() }
        if isDraining { report.gateway = "draining" }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        let body = (try? encoder.encode(report)) ?? Data()
        return Response(
            status: status,
            headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: .init(byteBuffer: ByteBuffer(bytes: body))
        )
    }

    /// Moves the request body into the pipe; once nobody wants it, throws it away until it ends.
    private func pump(_ body: RequestBody, into pipe: BodyPipe?) async {
        guard let pipe else { return }
        var count = 0
        var isWanted = true
        do {
            for try await buffer in body {
                count += buffer.readableBytes
                guard count <= self.configuration.maxBodyBytes else {
                    pipe.finish(.failure(UpstreamExchange.BodyTooLarge()))
                    isWanted = false
                    continue
                }
                if isWanted { isWanted = await pipe.send(buffer) }
            }
            pipe.finish(.success(()))
        } catch {
            pipe.finish(.failure(UpstreamExchange.BrokenBody()))
        }
    }

    private func finished(_ response: Response, context: RequestContext) -> Response {
        var response = response
        response.headers[named: RequestContextFields.http.requestID] = context.requestID
        response.headers[.date] = self.dates.text
        if self.state.isDraining { response.headers[.connection] = "close" }
        return response
    }

    @concurrent
    private func write(
        _ response: Response,
        to writer: consuming ResponseWriter,
        method: HTTPRequest.Method
    ) async throws {
        if method == .head {
            try await writer.writeResponse(response.head)
        } else {
            try await writer.write(response: response.head, body: response.body)
        }
    }

    @concurrent
    private func stream(
        _ answer: HTTPClientResponse,
        status: HTTPResponse.Status,
        to writer: consuming ResponseWriter,
        request: Request,
        context: RequestContext
    ) async throws {
        var head = HTTPResponse(status: status, headerFields: ForwardedHeaders.response(answer.headers))
        head.headerFields[named: RequestContextFields.http.requestID] = context.requestID
        if head.headerFields[.date] == nil { head.headerFields[.date] = self.dates.text }
        if self.state.isDraining { head.headerFields[.connection] = "close" }
        if request.method == .head {
            // Without a length the encoder would announce chunks and send the last one, which no client expects here.
            if head.headerFields[.contentLength] == nil { head.headerFields[.contentLength] = "0" }
            try await writer.writeResponse(head)
            return
        }
        var body = try await writer.writeHead(head)
        do {
            for try await buffer in answer.body { try await body.write(buffer) }
        } catch {
            // The head is out. All that is left is to break the connection, so that nobody takes a part for the whole.
            throw BrokenAnswer()
        }
        try await body.finish(nil)
    }
}
