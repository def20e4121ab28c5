import HTTPTestSupport
import Hummingbird
import ParleyCore
import ParleyHTTPServer
import ServiceLifecycle
import Testing

@testable import ParleyGateway

@Suite(.timeLimit(.minutes(1))) struct DrainTests {
    /// The request is under way when the end begins; connections that rest are closed, and no new ones are taken.
    @Test func whatIsUnderWayIsAnswered() async throws {
        let (reached, gate) = (Gate(), Gate())
        let router = ParleyRouter(service: users)
        router.get("wait") { _, _ -> String in
            reached.open()
            try await gate.wait()
            return "late"
        }
        try await withUpstream(router) { upstream in
            let configuration = try model(
                "server { listen 127.0.0.1:1; location / { proxy_pass http://\(upstream); } }"
            )
            try await withRuntime(configuration) { gateway in
                try await RawConnection.with(gateway.endpoint) { resting in
                    try await withThrowingTaskGroup(of: HTTPAnswer.self) { tasks in
                        tasks.addTask { try await request("GET", "/wait", at: gateway.endpoint) }
                        try await reached.wait()
                        await gateway.group.triggerGracefulShutdown()
                        _ = await resting.readToEnd()
                        let status = await gateway.runtime.status()
                        #expect(status.isDraining && status.connections == 1)
                        await #expect(throws: (any Error).self) {
                            try await RawConnection.with(gateway.endpoint) { _ in }
                        }
                        gate.open()
                        let answer = try #require(try await tasks.next())
                        #expect(answer.status == 200 && answer.text == "late")
                        #expect(answer.header("connection") == "close")
                    }
                }
            }
        }
    }

    /// What never ends is answered when the grace period is over.
    @Test func theGracePeriodEnds() async throws {
        try await RawServer.with(.hang) { upstream, server in
            let configuration = try model(
                "server { listen 127.0.0.1:1; location / { proxy_pass http://\(upstream); } }"
            )
            var options = GatewayRuntime.Options()
            options.gracePeriod = .milliseconds(50)
            try await withRuntime(configuration, options: options) { gateway in
                try await RawConnection.with(gateway.endpoint) { client in
                    try await client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    try await server.wait { $0.requests.count == 1 }
                    await gateway.group.triggerGracefulShutdown()
                    let text = await client.readToEnd()
                    #expect(text.hasPrefix("HTTP/1.1 503 "), "\(text)")
                }
            }
        }
    }
}
