internal import HTTPTestSupport
internal import Hummingbird
internal import NIOCore
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPServer
internal import ServiceLifecycle
internal import Testing

@Suite(.timeLimit(.minutes(1))) struct BindTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var host: String
        var port: Int
        var code: ServerError.Code
        var says: String

        var testDescription: String { "\(self.host):\(self.port)" }
    }

    @Test(arguments: [
        Case(host: "192.0.2.1", port: 0, code: .addressNotAvailable, says: "ip addr"),
        Case(host: "no-such-host.invalid", port: 0, code: .addressNotAvailable, says: "no-such-host.invalid"),
        Case(host: "127.0.0.1", port: 70_000, code: .invalidConfiguration, says: "65535"),
        Case(host: "127.0.0.1", port: -1, code: .invalidConfiguration, says: "65535"),
    ])
    func saysWhyItCannotListen(_ test: Case) async throws {
        let service = HTTPService(
            configuration: .init(name: "user-service", host: test.host, port: test.port),
            router: ParleyRouter(service: "user-service"),
            logger: testLogger
        )
        let error = await #expect(throws: ServerError.self) { try await service.run() }
        #expect(error?.code == test.code)
        #expect(error?.message.contains("user-service") == true)
        #expect(error?.message.contains(test.says) == true, "\(error?.message ?? "")")
        await #expect(throws: ServerError.self) { try await service.endpoint() }
    }

    @Test func aPortInUseIsNamedWithWhatToDo() async throws {
        try await withService { endpoint, _, _ in
            let second = HTTPService(
                configuration: .init(name: "second", port: endpoint.port),
                router: ParleyRouter(service: "second"),
                logger: testLogger
            )
            let error = await #expect(throws: ServerError.self) { try await second.run() }
            #expect(error?.code == .portInUse)
            #expect(error?.message.contains("second cannot listen on \(endpoint)") == true)
            #expect(error?.message.contains("ss -ltnp | grep \(endpoint.port)") == true)
        }
    }

    @Test func registersItsRealPortAndDeregisters() async throws {
        let registry = InProcessRegistry()
        try await withService(registrar: registry) { endpoint, _, _ in
            #expect(endpoint.port > 0)
            let registered = try await registry.resolve("test-service")
            #expect(registered.map(\.endpoint) == [endpoint])
        }
        #expect(try await registry.resolve("test-service").isEmpty)
    }
}

