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
                  listen: ["127.0.0.1:0"\(more)]
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
            let folder = try ChaosFolder()
            try await Certificate.make(0, in: folder)
            try Certificate.show(0, in: folder)
            let secure = try Listener.freePort()
            func configuration(_ ports: [Int], number: Int) -> String {
                Self.configuration(
                    ports,
                    number: number,
                    more: ", {address: \"127.0.0.1:\(secure)\", tls: true, http2: true}"
                ) + """

                      tls: {certificate: \(folder.file("server.pem")), key: \(folder.file("server.key"))}
                    """
            }
            try await ChaosGateway.with(configuration(choices[0], number: 0), folder: folder) { gateway in
                for _ in 0..<20 { #expect(try Client.get("/", at: gateway.port).status == 200) }
                try await gateway.reload(configuration(choices[1], number: 1))
                let (descriptors, memory) = (try gateway.descriptors, try gateway.residentKilobytes)
                let load = Load(gateway.port, clients: 3)
                let fresh = Load(gateway.port, clients: 1, fresh: true)
                async let second = self.http2(gateway, secure, until: 103)
                for number in 2...101 {
                    try await gateway.reload(configuration(choices[number % 4], number: number))
                    #expect(try Client.get("/only/\(number)", at: gateway.port).text == "\(number)")
                }
                #expect(try gateway.generation == 102)
                try await gateway.reload(configuration(choices[0], number: 102))
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
        private func http2(_ gateway: ChaosGateway, _ port: Int, until generation: Int) async throws -> [String: Int] {
            var codes: [String: Int] = [:]
            while try gateway.generation < generation {
                let answer = try await Subprocess.run(
                    "/usr/bin/env",
                    [
                        "curl", "--silent", "--show-error", "--insecure", "--http2", "--output", "/dev/null",
                        "--write-out", "%{http_code} %{http_version}\\n", "--max-time", "30",
                        "https://localhost:\(port)/[1-500]",
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
