import Foundation
import ProcessTestSupport
import Testing

extension ChaosTests {
    @Suite struct IdleConnections {
        private static let configuration = """
            gateway:
              listen: {address: "127.0.0.1:0", backlog: 4096}
              max_connections: 65536
              connection: {header_timeout: 10m}
              keepalive_timeout: 10m
              routes: [{path: /, return: {status: 200, text: here}}]
            """

        /// Bounded generously: this is a build for debugging. What a release build takes is in the benchmarks.
        @Test func tenThousandAreAnsweredWhenTheySpeakAtLast() async throws {
            // Both sides need a descriptor for each, and some to work with.
            let count = min(10_000, ChaosGateway.descriptorLimit - 500)
            try await ChaosGateway.with(Self.configuration) { gateway in
                // What is made once is made now.
                try await self.speak(try (0..<100).map { _ in try Client(gateway.port) }, to: gateway)
                try await gateway.returns(to: try gateway.descriptors)
                let (descriptors, memory) = (try gateway.descriptors, try gateway.residentKilobytes)
                var clients: [Client] = []
                for _ in 0..<count { clients.append(try Client(gateway.port)) }
                let areThere = try await isEventually { try gateway.connections >= count }
                #expect(areThere)
                let silent = Double(try gateway.residentKilobytes - memory) / Double(count)
                // All at once, so that all are under way together.
                for client in clients { try client.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") }
                for client in clients { #expect(try client.answer().text == "here") }
                let kept = Double(try gateway.residentKilobytes - memory) / Double(count)
                print("\(count) idle connections: \(silent) KB each before a request, \(kept) KB after one")
                #expect(silent < 40)
                #expect(kept < 60)
                #expect(try Client.get("/", at: gateway.port).text == "here")
                clients = []
                try await gateway.returns(to: descriptors + 2)
            }
        }

        /// Out of descriptors: who is there is served, who waits is served when there is room again.
        @Test func withoutDescriptorsItWaitsForThem() async throws {
            _ = ChaosGateway.descriptorLimit
            try await ChaosGateway.with(Self.configuration, shell: "ulimit -n 200") { gateway in
                var clients: [Client] = []
                for _ in 0..<400 { clients.append(try Client(gateway.port)) }
                let isFull = try await isEventually { try gateway.descriptors >= 199 }
                #expect(isFull)
                for client in clients.prefix(50) { #expect(try client.get("/").text == "here") }
                for client in clients { try client.send("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") }
                clients.removeFirst(300)
                for client in clients { #expect(try client.answer().text == "here") }
                clients = []
                #expect(try Client.get("/", at: gateway.port).text == "here")
                #expect(gateway.process.isRunning)
            }
        }

        /// Who is there stays, who comes is turned away, and there is room again when one has gone.
        @Test func oneAboveTheLimitIsClosed() async throws {
            let configuration = Self.configuration.replacingOccurrences(of: "65536", with: "50")
            try await ChaosGateway.with(configuration) { gateway in
                var clients = try (0..<50).map { _ in try Client(gateway.port) }
                try await self.speak(clients, to: gateway)
                let rejected = try Client(gateway.port)
                #expect(rejected.hasInput(within: 5_000))
                #expect((try? rejected.receive()) ?? 0 == 0)
                try await self.speak(clients, to: gateway)
                clients.removeLast()
                let hasRoom = try await isEventually { (try? Client.get("/", at: gateway.port))?.text == "here" }
                #expect(hasRoom)
            }
        }

        private func speak(_ clients: [Client], to gateway: ChaosGateway) async throws {
            for client in clients { #expect(try client.get("/").text == "here") }
        }
    }
}
