import HTTPTestSupport
import ParleyCore
import ParleyRabbitMQ
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// Expects a `RabbitMQManagementError` with this code, and no password in it.
@discardableResult
func expectFailure(
    _ code: RabbitMQManagementError.Code,
    sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () async throws -> Void
) async -> RabbitMQManagementError? {
    do {
        try await body()
        Issue.record("no error, expected \(code)", sourceLocation: sourceLocation)
    } catch let error as RabbitMQManagementError {
        #expect(error.code == code, "\(error)", sourceLocation: sourceLocation)
        #expect(!"\(error)".contains("hunter2"), "\(error)", sourceLocation: sourceLocation)
        return error
    } catch {
        Issue.record("\(error), expected \(code)", sourceLocation: sourceLocation)
    }
    return nil
}

private func against(
    _ behaviour: RawServer.Behaviour,
    timeout: Duration = .seconds(15),
    maximumAnswerBytes: Int = 1 << 20,
    _ body: (RabbitMQManagement) async throws -> Void
) async throws {
    try await RawServer.with(behaviour) { endpoint, _ in
        var configuration = try RabbitMQManagementConfiguration(
            url: "http://u:hunter2@\(endpoint.host):\(endpoint.port)"
        )
        configuration.requestTimeout = timeout
        configuration.maximumAnswerBytes = maximumAnswerBytes
        let management = RabbitMQManagement(configuration)
        try await body(management)
        await management.shutdown()
    }
}

private func answer(_ status: String, _ body: String, type: String = "application/json") -> RawServer.Behaviour {
    .answerAndClose(
        "HTTP/1.1 \(status)\r\ncontent-type: \(type)\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
    )
}