@Suite(.timeLimit(.minutes(1))) struct DrainTests {
    /// A router with `/wait`, which answers when the gate opens, and tells when it was reached.
    private func router(_ reached: Gate, _ gate: Gate) -> ParleyRouter {
        let router = ParleyRouter(service: "test-service")
        router.get("wait") { _, _ -> String in
            reached.open()
            try await gate.wait()
            return "done"
        }
        router.get("quick") { _, _ -> String in "quick" }
        return router
    }

    @Test func requestsUnderWayFinishIdleConnectionsCloseAndNewOnesAreRefused() async throws {
        let (reached, gate) = (Gate(), Gate())
        let health = HealthRegister(service: "test-service")
        try await withService(router: self.router(reached, gate), health: health) { endpoint, group, _ in
            try await RawConnection.with(endpoint) { idle in
                try await idle.send("GET /quick HTTP/1.1\r\nHost: a\r\n\r\n")
                try await idle.read(until: "quick")
                async let inFlight = request("GET", "/wait", at: endpoint)
                try await reached.wait()
                await group.triggerGracefulShutdown()
                // The idle connection is closed although a request is still under way elsewhere.
                _ = await idle.readToEnd()
                #expect(health.isDraining)
                await #expect(throws: (any Error).self) { try await RawConnection.with(endpoint) { _ in } }
                gate.open()
                let answer = try await inFlight
                #expect(answer.status == 200 && answer.text == "done")
                #expect(answer.header("connection") == "close")
            }
        }
    }

    @Test func whatTakesTooLongIsCancelledAndAnswered() async throws {
        let (reached, gate) = (Gate(), Gate())
        try await withService(
            router: self.router(reached, gate),
            configure: { $0.listener.drainTimeout = .milliseconds(50) }
        ) { endpoint, group, _ in
            async let inFlight = request("GET", "/wait", at: endpoint)
            try await reached.wait()
            await group.triggerGracefulShutdown()
            #expect(try await inFlight.problem?.code == "shutting_down")
        }
    }

    @Test func cancelledWorkThatTakesItsTimeIsStillAnswered() async throws {
        let (reached, gate) = (Gate(), Gate())
        let router = ParleyRouter(service: "test-service")
        router.get("slow") { _, _ -> String in
            reached.open()
            do { try await gate.wait() } catch {
                // As on a busy machine: longer than the moment that the listener gives to answers under way.
                let time = SystemTimeSource()
                let end = time.now.advanced(by: .seconds(1))
                while time.now < end { await Task.yield() }
            }
            throw CancellationError()
        }
        try await withService(router: router, configure: { $0.listener.drainTimeout = .milliseconds(1) }) {
            endpoint,
            group,
            _ in
            async let inFlight = request("GET", "/slow", at: endpoint)
            try await reached.wait()
            await group.triggerGracefulShutdown()
            #expect(try await inFlight.problem?.code == "shutting_down")
        }
    }

    @Test func aClientThatNeverReadsDoesNotKeepTheServerFromStopping() async throws {
        let router = ParleyRouter(service: "test-service")
        router.get("endless") { _, _ in
            Response(
                status: .ok,
                body: .init { writer in
                    while true { try await writer.write(ByteBuffer(repeating: 0, count: 65_536)) }
                }
            )
        }
        try await withService(router: router, configure: { $0.listener.drainTimeout = .milliseconds(50) }) {
            endpoint,
            group,
            service in
            try await RawConnection.with(endpoint) { connection in
                try await connection.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
                _ = try await connection.readCount()
                await group.triggerGracefulShutdown()
                // Not read on purpose until the server is gone: its end is what this test waits for.
                while (try? await RawConnection.with(endpoint) { _ in }) != nil {}
            }
        }
    }

    @Test func aLargeAnswerToASlowReaderIsNotCutByTheDrain() async throws {
        let size = 8 * 1_048_576
        let reached = Gate()
        let router = ParleyRouter(service: "test-service")
        router.get("large") { _, _ -> Response in
            reached.open()
            return Response(status: .ok, body: .init(byteBuffer: ByteBuffer(repeating: 1, count: size)))
        }
        try await withService(router: router) { endpoint, group, _ in
            let count = try await RawConnection.with(endpoint) { connection in
                try await connection.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
                try await reached.wait()
                var count = try await connection.readCount() ?? 0
                await group.triggerGracefulShutdown()
                while let more = try? await connection.readCount() { count += more }
                return count
            }
            #expect(count > size)
        }
    }

    @Test func anIdleConnectionIsClosedAfterItsTime() async throws {
        try await withService(configure: { $0.listener.idleTimeout = .milliseconds(50) }) { endpoint, _, _ in
            let half = try await RawConnection.with(endpoint) { connection in
                try await connection.send("GET /items/1 HT")
                return await connection.readToEnd()
            }
            #expect(half.isEmpty)
        }
    }

    @Test func anAnswerThatSaysCloseCloses() async throws {
        let router = ParleyRouter(service: "test-service")
        router.get("bye") { _, _ in Response(status: .ok, headers: [.connection: "close"]) }
        try await withService(router: router) { endpoint, _, _ in
            let text = try await RawConnection.with(endpoint) { connection in
                try await connection.send("GET /bye HTTP/1.1\r\nHost: a\r\n\r\n")
                return await connection.readToEnd()
            }
            #expect(text.hasPrefix("HTTP/1.1 200"))
        }
    }
}

@Suite(.timeLimit(.minutes(1))) struct HealthTests {
    @Test(arguments: [(HealthStatus.passing, 200), (.warning, 200), (.critical, 503)])
    func readinessIsTheWorstCheck(_ status: HealthStatus, _ code: Int) async throws {
        let health = HealthRegister(service: "test-service")
        health.add("good") { .passing }
        health.add("other") { status }
        try await withService(health: health) { endpoint, _, _ in
            for path in ["/health", "/health/ready"] {
                let answer = try await request("GET", path, at: endpoint)
                #expect(answer.status == code)
                let report = try answer.json(HealthRegister.Report.self)
                #expect(report.status == status)
                #expect(report.checks["good"]?.status == .passing)
                #expect(report.checks["other"]?.status == status)
            }
            #expect(try await request("GET", "/health/live", at: endpoint).status == 200)
            #expect(try await request("POST", "/health", at: endpoint).status == 405)
        }
    }

    @Test func aCheckThatThrowsOrHangsIsCriticalAndTellsNoSecret() async throws {
        let health = HealthRegister(service: "test-service", timeLimit: .milliseconds(20))
        health.add("throws") { throw SecretError() }
        health.add("hangs") {
            try await untilCancelled()
            return .passing
        }
        let report = await health.report()
        #expect(report.status == .critical)
        #expect(report.checks["throws"]?.output == "failed: SecretError")
        #expect(report.checks["hangs"]?.output == "no answer within 20 ms")
    }

    @Test func drainingIsNotReadyButAlive() async throws {
        let health = HealthRegister(service: "test-service")
        try await withService(health: health) { endpoint, _, _ in
            health.beginDraining()
            let ready = try await request("GET", "/health/ready", at: endpoint)
            let live = try await request("GET", "/health/live", at: endpoint)
            #expect(ready.status == 503 && live.status == 200)
        }
    }

    @Test func holdsNoMoreChecksThanItsLimit() {
        let health = HealthRegister(service: "test-service")
        for number in 0..<HealthRegister.maxChecks { #expect(health.add("\(number)") { .passing }) }
        #expect(health.add("0") { .warning })
        #expect(!health.add("more") { .passing })
    }
}
