internal import HTTPTestSupport
internal import HTTPTypes
internal import InMemoryTracing
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPClient
internal import ParleyResilience
internal import Synchronization
internal import Testing
internal import Tracing

/// What many calls came to.
private final class Tally: Sendable {
    struct Content {
        var responses: [ServiceResponse] = []
        var errors: [(id: String, error: any Error)] = []
    }

    private let content = Mutex(Content())

    var responses: [ServiceResponse] { self.content.withLock { $0.responses } }
    var errors: [(id: String, error: any Error)] { self.content.withLock { $0.errors } }

    func add(_ response: ServiceResponse) { self.content.withLock { $0.responses.append(response) } }
    func add(_ error: any Error, of id: String) { self.content.withLock { $0.errors.append((id, error)) } }
}

@Suite(.timeLimit(.minutes(3))) struct ResilienceTests {
    private static let workers = 16

    /// `count` calls by several workers at once, each with an id of its own.
    private func load(_ client: ServiceClient, _ request: HTTPRequest, count: Int, prefix: String = "r") async -> Tally
    {
        let tally = Tally()
        await withTaskGroup(of: Void.self) { group in
            for worker in 0..<Self.workers {
                group.addTask {
                    for number in stride(from: worker, to: count, by: Self.workers) {
                        let id = "\(prefix)-\(number)"
                        await RequestContext(requestID: id).withCurrent {
                            do {
                                tally.add(try await client.send(request, body: [1], to: target))
                            } catch { tally.add(error, of: id) }
                        }
                    }
                }
            }
        }
        return tally
    }

    /// Runs `load` on two instances and kills the first while it is busy.
    private func killUnderLoad(
        _ request: HTTPRequest,
        _ check: (Tally, ServiceClient, _ dead: FaultServer, _ alive: FaultServer) async throws -> Void
    ) async throws {
        try await FaultServer.with { first, dead in
            try await FaultServer.with { second, alive in
                try await withClient(
                    to: [first, second],
                    configure: {
                        $0.timeout = .seconds(120)
                        $0.attemptTimeout = .seconds(60)
                        $0.connectTimeout = .seconds(30)
                        // Stays open for the rest of the test, however long a busy machine takes for it.
                        $0.policy.breaker?.openTime = Backoff(initial: .seconds(600), cap: .seconds(600), jitter: 0)
                    },
                    { client in
                        async let tally = self.load(client, request, count: 2_000)
                        try await dead.waitForRequests(300)
                        await dead.kill()
                        try await check(await tally, client, dead, alive)
                    }
                )
            }
        }
    }

    private func expectNobodyReachesTheDead(_ client: ServiceClient) async {
        let instances = client.resilience().services.first?.instances
        #expect(instances?.map(\.standing) == [.open, .available])
        let later = await self.load(client, makeRequest(), count: 100, prefix: "later")
        #expect(later.errors.isEmpty && later.responses.count == 100)
        #expect(later.responses.allSatisfy { $0.explanation.attempts.map(\.instance) == ["user-service-2"] })
    }

    @Test func aKilledInstanceFailsNoIdempotentCall() async throws {
        try await self.killUnderLoad(makeRequest()) { tally, client, dead, alive in
            #expect(tally.errors.isEmpty, "\(tally.errors.first.map { "\($0)" } ?? "")")
            #expect(tally.responses.count == 2_000 && tally.responses.allSatisfy { $0.status == .ok })
            // It really happened under load: some calls were tried again.
            #expect(tally.responses.contains { $0.attempts > 1 })
            #expect(dead.received.count >= 300 && alive.received.count >= 1_000)
            await self.expectNobodyReachesTheDead(client)
        }
    }

    @Test func aKilledInstanceFailsOnlyTheOtherCallsThatItHad() async throws {
        try await self.killUnderLoad(makeRequest(.post)) { tally, client, dead, alive in
            #expect(tally.responses.count + tally.errors.count == 2_000)
            // At most one for each connection that was open.
            #expect(tally.errors.count <= Self.workers, "\(tally.errors.count)")
            for (id, error) in tally.errors {
                let error = try #require(error as? ServiceClientError, "\(error)")
                #expect(error.retry == .mayHaveRun && error.explanation.stop == .notRepeatable, "\(error)")
                #expect(!alive.received.contains(id))
            }
            // Nothing was carried out twice.
            let all = dead.received + alive.received
            #expect(Set(all).count == all.count)
            await self.expectNobodyReachesTheDead(client)
        }
    }

    @Test func anInstanceThatAnswersErrorsIsLeftAloneAndTakenBack() async throws {
        try await FaultServer.with { first, sick in
            try await FaultServer.with { second, _ in
                try await withClient(
                    to: [first, second],
                    configure: {
                        $0.policy.breaker?.openTime = Backoff(initial: .milliseconds(1), cap: .milliseconds(1))
                    },
                    { client in
                        sick.become(.answer(500))
                        let tally = await self.load(client, makeRequest(), count: 200)
                        #expect(tally.errors.isEmpty)
                        #expect((client.resilience().services.first?.instances.first?.openings ?? 0) >= 1)
                        sick.become(.answer(200))
                        let isWell = await isTrueInTheEnd {
                            _ = try? await client.send(makeRequest(), to: target)
                            return client.resilience().services.first?.instances.first?.breaker == .closed
                        }
                        #expect(isWell)
                    }
                )
            }
        }
    }

    @Test func whenAllInstancesAreOpenTheErrorSaysSoAndWhenToComeBack() async throws {
        let dead = [try await unusedEndpoint(), try await unusedEndpoint()]
        try await withClient(
            to: dead,
            configure: {
                $0.maxAttempts = 2
                $0.policy.breaker = CircuitBreakerPolicy(
                    consecutiveFailures: 1,
                    openTime: Backoff(initial: .seconds(60), cap: .seconds(60), jitter: 0)
                )
            },
            { client in
                let first = await failure { try await client.send(makeRequest(.post), to: target) }
                #expect(first?.code == .connectFailed && first?.attempts == 2)
                let error = await failure { try await client.send(makeRequest(.post), to: target) }
                #expect(error?.code == .instancesUnavailable && error?.retry == .notSent)
                #expect(error?.retryAfter.map { $0 > .zero && $0 <= .seconds(60) } == true)
                #expect(error?.message.contains("user-service-1 is open, user-service-2 is open") == true)
                #expect(error?.problem.status == 503)
                #expect(error?.explanation.considered.count == 2)
            }
        )
    }

    @Test func aFullBulkheadIsSaid() async throws {
        try await FaultServer.with { endpoint, server in
            server.become(.silent)
            try await withClient(
                to: [endpoint],
                configure: { $0.policy.bulkhead = BulkheadPolicy(maxConcurrent: 1, maxWaiting: 0) },
                { client in
                    await withTaskGroup(of: Void.self) { group in
                        group.addTask { _ = try? await client.send(makeRequest(), to: target) }
                        try? await server.waitForRequests(1)
                        let error = await failure { try await client.send(makeRequest(), to: target) }
                        #expect(error?.code == .tooManyCalls && error?.retry == .notSent)
                        group.cancelAll()
                    }
                }
            )
        }
    }

    @Test func operatorsTakeAnInstanceOut() async throws {
        try await FaultServer.with { first, _ in
            try await FaultServer.with { second, _ in
                try await withClient(to: [first, second]) { client in
                    #expect(client.isolate("user-service-1", of: target))
                    for _ in 0..<4 {
                        #expect(try await client.send(makeRequest(), to: target).endpoint == second)
                    }
                    #expect(client.release("user-service-1", of: target))
                    var seen: Set<Endpoint> = []
                    for _ in 0..<4 { seen.insert(try await client.send(makeRequest(), to: target).endpoint) }
                    #expect(seen == [first, second])
                }
            }
        }
    }

    @Test func aHedgedCallIsAnsweredByTheOtherInstance() async throws {
        try await FaultServer.with { first, silent in
            silent.become(.silent)
            try await FaultServer.with { second, _ in
                try await withClient(
                    to: [first, second],
                    configure: { $0.policy.hedge = HedgePolicy(delay: .milliseconds(20)) },
                    { client in
                        let answer = try await client.send(makeRequest(), to: target)
                        #expect(answer.endpoint == second && answer.attempts == 2)
                        #expect(answer.explanation.attempts.map(\.isHedge) == [false, true])
                    }
                )
            }
        }
    }

    @Test func aCallIsOneSpanWhateverItsTries() async throws {
        let tracer = InMemoryTracer()
        try await withTracer(tracer) {
            let refused = try await unusedEndpoint()
            try await FaultServer.with { good, _ in
                try await withClient(to: [refused, good]) { client in
                    _ = try await client.send(makeRequest(), to: target)
                }
                let error = try await withClient(to: [refused], configure: { $0.maxAttempts = 1 }) { client in
                    await failure { try await client.send(makeRequest(), to: target) }
                }
                #expect(error?.code == .connectFailed)
            }
        }
        // The HTTP library has one of its own for each try.
        let spans = tracer.finishedSpans.filter { $0.operationName == "call user-service" }
        #expect(spans.count == 2)
        #expect(spans.first?.attributes.get("call.attempts") == .int64(2))
        #expect(spans.first?.errors.isEmpty == true && spans.last?.errors.count == 1)
        #expect(spans.last?.attributes.get("error.type") == .string("connectFailed"))
    }

    @Test func callsWithOneAffinityGoToOneInstance() async throws {
        try await FaultServer.with { first, _ in
            try await FaultServer.with { second, _ in
                try await withClient(
                    to: [first, second],
                    configure: { $0.policy.balancing = .consistentHash() },
                    { client in
                        var places: [String: Set<Endpoint>] = [:]
                        for number in 0..<40 {
                            let user = "user-\(number % 10)"
                            let answer = try await client.send(makeRequest(), to: target, affinity: user)
                            places[user, default: []].insert(answer.endpoint)
                        }
                        #expect(places.values.allSatisfy { $0.count == 1 })
                        #expect(Set(places.values.joined()) == [first, second])
                    }
                )
            }
        }
    }
}

/// Asks again until it is so; the test's time limit ends it.
private func isTrueInTheEnd(_ condition: () async -> Bool) async -> Bool {
    while !Task.isCancelled {
        if await condition() { return true }
        await Task.yield()
    }
    return false
}