/// What a client does with answers that a healthy broker does not give.
@Suite(.timeLimit(.minutes(1))) struct ManagementFailureTests {
    @Test func addressesAreReadStrictly() throws {
        let plain = try RabbitMQManagementConfiguration(url: "http://localhost")
        #expect(plain.address == "http://localhost:15672")
        #expect(plain.user == "guest")
        let full = try RabbitMQManagementConfiguration(url: "https://my%40app:p%2Fw@mq.example:443/rabbit/api/")
        #expect(full.address == "https://mq.example:443/rabbit")
        #expect(full.user == "my@app")
        #expect(full.password == .init("p/w"))
        for url in [
            "", "localhost:15672", "amqp://u:hunter2@h", "http://", "http://u:hunter2@h/#x", "http://h:99999999",
        ] {
            let error = #expect(throws: RabbitMQManagementError.self) { try RabbitMQManagementConfiguration(url: url) }
            #expect(error?.code == .invalidAddress, "\(url)")
            #expect(error?.description.contains("hunter2") == false)
        }
    }

    @Test func saysThatNobodyListens() async throws {
        let management = try RabbitMQManagement(url: "http://u:hunter2@127.0.0.1:1")
        let error = await expectFailure(.cannotConnect) { _ = try await management.overview() }
        #expect(error?.retry == .notSent)
        #expect(error?.message.contains("rabbitmq_management") == true)
        await management.shutdown()
        await expectFailure(.closed) { _ = try await management.overview() }
        for (host, words) in [("localhost:1", "nobody listens there"), ("no-such-host.invalid", "has no address")] {
            let named = try RabbitMQManagement(url: "http://u:hunter2@\(host)")
            let error = await expectFailure(.cannotConnect) { _ = try await named.overview() }
            #expect(error?.message.contains(words) == true, "\(String(describing: error))")
            await named.shutdown()
        }
    }

    @Test func givesUpAtTheDeadline() async throws {
        try await against(.hang, timeout: .milliseconds(200)) { management in
            let read = await expectFailure(.timedOut) { _ = try await management.overview() }
            #expect(read?.retry == .notSent)
            let written = await expectFailure(.timedOut) { try await management.put(Topology.VirtualHost("v")) }
            #expect(written?.retry == .mayHaveRun)
        }
        // An answer that begins and does not end.
        let half = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"
        try await against(.answer(half), timeout: .milliseconds(300)) { management in
            await expectFailure(.timedOut) { _ = try await management.overview() }
        }
    }

    @Test func aVirtualHostThatIsBeingDeletedIsLeftOut() async throws {
        let list = #"[{"recv_oct":54420,"send_oct":1},{"name":"shop","recv_oct":3,"tags":["a"]},{"name":"bare"}]"#
        try await against(answer("200 OK", list)) { management in
            let names = try? await management.virtualHosts().map(\.name)
            #expect(names == ["shop", "bare"])
        }
        try await against(answer("200 OK", "[{}]")) { management in
            await expectFailure(.notManagement) { _ = try await management.virtualHosts() }
        }
    }

    @Test func saysThatItIsNoManagementAPI() async throws {
        try await against(answer("200 OK", "<html>hello</html>", type: "text/html")) { management in
            let error = await expectFailure(.notManagement) { _ = try await management.overview() }
            #expect(error?.message.contains("<html>hello</html>") == true)
        }
        try await against(answer("404 Not Found", "nothing here", type: "text/plain")) { management in
            await expectFailure(.notManagement) { _ = try await management.overview() }
        }
        try await against(answer("302 Found", "{}")) { management in
            await expectFailure(.notManagement) { _ = try await management.overview() }
        }
        // What an AMQP port answers to HTTP.
        try await against(.answerAndClose("AMQP\0\0\u{9}\u{1}")) { management in
            await expectFailure(.notManagement) { _ = try await management.overview() }
        }
    }

    @Test func saysThatTheConnectionBroke() async throws {
        try await against(.closeAfterRequest) { management in
            let error = await expectFailure(.connectionLost) { try await management.put(Topology.VirtualHost("v")) }
            #expect(error?.retry == .mayHaveRun)
        }
    }

    @Test func readsNoMoreThanItsLimit() async throws {
        let long = String(repeating: " ", count: 2_000) + "{}"
        try await against(answer("200 OK", long), maximumAnswerBytes: 1_000) { management in
            await expectFailure(.answerTooLarge) { _ = try await management.overview() }
        }
    }

    @Test func aBrokerThatFailsCanBeAskedAgain() async throws {
        let refusal = #"{"error":"internal","reason":"no"}"#
        try await against(answer("503 Service Unavailable", refusal)) { management in
            let error = await expectFailure(.unavailable) { _ = try await management.overview() }
            #expect(error?.retry == .mayHaveRun)
        }
    }
}

