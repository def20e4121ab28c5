internal import HTTPTestSupport
internal import Hummingbird
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPServer
internal import Synchronization
internal import Testing

@Suite(.timeLimit(.minutes(1))) struct InstanceIdentityTests {
    private let header = "X-Parley-Instance"

    @Test(arguments: ["/items/1", "/nothing", "/broken", "/health/live"])
    func everyAnswerSaysWhoGivesIt(_ path: String) async throws {
        try await withService(configure: { $0.instanceID = "test-1" }) { endpoint, _, _ in
            let answer = try await request("GET", path, at: endpoint, headers: [(header, "test-1")])
            #expect(answer.header(header) == "test-1" && answer.status != 421)
            #expect(try await request("GET", path, at: endpoint).header(header) == "test-1")
        }
    }

    @Test func whatIsMeantForAnotherIsRefusedBeforeAnythingIsDone() async throws {
        let counter = HandledCounter()
        let router = ParleyRouter(service: "test-service")
        router.post("items") { _, _ -> String in
            counter.add()
            return "done"
        }
        try await withService(router: router, configure: { $0.instanceID = "test-1" }) { endpoint, _, _ in
            let answer = try await request("POST", "/items", at: endpoint, headers: [(header, "other-9")], body: "{}")
            #expect(answer.status == 421 && answer.header(header) == "test-1")
            #expect(answer.problem?.code == "misdirected_request" && answer.problem?.extra["meant"] == "other-9")
            // Not even asked for its body.
            let text = try await RawConnection.with(endpoint) { connection in
                let lines = [
                    "POST /items HTTP/1.1", "Host: x", "X-Parley-Instance: other-9", "Expect: 100-continue",
                    "Content-Length: 2", "Connection: close", "", "",
                ]
                try await connection.send(lines.joined(separator: "\r\n"))
                return try await connection.read(until: "misdirected_request")
            }
            #expect(text.hasPrefix("HTTP/1.1 421"), "\(text)")
            #expect(counter.count == 0)
        }
    }

    @Test func aRegisteredServiceKnowsItsID() async throws {
        let registry = InProcessRegistry()
        try await withService(registrar: registry) { endpoint, _, _ in
            let id = try #require(try await registry.resolve("test-service").first?.id)
            #expect(try await request("GET", "/items/1", at: endpoint).header(header) == id)
            #expect(try await request("GET", "/items/1", at: endpoint, headers: [(header, "x")]).status == 421)
        }
    }

    @Test func aServiceThatDoesNotKnowItsIDAcceptsWhatComes() async throws {
        try await withService { endpoint, _, _ in
            let answer = try await request("GET", "/items/1", at: endpoint, headers: [(header, "anybody")])
            #expect(answer.status == 200 && answer.header(header) == nil)
        }
    }
}

private final class HandledCounter: Sendable {
    private let value = Mutex(0)

    var count: Int { self.value.withLock { $0 } }

    func add() { self.value.withLock { $0 += 1 } }
}
