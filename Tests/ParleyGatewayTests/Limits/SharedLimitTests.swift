internal import HTTPTestSupport
internal import ParleyCore
internal import RedisTestSupport
internal import ServiceLifecycle
internal import Testing

@testable internal import ParleyGateway

/// On a real server; two gateways, or what two of them use.
@Suite(.timeLimit(.minutes(2))) struct SharedLimitTests {
    private func url(_ server: RedisServer) -> String { "redis://127.0.0.1:\(server.port)" }

    /// Runs them around `body`, once they are connected.
    private func with(_ servers: [SharedLimitServer], _ body: () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for server in servers { group.addTask { await server.run(while: { true }, Signal()) } }
            for server in servers {
                try await eventually("a connection") {
                    let use = SharedLimitUse(zone: "probe", rate: 1_000_000, burst: 1_000_000_000)
                    return await server.check([use], keys: [[0]], milliseconds: 5_000) != .unavailable
                }
            }
            try await body()
            group.cancelAll()
        }
    }

    private func server(_ url: String) throws -> SharedLimitServer {
        try SharedLimitServer(url: url, logger: quiet, time: SystemTimeSource(), random: SystemRandomSource())
    }

    /// One request an hour, so that no time matters.
    private func slow(_ zone: String, burst: Int64) -> SharedLimitUse {
        SharedLimitUse(zone: zone, rate: 1, burst: burst * 1_000)
    }

    @Test func twoGatewaysCountTogether() async throws {
        try await RedisServer.with { redis in
            let (one, two) = (try self.server(self.url(redis)), try self.server(self.url(redis)))
            try await self.with([one, two]) {
                let use = self.slow("z", burst: 3)
                var excesses: [Int64] = []
                for index in 0..<4 {
                    let gateway = index % 2 == 0 ? one : two
                    guard case .within(let ahead) = await gateway.check([use], keys: [[1, 255]], milliseconds: 5_000)
                    else {
                        Issue.record("request \(index) was refused")
                        return
                    }
                    excesses += ahead
                }
                // A thousandth may have drained meanwhile.
                for (index, excess) in excesses.enumerated() { #expect(abs(excess - Int64(index) * 1_000) <= 10) }
                for gateway in [one, two] {
                    let verdict = await gateway.check([use], keys: [[1, 255]], milliseconds: 5_000)
                    guard case .exceeded(index: 0, let excess) = verdict else {
                        Issue.record("\(verdict)")
                        return
                    }
                    #expect((3_900...4_000).contains(excess))
                }
                // Another key, and another zone, are others.
                #expect(await one.check([use], keys: [[2]], milliseconds: 5_000) == .within([0]))
                #expect(
                    await one.check([self.slow("y", burst: 0)], keys: [[1, 255]], milliseconds: 5_000) == .within([0])
                )
            }
        }
    }

    /// What one limit turns away counts in none.
    @Test func severalLimitsAreOneStep() async throws {
        try await RedisServer.with { redis in
            let server = try self.server(self.url(redis))
            try await self.with([server]) {
                let uses = [self.slow("wide", burst: 100), self.slow("tight", burst: 0)]
                #expect(await server.check(uses, keys: [[1], [1]], milliseconds: 5_000) == .within([0, 0]))
                for _ in 0..<5 {
                    guard case .exceeded(index: 1, _) = await server.check(uses, keys: [[1], [1]], milliseconds: 5_000)
                    else {
                        Issue.record("the tight limit let it pass")
                        return
                    }
                }
                let verdict = await server.check([uses[0]], keys: [[1]], milliseconds: 5_000)
                guard case .within(let excesses) = verdict, let excess = excesses.first else {
                    Issue.record("\(verdict)")
                    return
                }
                #expect((900...1_000).contains(excess))
            }
        }
    }

    @Test func whoeverIsAwayIsNotWaitedFor() async throws {
        let server = try self.server("redis://127.0.0.1:\(try await freePort())")
        let use = self.slow("z", burst: 0)
        #expect(await server.check([use], keys: [[1]], milliseconds: 50) == .unavailable)
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await server.run(while: { true }, Signal()) }
            #expect(await server.check([use], keys: [[1]], milliseconds: 50) == .unavailable)
            group.cancelAll()
        }
        #expect(server.failures == 2)
    }

    // MARK: - In the gateway

    private func model(_ url: String, _ onFailure: SharedCounter.OnFailure, burst: Int) -> GatewayModel {
        var zone = RequestZoneModel(
            name: "z",
            key: Template(parts: [.variable(.binaryRemoteAddress)]),
            bytes: 65_536,
            rate: 1
        )
        zone.shared = SharedCounter(url: url, onFailure: onFailure)
        zone.shared?.timeoutMilliseconds = 2_000
        var location = LocationModel(match: .prefix("/", isFinal: false))
        location.settings.requestLimits = [RequestLimitUse(zone: "z", burst: burst, delay: .none)]
        location.rewrites = []
        location.action = .stubStatus
        var server = ServerModel(listens: [ListenModel(host: "127.0.0.1", port: 0)])
        server.locations = [location]
        var model = GatewayModel()
        model.servers = [server]
        model.requestZones = [zone]
        model.workers = 1
        return model
    }

    private func statuses(_ count: Int, at gateways: [Endpoint]) async throws -> [Int] {
        var statuses: [Int] = []
        for index in 0..<count {
            statuses.append(try await request("GET", "/", at: gateways[index % gateways.count]).status)
        }
        return statuses
    }

    @Test func theGatewaysOfAFleetShareOneLimit() async throws {
        try await RedisServer.with { redis in
            let model = self.model(self.url(redis), .closed, burst: 4)
            let runtimes = try (0..<2).map { _ in try GatewayRuntime(model: model, logger: testLogger) }
            try await withRunning(runtimes[0]) { _ in
                try await withRunning(runtimes[1]) { _ in
                    var gateways: [Endpoint] = []
                    for runtime in runtimes { gateways += try await runtime.listeningEndpoints() }
                    // Each answers 503 until it is connected.
                    var passed = 0
                    for gateway in gateways {
                        try await eventually("a connection") {
                            try await request("GET", "/", at: gateway).status == 200
                        }
                        passed += 1
                    }
                    let statuses = try await self.statuses(8, at: gateways)
                    #expect(statuses.count { $0 == 200 } == 5 - passed, "\(statuses)")
                }
            }
        }
    }

    /// Each by itself, everybody, or nobody.
    @Test(arguments: [(SharedCounter.OnFailure.local, 2), (.open, 5), (.closed, 0)])
    func withoutItsServer(_ onFailure: SharedCounter.OnFailure, _ passed: Int) async throws {
        let url = "redis://127.0.0.1:\(try await freePort())"
        var model = self.model(url, onFailure, burst: 1)
        model.requestZones[0].shared?.timeoutMilliseconds = 20
        let runtime = try GatewayRuntime(model: model, logger: testLogger)
        try await withRunning(runtime) { _ in
            let statuses = try await self.statuses(5, at: try await runtime.listeningEndpoints())
            #expect(statuses.count { $0 == 200 } == passed, "\(statuses)")
        }
    }
}
