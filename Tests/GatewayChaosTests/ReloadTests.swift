import Foundation
import ParleyCore
import ProcessTestSupport
import Testing

extension ChaosTests {
    @Suite struct Reloads {
        private static func configuration(_ ports: [Int], number: Int, more: String = "") -> String {
            let servers = ports.map { "\"127.0.0.1:\($0)\"" }.joined(separator: ", ")
            return """
                gateway:
                  listen: [{address: "127.0.0.1:0", http2: true}\(more)]
                  keepalive_requests: 1000000
                  upstreams:
                    shop: [\(servers)]
                    other\(number): ["127.0.0.1:\(ports[0])"]
                  routes:
                    - {path: /, upstream: shop}
                    - {path: /only/\(number), return: {status: 200, text: "\(number)"}}
                """
        }

        /// Instances come and go with each of them, and clients of both protocols see nothing of it.
        @Test func aHundredUnderLoadLoseNothing() async throws {
            let services = [try FaultyUpstream(name: "first"), try FaultyUpstream(name: "second")]
            defer { for service in services { service.stop() } }
            let choices = [[0, 1], [1], [1, 0], [0]].map { $0.map { services[$0].port } }
            try await ChaosGateway.with(Self.configuration(choices[0], number: 0)) { gateway in
                for _ in 0..<20 { #expect(try Client.get("/", at: gateway.port).status == 200) }
                try await gateway.reload(Self.configuration(choices[1], number: 1))
                let (descriptors, memory) = (try gateway.descriptors, try gateway.residentKilobytes)
                let load = Load(gateway.port, clients: 3)
                let fresh = Load(gateway.port, clients: 1, fresh: true)
                async let second = self.http2(gateway, until: 103)
                for number in 2...101 {
                    try await gateway.reload(Self.configuration(choices[number % 4], number: number))
                    #expect(try Client.get("/only/\(number)", at: gateway.port).text == "\(number)")
                }
                #expect(try gateway.generation == 102)
                try await gateway.reload(Self.configuration(choices[0], number: 102))
                let (kept, renewed, codes) = (try await load.stop(), try await fresh.stop(), try await second)
                #expect(kept.failed == 0, "\(kept.failures)")
                #expect(renewed.failed == 0, "\(renewed.failures)")
                #expect(Set(codes.keys) == ["200 2"], "\(codes)")
                #expect(kept.bodies["first", default: 0] > 0 && kept.bodies["second", default: 0] > 0)
                print(
                    "100 reloads: \(kept.answered) answers over \(kept.connections) kept connections, "
                        + "\(renewed.answered) over new ones, HTTP/2 \(codes)"
                )
                // No connection is closed for a reload.
                #expect(kept.connections == 3)
                // Kept connections to the instances, on two workers.
                try await gateway.returns(to: descriptors + 8)
                let growth = try gateway.residentKilobytes - memory
                #expect(growth < 30_000, "\(growth) KB")
            }
        }

        /// Requests over one connection of HTTP/2 after the other, until the gateway has this configuration.
        private func http2(_ gateway: ChaosGateway, until generation: Int) async throws -> [String: Int] {
            var codes: [String: Int] = [:]
            while try gateway.generation < generation {
                let answer = try await Subprocess.run(
                    "/usr/bin/env",
                    [
                        "curl", "--silent", "--http2-prior-knowledge", "--parallel", "--parallel-max", "10",
                        "--output", "/dev/null", "--write-out", "%{http_code} %{http_version}\\n", "--max-time", "30",
                        "http://127.0.0.1:\(gateway.port)/[1-200]",
                    ]
                )
                #expect(answer.status == 0, "\(answer.error)")
                for line in answer.output.split(separator: "\n") { codes[String(line), default: 0] += 1 }
            }
            return codes
        }

        /// Old ones stay in force, whatever is wrong with the new one; and what is wrong is said with what to do.
        @Test func brokenConfigurationsChangeNothing() async throws {
            let service = try FaultyUpstream(name: "first")
            defer { service.stop() }
            let (taken, port) = try Listener.open()
            defer { Listener.close(taken) }
            let sound = Self.configuration([service.port], number: 0)
            try await ChaosGateway.with(sound) { gateway in
                #expect(try Client.get("/", at: gateway.port).text == "first")
                let (descriptors, generation) = (try gateway.descriptors, try gateway.generation)
                let load = Load(gateway.port, clients: 2)
                let broken = [
                    Self.configuration([service.port], number: 1, more: ", \"127.0.0.1:\(port)\""),
                    "gateway: {listen: 80, routes: [{path: /, upstream: nobody}]}",
                    "gateway: [", "", String(repeating: "a", count: 100_000),
                    "gateway:\n  listen: {address: \"127.0.0.1:0\", tls: true}\n  "
                        + "tls: {certificate: /nowhere.pem, key: /nowhere.key}\n  routes: [{path: /, return: 204}]",
                ]
                for (index, text) in broken.enumerated() {
                    try gateway.folder.write(text, to: "parley.yaml")
                    gateway.process.signal(SIGHUP)
                    let isSaid = try await isEventually {
                        gateway.process.error.components(separatedBy: "that was in force still is").count == index + 2
                    }
                    #expect(isSaid, "\(text.prefix(200)): \(gateway.process.error)")
                    #expect(try gateway.generation == generation)
                }
                #expect(gateway.process.error.contains(":\(port)"), "which address is taken")
                #expect(gateway.process.error.contains("in use"), "\(gateway.process.error)")
                let counts = try await load.stop()
                #expect(counts.failed == 0, "\(counts.failures)")
                try await gateway.returns(to: descriptors + 2)
                // And then a sound one is taken.
                try await gateway.reload(Self.configuration([service.port], number: 7))
                #expect(try Client.get("/only/7", at: gateway.port).text == "7")
            }
        }
    }
}