/// On a real broker.
@Suite(.timeLimit(.minutes(3))) struct ManagementBrokerTests {
    private func with(_ body: (RabbitMQManagement, String) async throws -> Void) async throws {
        let management = try RabbitMQManagement(url: try await RabbitMQServer.shared.value.management)
        // A name that must be escaped.
        let host = RabbitMQServer.fresh("h/ ä%")
        try await management.put(Topology.VirtualHost(host))
        let result: Result<Void, any Error>
        do { result = .success(try await body(management, host)) } catch { result = .failure(error) }
        try await management.deleteVirtualHost(host)
        await management.shutdown()
        try result.get()
    }

    @Test func tellsWhoIsAskingWhom() async throws {
        try await self.with { management, host in
            let identity = try await management.whoami()
            #expect(identity.name == "guest")
            #expect(identity.tags == ["administrator"])
            #expect(try await management.overview().version.hasPrefix("3."))
            #expect(try await management.virtualHosts().map(\.name).contains(host))
        }
    }

    @Test func tellsRefusalsApart() async throws {
        let server = try await RabbitMQServer.shared.value
        try await self.with { management, host in
            let wrong = try RabbitMQManagement(url: "http://guest:hunter2@127.0.0.1:\(server.managementPort)")
            await expectFailure(.wrongCredentials) { _ = try await wrong.overview() }
            await wrong.shutdown()

            let name = RabbitMQServer.fresh("u")
            let hash = RabbitMQPasswordHash(of: .init("hunter2"), random: SystemRandomSource())
            try await management.put(TopologySnapshot.User(name, hash: hash))
            let user = try RabbitMQManagement(url: "http://\(name):hunter2@127.0.0.1:\(server.managementPort)")
            let untagged = await expectFailure(.forbidden) { _ = try await user.overview() }
            #expect(untagged?.message.contains("set_user_tags \(name) management") == true)

            try await management.put(TopologySnapshot.User(name, hash: hash, tags: ["management"]))
            let notAdministrator = await expectFailure(.forbidden) { _ = try await user.users() }
            #expect(notAdministrator?.message.contains("'administrator'") == true)
            let notAllowed = await expectFailure(.forbidden) { _ = try await user.queues(in: host) }
            #expect(notAllowed?.message.contains("set_permissions") == true)
            try await management.put(
                Topology.Permission(user: name, virtualHost: host, configure: "", write: "", read: "")
            )
            await expectFailure(.forbidden) { try await user.put(Topology.Queue(virtualHost: host, name: "q")) }
            await user.shutdown()
            try await management.deleteUser(name)

            await expectFailure(.notFound) { _ = try await management.queue("missing", in: host) }
            await expectFailure(.notFound) { _ = try await management.exchanges(in: "missing") }
            try await management.put(Topology.Exchange(virtualHost: host, name: "e", type: "topic"))
            try await management.put(Topology.Exchange(virtualHost: host, name: "e", type: "topic"))
            let other = await expectFailure(.inequivalent) {
                try await management.put(Topology.Exchange(virtualHost: host, name: "e", type: "direct"))
            }
            #expect(other?.reason?.contains("received 'direct' but current is 'topic'") == true)
            await expectFailure(.refused) {
                try await management.put(Topology.Exchange(virtualHost: host, name: "f", type: "tpic"))
            }
        }
    }

    @Test func listsInPages() async throws {
        let server = try await RabbitMQServer.shared.value
        try await self.with { _, host in
            var configuration = try RabbitMQManagementConfiguration(url: server.management)
            configuration.pageSize = 2
            let management = RabbitMQManagement(configuration)
            #expect(try await management.queues(in: host).isEmpty)
            for number in 1...5 { try await management.put(Topology.Queue(virtualHost: host, name: "q \(number)")) }
            let names = try await management.queues(in: host).map(\.name).sorted()
            #expect(names == (1...5).map { "q \($0)" })
            #expect(try await management.exchanges(in: host).count >= 7)
            await management.shutdown()

            configuration.maximumItems = 3
            let limited = RabbitMQManagement(configuration)
            await expectFailure(.answerTooLarge) { _ = try await limited.queues(in: host) }
            await limited.shutdown()
        }
    }

    @Test func publishesAndCounts() async throws {
        try await self.with { management, host in
            try await management.put(Topology.Exchange(virtualHost: host, name: "orders.exchange", type: "topic"))
            try await management.put(Topology.Queue(virtualHost: host, name: "orders"))
            try await management.put(
                Topology.Binding(
                    virtualHost: host,
                    source: "orders.exchange",
                    destination: "orders",
                    routingKey: "order.*"
                )
            )
            func publish(_ key: String, _ payload: [UInt8] = Array(#"{"id":1}"#.utf8)) async throws -> Bool {
                try await management.publish(payload, to: "orders.exchange", in: host, routingKey: key)
            }
            #expect(try await publish("order.created"))
            #expect(try await publish("order.created", [0xFF, 0]))
            #expect(try await !publish("payment.done"))
            #expect(try await management.publish([1], to: "", in: host, routingKey: "orders"))
            let isCounted = try await isEventually {
                try await management.queue("orders", in: host).messages == 3
            }
            #expect(isCounted)
            #expect(try await management.consumers(in: host).isEmpty)
        }
    }
}
