internal import HTTPTestSupport
internal import Hummingbird
internal import Logging
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPServer
internal import ServiceLifecycle

struct Item: Codable, Sendable {
    struct Line: Codable, Sendable {
        var productId: String
        var quantity: Int
    }

    var userId: String
    var lines: [Line]
}

/// As a full disk is: nothing was done.
struct FullError: RetryClassifiedError {
    var retry: RetrySafety { .notSent }
}

struct SecretError: Error { let password = "hunter2" }

/// Waits until the task is cancelled.
func untilCancelled() async throws {
    let (stream, continuation) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingOldest(1))
    defer { continuation.finish() }
    for await _ in stream {}
    try Task.checkCancellation()
}

func makeRouter() -> ParleyRouter {
    let router = ParleyRouter(service: "test-service")
    router.post("items") { request, context -> Response in
        _ = try await request.decode(as: Item.self, context: context)
        return Response(status: .created)
    }
    router.get("items/:id") { _, context -> String in try context.parameters.require("id") }
    router.get("teapot") { _, _ -> String in throw HTTPError(.init(code: 418, reasonPhrase: "Teapot"), message: "short")
    }
    router.get("broken") { _, _ -> String in throw SecretError() }
    router.get("full") { _, _ -> String in throw FullError() }
    router.get("stock") { _, _ -> String in
        throw ProblemError(.conflict, code: "out_of_stock", detail: "No chairs left.", extra: ["productId": "7"])
    }
    router.get("stuck") { _, _ -> String in
        try await untilCancelled()
        return "never"
    }
    router.get("context") { _, _ -> [String: String] in
        guard let context = ParleyCore.RequestContext.current else { return [:] }
        let left = context.deadline.map { $0.remaining(at: SystemTimeSource().now).inMilliseconds } ?? -1
        return [
            "requestID": context.requestID, "caller": context.caller ?? "", "trace": context.trace?.traceID ?? "",
            "left": "\(left)", "budget": context.retryBudget.map { "\($0)" } ?? "",
        ]
    }
    router.post("drop") { request, _ -> String in
        var count = 0
        for try await buffer in request.body { count += buffer.readableBytes }
        return "\(count)"
    }
    return router
}

func withService<Value>(
    router: ParleyRouter = makeRouter(),
    health: HealthRegister? = nil,
    registrar: (any ServiceRegistrar)? = nil,
    configure: (inout HTTPService.Configuration) -> Void = { _ in },
    _ body: (Endpoint, ServiceGroup, HTTPService) async throws -> Value
) async throws -> Value {
    var configuration = HTTPService.Configuration(name: "test-service")
    configure(&configuration)
    let service = HTTPService(
        configuration: configuration,
        router: router,
        health: health,
        registrar: registrar,
        logger: testLogger
    )
    return try await withRunning(service) { group in
        try await body(try await service.endpoint(), group, service)
    }
}
