internal import HTTPTypes
internal import Hummingbird
package import Logging
internal import NIOCore
package import ParleyCore
internal import ParleyDiscovery
package import ParleyHTTPServer

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The gateway's own API for those who operate it: status, metrics, records, reload, health.
///
/// It has no users and no passwords: whoever reaches its port may use it, so it listens on the loopback unless told
/// otherwise. Pages in a browser reach the loopback too, so a request with `Origin`, or for a host that is neither an
/// address nor `localhost` (a name that was bound anew), is refused.
package struct GatewayAdmin: Sendable {
    package static let maxRecords = 1_000

    /// What the API shows and does.
    package struct Actions: Sendable {
        package var status: @Sendable () async -> GatewayStatus
        package var metrics: @Sendable () async -> GatewayMetrics.Snapshot
        package var records: RecordStore
        /// Reads the configuration anew and puts it in force; its error's text is the answer.
        package var reload: @Sendable () async throws -> Void

        package init(
            status: @escaping @Sendable () async -> GatewayStatus,
            metrics: @escaping @Sendable () async -> GatewayMetrics.Snapshot,
            records: RecordStore,
            reload: @escaping @Sendable () async throws -> Void
        ) {
            self.status = status
            self.metrics = metrics
            self.records = records
            self.reload = reload
        }
    }

    /// What `GET /explain/{id}` answers.
    package struct Story: Sendable, Codable {
        package var record: ExchangeRecord
        package var explanation: Explanation

        init(_ record: ExchangeRecord) {
            self.record = record
            self.explanation = Explanation(record)
        }
    }

    /// What `POST /reload` answers when the configuration is in force.
    package struct Reloaded: Sendable, Codable {
        package var generation: Int
    }

    /// - Parameters:
    ///   - health: turned red before the gateway drains; `nil` makes one that is red as soon as the service drains.
    ///   - onListening: called with the real address.
    package static func service(
        _ actions: Actions,
        host: String = "127.0.0.1",
        port: Int,
        health: HealthRegister? = nil,
        onListening: @escaping @Sendable (Endpoint) async -> Void = { _ in },
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) -> HTTPService {
        let name: ServiceName = "gateway-admin"
        let router = ParleyRouter(service: name)
        router.add(middleware: AdminGuard())
        self.addRoutes(actions, router)
        return HTTPService(
            configuration: .init(name: name, host: host, port: port),
            router: router,
            health: health,
            onListening: onListening,
            logger: logger,
            time: time,
            random: random
        )
    }

    private static func addRoutes(_ actions: Actions, _ router: ParleyRouter) {
        router.get("status") { _, _ in try Self.json(await actions.status()) }
        router.get("metrics") { request, _ in
            let snapshot = await actions.metrics()
            if request.headers[.accept]?.contains("application/json") == true { return try Self.json(snapshot) }
            return Response(
                status: .ok,
                headers: [.contentType: PrometheusText.contentType, .cacheControl: "no-store"],
                body: .init(byteBuffer: ByteBuffer(string: PrometheusText.write(snapshot)))
            )
        }
        router.get("explain") { request, _ in
            let count = request.uri.queryParameters["last"].flatMap { Int($0) } ?? 20
            return try Self.json(actions.records.last(min(max(0, count), Self.maxRecords)))
        }
        router.get("explain/:id") { _, context in
            let id = context.parameters.get("id").flatMap { PercentEncoding.decode($0[...]) } ?? ""
            guard let record = actions.records.record(id: id) else {
                throw ProblemError(
                    .notFound,
                    code: "no_record",
                    detail: "There is no record of this request: it went well, it was answered by another gateway, or "
                        + "newer records have taken its place."
                )
            }
            return try Self.json(Story(record))
        }
        router.post("reload") { _, _ in
            do {
                try await actions.reload()
            } catch {
                throw ProblemError(
                    .unprocessableContent,
                    code: "configuration_refused",
                    detail: "The configuration that was in force still is. \(error)"
                )
            }
            return try Self.json(Reloaded(generation: await actions.status().generation))
        }
    }

    private static func json(_ value: some Encodable) throws -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Response(
            status: .ok,
            headers: [.contentType: "application/json", .cacheControl: "no-store"],
            body: .init(byteBuffer: ByteBuffer(bytes: try encoder.encode(value)))
        )
    }
}

/// Keeps pages of browsers away.
private struct AdminGuard: RouterMiddleware {
    func handle(
        _ request: Request,
        context: ParleyRequestContext,
        next: @concurrent (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        guard request.headers[.origin] == nil, Self.isOwn(request.head.authority ?? "") else {
            throw ProblemError(
                .forbidden,
                code: "not_for_browsers",
                detail: "Use the address of the admin API itself, and no page of a browser: curl "
                    + "http://127.0.0.1:9901/status"
            )
        }
        return try await next(request, context)
    }

    /// An address, or `localhost`.
    private static func isOwn(_ authority: String) -> Bool {
        var host = authority[...]
        if host.hasPrefix("[") {
            guard let end = host.firstIndex(of: "]") else { return false }
            host = host[host.index(after: host.startIndex)..<end]
        } else if let colon = host.lastIndex(of: ":") {
            host = host[..<colon]
        }
        return host == "localhost" || IPAddress(String(host)) != nil
    }
}
