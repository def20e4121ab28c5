internal import HTTPTestSupport
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPServer
internal import Testing

@testable internal import ParleyHTTPClient

@Suite(.timeLimit(.minutes(1))) struct ServiceClientFailureTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var behaviour: RawServer.Behaviour
        var method: HTTPRequest.Method = .get
        var key: String?
        var body: [UInt8]?
        var code: ServiceClientError.Code
        var retry: RetrySafety = .mayHaveRun
        var attempts = 3

        var testDescription: String { "\(self.name) \(self.method)" }
    }

    static let large = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + String(repeating: "x", count: 5_000)
    static let chunked =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFA0\r\n"
        + String(repeating: "x", count: 4_000) + "\r\n0\r\n\r\n"

    @Test(arguments: [
        Case(name: "closes after the request", behaviour: .closeAfterRequest, code: .connectionLost),
        Case(
            name: "closes after the request",
            behaviour: .closeAfterRequest,
            method: .put,
            body: [1],
            code: .connectionLost
        ),
        Case(
            name: "closes after the request",
            behaviour: .closeAfterRequest,
            method: .post,
            body: [1],
            code: .connectionLost,
            attempts: 1
        ),
        Case(
            name: "closes after the request, with a key",
            behaviour: .closeAfterRequest,
            method: .post,
            key: "k-1",
            body: [1],
            code: .connectionLost
        ),
        Case(name: "hangs", behaviour: .hang, code: .timedOut),
        Case(name: "hangs", behaviour: .hang, method: .post, body: [1], code: .timedOut, attempts: 1),
        Case(
            name: "hangs in the middle of the answer",
            behaviour: .answer("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"),
            code: .timedOut
        ),
        Case(
            name: "hangs after the head",
            behaviour: .answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            method: .post,
            body: [1],
            code: .timedOut,
            attempts: 1
        ),
        Case(name: "garbage", behaviour: .answer("SSH-2.0-OpenSSH_9.2\r\n\r\n"), code: .invalidResponse),
        Case(
            name: "garbage",
            behaviour: .answer("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
            method: .post,
            code: .invalidResponse,
            attempts: 1
        ),
        Case(
            name: "cut answer",
            behaviour: .answerAndClose("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab"),
            method: .post,
            code: .connectionLost,
            attempts: 1
        ),
        Case(name: "large answer", behaviour: .answer(large), method: .post, code: .responseTooLarge, attempts: 1),
        Case(
            name: "large chunked answer",
            behaviour: .answer(chunked),
            method: .post,
            code: .responseTooLarge,
            attempts: 1
        ),
    ])
    func saysWhatBrokeAndWhetherItMayHaveRun(_ test: Case) async throws {
        try await RawServer.with(test.behaviour) { endpoint, server in
            let error = try await withClient(
                to: [endpoint],
                configure: {
                    // Short only where it is what is tested: a busy machine takes its time for the others.
                    $0.attemptTimeout = test.code == .timedOut ? .seconds(1) : .seconds(20)
                    $0.maxResponseBytes = 1_000
                },
                { client in
                    await failure {
                        try await client.send(makeRequest(test.method, key: test.key), body: test.body, to: target)
                    }
                }
            )
            #expect(error?.code == test.code, "\(String(describing: error))")
            #expect(error?.retry == test.retry)
            #expect(error?.attempts == test.attempts)
            #expect(error?.endpoint == endpoint)
            #expect(error?.message.contains("user-service at \(endpoint)") == true)
            // A try that times out may do so before the server has read it.
            if test.code != .timedOut { #expect(server.requests.count == test.attempts) }
        }
    }

    @Test(arguments: [HTTPRequest.Method.get, .post])
    func aRefusedConnectionWasNotSentAndIsTriedAgain(_ method: HTTPRequest.Method) async throws {
        let endpoint = try await unusedEndpoint()
        let error = try await withClient(to: [endpoint]) { client in
            await failure { try await client.send(makeRequest(method), body: [1], to: target) }
        }
        #expect(error?.code == .connectFailed)
        #expect(error?.retry == .notSent)
        #expect(error?.attempts == 3)
        #expect(error?.message.contains("ss -ltnp | grep \(endpoint.port)") == true)
    }

    @Test func anUnknownHostWasNotSent() async throws {
        let error = try await withClient(to: [Endpoint(host: "no-such-host.invalid", port: 1)]) { client in
            await failure { try await client.send(makeRequest(.post), to: target) }
        }
        #expect(error?.code == .connectFailed && error?.retry == .notSent, "\(String(describing: error))")
    }

    @Test func noInstanceIsWaitedForAndThenSaid() async throws {
        let error = try await withClient(to: []) { client in
            await failure { try await client.send(makeRequest(.post), to: target) }
        }
        #expect(error?.code == .noInstance && error?.retry == .notSent && error?.attempts == 3)
    }

    @Test func anInstanceThatComesWhileItIsWaitedForIsUsed() async throws {
        let registry = InProcessRegistry()
        try await RawServer.with(.answer(ok)) { endpoint, _ in
            let resolver = LateResolver(registry, comesAt: 2, endpoint)
            var configuration = ServiceClient.Configuration(name: "order-service")
            configuration.backoff = Backoff(initial: .milliseconds(1), cap: .milliseconds(1))
            let answer = try await ServiceClient.withClient(
                configuration: configuration,
                resolver: resolver,
                logger: testLogger
            ) { try await $0.send(makeRequest(.post), to: target) }
            #expect(answer.status == .ok && answer.attempts == 2)
        }
    }

    @Test func aResolverThatFailsIsNamed() async throws {
        struct Broken: ServiceResolver {
            func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
                throw DiscoveryError(.registryUnavailable, "registry is down", retry: .notSent)
            }
        }
        let client = ServiceClient(configuration: .init(name: "order-service"), resolver: Broken(), logger: testLogger)
        let error = await failure { try await client.send(makeRequest(), to: target) }
        #expect(error?.code == .resolverFailed && error?.retry == .notSent)
        #expect(error?.message.contains("registry is down") == true)
    }

    @Test func oneTryThatMayHaveRunDecidesForTheWholeCall() async throws {
        let refused = try await unusedEndpoint()
        try await RawServer.with(.closeAfterRequest) { broken, _ in
            // In turn: the one that breaks after the request, then the one that refuses.
            let error = try await withClient(to: [broken, refused], configure: { $0.maxAttempts = 2 }) { client in
                await failure { try await client.send(makeRequest(.put), body: [1], to: target) }
            }
            #expect(error?.code == .connectFailed)
            #expect(error?.retry == .mayHaveRun)
        }
    }

    @Test func goesToAnotherInstanceWhenOneRefuses() async throws {
        let refused = try await unusedEndpoint()
        try await RawServer.with(.answer(ok)) { good, _ in
            try await withClient(to: [refused, good]) { client in
                for _ in 0..<4 {
                    let answer = try await client.send(makeRequest(.post), body: [1], to: target)
                    #expect(answer.endpoint == good && answer.body == Array("ok".utf8))
                }
            }
        }
    }

    @Test func takesInstancesInTurn() async throws {
        try await RawServer.with(.answer(ok)) { one, _ in
            try await RawServer.with(.answer(ok)) { two, _ in
                let seen = try await withClient(to: [one, two]) { client in
                    var seen: [Endpoint] = []
                    for _ in 0..<4 { seen.append(try await client.send(makeRequest(), to: target).endpoint) }
                    return seen
                }
                #expect(seen == [one, two, one, two])
            }
        }
    }

    @Test func theDeadlineEndsTheCallAndItsRetries() async throws {
        try await RawServer.with(.hang) { endpoint, server in
            let error = try await withClient(to: [endpoint]) { client in
                await failure {
                    let deadline = Deadline(after: .seconds(1), on: SystemTimeSource())
                    return try await client.send(makeRequest(), to: target, deadline: deadline)
                }
            }
            #expect(error?.code == .deadlinePassed && error?.retry == .mayHaveRun && error?.attempts == 1)
            #expect(server.requests.count == 1)
        }
    }

    @Test func aPassedDeadlineSendsNothing() async throws {
        try await RawServer.with(.hang) { endpoint, server in
            let context = RequestContext(requestID: "r", deadline: Deadline(SystemTimeSource().now))
            let error = try await withClient(to: [endpoint]) { client in
                await context.withCurrent { await failure { try await client.send(makeRequest(), to: target) } }
            }
            #expect(error?.code == .deadlinePassed && error?.retry == .notSent && error?.attempts == 0)
            #expect(server.connections == 0)
        }
    }

    // Control bytes inside only: `HTTPRequest` makes them spaces and drops those at the end, so that "/a\u{0}" comes to
    // us as "/a", a path like any other.
    @Test(arguments: ["", "users", "/a b", "/a\u{0}b", "/a\u{1}b", "/a\u{7F}b", "/a\r\nb", "/a#b", "/é"])
    func aPathThatIsNoneIsRefused(_ path: String) async throws {
        let request = HTTPRequest(method: .get, scheme: nil, authority: nil, path: path)
        let error = try await withClient(to: []) { client in
            await failure { try await client.send(request, to: target) }
        }
        #expect(error?.code == .invalidRequest && error?.retry == .permanent)
    }

    @Test func cancellationIsCancellation() async throws {
        try await RawServer.with(.hang) { endpoint, server in
            try await withClient(to: [endpoint]) { client in
                await withTaskGroup(of: Bool.self) { group in
                    group.addTask {
                        do {
                            _ = try await client.send(makeRequest(), to: target)
                            return false
                        } catch { return error is CancellationError }
                    }
                    try? await server.wait { !$0.requests.isEmpty }
                    group.cancelAll()
                    #expect(await group.next() == true)
                }
            }
        }
    }

    @Test func afterShutdownNothingIsSent() async throws {
        try await RawServer.with(.answer(ok)) { endpoint, _ in
            try await withClient(to: [endpoint]) { client in
                await client.shutdown()
                let error = await failure { try await client.send(makeRequest(), to: target) }
                #expect(error?.code == .shutDown && error?.retry == .notSent)
            }
        }
    }
}

