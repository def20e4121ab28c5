internal import HTTPTestSupport
internal import Hummingbird
internal import NIOCore
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyGateway
internal import ParleyHTTPServer
internal import ServiceLifecycle

let users: ServiceName = "user-service"
let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/// A gateway in front of `services`; by default everything under `/api` goes to ``users``.
func withGateway<Value>(
    to services: [ServiceName: [Endpoint]],
    routes: [GatewayRoute] = [GatewayRoute(prefix: "/api", service: users)],
    configure: (inout GatewayConfiguration) -> Void = { _ in },
    _ body: (Endpoint, ServiceGroup) async throws -> Value
) async throws -> Value {
    var configuration = GatewayConfiguration(routes: routes)
    configuration.connectTimeout = .milliseconds(500)
    configuration.readTimeout = .seconds(10)
    configure(&configuration)
    let gateway = try Gateway(configuration: configuration, resolver: StaticResolver(services), logger: testLogger)
    return try await withRunning(gateway) { group in try await body(try await gateway.endpoint(), group) }
}

/// A service behind the gateway.
func withUpstream<Value>(
    _ router: ParleyRouter = echoRouter(),
    _ body: (Endpoint) async throws -> Value
) async throws -> Value {
    var configuration = HTTPService.Configuration(name: users)
    configuration.maxBodyBytes = 64 * 1_048_576
    let service = HTTPService(configuration: configuration, router: router, logger: testLogger)
    return try await withRunning(service) { _ in try await body(try await service.endpoint()) }
}

/// Sends back what it is sent, while it is sent; and as many zeros as it is asked for.
func echoRouter() -> ParleyRouter {
    let router = ParleyRouter(service: users)
    router.post("api/v1/users/echo") { request, _ in
        Response(status: .ok, body: .init(asyncSequence: request.body))
    }
    router.get("api/v1/users/zeros/:count") { _, context -> Response in
        let count = try context.parameters.require("count", as: Int.self)
        return Response(
            status: .ok,
            body: .init(contentLength: count) { writer in
                var left = count
                while left > 0 {
                    let size = min(left, 65_536)
                    try await writer.write(ByteBuffer(repeating: UInt8(ascii: "0"), count: size))
                    left -= size
                }
                try await writer.finish(nil)
            }
        )
    }
    router.get("api/v1/users/:id") { _, context -> String in try context.parameters.require("id") }
    return router
}