/// Knows nobody until it has been asked a number of times.
private final class LateResolver: ServiceResolver {
    private let registry: InProcessRegistry
    private let comesAt: Int
    private let endpoint: Endpoint
    private let asked = Counter()

    init(_ registry: InProcessRegistry, comesAt: Int, _ endpoint: Endpoint) {
        self.registry = registry
        self.comesAt = comesAt
        self.endpoint = endpoint
    }

    func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        if self.asked.next() == self.comesAt {
            try await self.registry.register(ServiceInstance(id: "1", service: service, endpoint: self.endpoint))
        }
        return try await self.registry.resolve(service)
    }
}

@Suite(.timeLimit(.minutes(1))) struct ServiceClientAnswerTests {
    static let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"
    static let later = "HTTP/1.1 503 Busy\r\nRetry-After: 60\r\nContent-Length: 0\r\n\r\n"
    static let tooMany = "HTTP/1.1 429 Slow\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n"

    @Test(arguments: [
        ([busy, ok], HTTPRequest.Method.get, 200, 2), ([busy, ok], .post, 503, 1), ([tooMany, ok], .post, 200, 2),
        ([busy], .get, 503, 3), ([later, ok], .get, 503, 1),
        (["HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"], .get, 500, 1),
        (["HTTP/1.1 302 Found\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n"], .get, 302, 1),
    ])
    func theLastAnswerIsReturned(
        _ script: [String],
        _ method: HTTPRequest.Method,
        _ status: Int,
        _ attempts: Int
    ) async throws {
        try await RawServer.with(.script(script)) { endpoint, server in
            let answer = try await withClient(to: [endpoint], configure: { $0.timeout = .seconds(30) }) {
                try await $0.send(makeRequest(method), to: target)
            }
            #expect(answer.status.code == status)
            #expect(answer.attempts == attempts && server.requests.count == attempts)
        }
    }

    @Test func writesTheContextIntoTheHeaders() async throws {
        try await RawServer.with(.answer(ok)) { endpoint, server in
            let trace = TraceParent(random: SeededRandomSource(seed: 7))
            let context = RequestContext(
                requestID: "req-9",
                caller: "gateway",
                trace: trace,
                traceState: "a=b",
                deadline: Deadline(after: .seconds(3), on: SystemTimeSource()),
                retryBudget: 5,
                correlationID: "saga-1"
            )
            try await withClient(to: [endpoint]) { client in
                _ = try await context.withCurrent { try await client.send(makeRequest(), to: target) }
            }
            let head = (server.requests.first ?? "").lowercased()
            #expect(head.hasPrefix("get /api/v1/users/1 http/1.1\r\n"))
            for line in [
                "host: \(endpoint)", "x-request-id: req-9", "x-service: order-service", "tracestate: a=b",
                "x-retry-budget: 5", "x-correlation-id: saga-1", "traceparent: 00-\(trace.traceID)-",
            ] { #expect(head.contains("\r\n\(line)"), "\(line)") }
            #expect(!head.contains(trace.spanID))
            let left = head.components(after: "x-request-timeout-ms: ").flatMap { Int($0) } ?? 0
            #expect((1...3_000).contains(left))
        }
    }

    @Test func aCallWithoutContextBeginsOne() async throws {
        try await RawServer.with(.answer(ok)) { endpoint, server in
            let answer = try await withClient(to: [endpoint]) { try await $0.send(makeRequest(), to: target) }
            #expect(answer.requestID.count == 36)
            #expect(server.requests.first?.contains("X-Request-ID: \(answer.requestID)") == true)
        }
    }

    @Test func theRetryBudgetOfTheContextLimitsTheTries() async throws {
        try await RawServer.with(.closeAfterRequest) { endpoint, server in
            let context = RequestContext(requestID: "r", retryBudget: 1)
            let error = try await withClient(to: [endpoint]) { client in
                await context.withCurrent { await failure { try await client.send(makeRequest(), to: target) } }
            }
            #expect(error?.attempts == 2)
            #expect(server.requests.map { $0.contains("X-Retry-Budget: 1") } == [true, false])
            #expect(server.requests.last?.contains("X-Retry-Budget: 0") == true)
        }
    }
}

extension String {
    func components(after prefix: String) -> String? {
        guard let range = self.firstRange(of: prefix) else { return nil }
        return self[range.upperBound...].split(separator: "\r\n").first.map(String.init)
    }
}

@Suite(.timeLimit(.minutes(1))) struct ServiceClientJSONTests {
    struct User: Codable, Sendable, Equatable {
        var id: String
        var name: String
    }

    private func withService(_ body: (ServiceClient) async throws -> Void) async throws {
        let router = ParleyRouter(service: target)
        router.get("users/:id") { _, context -> [String: String] in
            let id = try context.parameters.require("id")
            guard id == "1" else { throw ProblemError(.notFound, code: "user_not_found", detail: "No user \(id).") }
            return ["id": id, "name": "Ada"]
        }
        router.post("users") { request, context -> [String: String] in
            let user = try await request.decode(as: User.self, context: context)
            return [
                "id": user.id, "name": user.name, "key": request.headers[.init("Idempotency-Key") ?? .accept] ?? "",
            ]
        }
        let registry = InProcessRegistry()
        let service = HTTPService(
            configuration: .init(name: target),
            router: router,
            registrar: registry,
            logger: testLogger
        )
        let client = ServiceClient(configuration: .init(name: "order-service"), resolver: registry, logger: testLogger)
        try await withRunning(client, service) { _ in
            _ = try await service.endpoint()
            try await body(client)
        }
    }

    @Test func readsAndSendsValues() async throws {
        try await self.withService { client in
            let user = try await client.get("/users/1", from: target, as: User.self)
            #expect(user == User(id: "1", name: "Ada"))
            let answer = try await client.sendJSON(
                .post,
                "/users",
                User(id: "2", name: "Bob"),
                to: target,
                idempotencyKey: "k"
            )
            .successful()
            #expect(try answer.decode([String: String].self) == ["id": "2", "name": "Bob", "key": "k"])
        }
    }

    @Test func aProblemComesBackAsOne() async throws {
        try await self.withService { client in
            let error = await #expect(throws: ServiceClientError.self) {
                try await client.get("/users/2", from: target, as: User.self)
            }
            #expect(error?.code == .unexpectedStatus && error?.retry == .permanent)
            #expect(error?.response?.problem?.code == "user_not_found")
            #expect(error?.message.contains("No user 2.") == true)
        }
    }

    @Test func whatIsNotTheExpectedJSONMayHaveRun() async throws {
        try await self.withService { client in
            let error = await #expect(throws: ServiceClientError.self) {
                try await client.get("/users/1", from: target, as: [Int].self)
            }
            #expect(error?.code == .undecodableBody && error?.retry == .mayHaveRun)
        }
    }
}
