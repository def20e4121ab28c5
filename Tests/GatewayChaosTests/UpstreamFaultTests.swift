import Foundation
import ParleyCore
import ProcessTestSupport
import Testing

extension ChaosTests {
    @Suite struct UpstreamFaults {
        private static func configuration(_ ports: [Int], maxFails: Int = 0, version: String = "1.1") -> String {
            let servers = ports.map {
                "{address: \"127.0.0.1:\($0)\", max_fails: \(maxFails), fail_timeout: 1s}"
            }
            return """
                gateway:
                  listen: 127.0.0.1:0
                  upstreams:
                    shop:
                      servers: [\(servers.joined(separator: ", "))]
                  proxy:
                    version: \(version)
                    context: false
                    connect_timeout: 1s
                    read_timeout: 500ms
                    next_upstream: {on: [error, timeout, invalid_header]}
                  routes: [{path: /, upstream: shop}]
                """
        }

        /// A service as a process of its own, to be killed and stopped: the gateway itself, which answers its name.
        private func service(_ name: String, port: Int = 0) async throws -> ChaosGateway {
            try await ChaosGateway.start(
                """
                gateway:
                  listen: {address: "127.0.0.1:\(port)", http2: true}
                  keepalive_requests: 1000000
                  routes: [{path: /, return: {status: 200, text: \(name)}}]
                """
            )
        }

        /// Whoever is killed, or hangs, the other one answers: not one request is lost.
        @Test(arguments: [0, 1], ["1.1", "2"])
        func killedAndHungInstancesLoseNoRequest(maxFails: Int, version: String) async throws {
            let (first, second) = (try await self.service("first"), try await self.service("second"))
            let configuration = Self.configuration([first.port, second.port], maxFails: maxFails, version: version)
            try await ChaosGateway.with(configuration) { gateway in
                for _ in 0..<20 { #expect(try Client.get("/", at: gateway.port).status == 200) }
                let (descriptors, memory) = (try gateway.descriptors, try gateway.residentKilobytes)
                let load = Load(gateway.port, clients: 6)
                var killed = first
                for _ in 0..<3 {
                    try await self.bothAnswer(load)
                    await killed.process.killNow()
                    try await load.answers(200)
                    killed = try await self.service("first", port: killed.port)
                    try await self.bothAnswer(load)
                    second.process.signal(SIGSTOP)
                    try await load.answers(50)
                    second.process.signal(SIGCONT)
                }
                try await self.bothAnswer(load)
                let counts = try await load.stop()
                #expect(counts.failed == 0, "\(counts.failures)")
                print(
                    "killed and hung, HTTP/\(version): \(counts.answered) answers over \(counts.connections) connections"
                )
                await killed.process.killNow()
                await second.process.killNow()
                // Kept connections to them are gone with them.
                try await gateway.returns(to: descriptors)
                let growth = try gateway.residentKilobytes - memory
                #expect(growth < 20_000, "\(growth) KB")
            }
        }

        private func bothAnswer(_ load: Load) async throws {
            let before = load.now.bodies
            let hasBoth = try await isEventually {
                ["first", "second"].allSatisfy { load.now.bodies[$0, default: 0] > before[$0, default: 0] + 5 }
            }
            #expect(hasBoth, "\(load.now)")
        }

        /// In each phase before an answer has begun: the other instance gives it.
        @Test func faultsBeforeTheAnswerAreNotSeen() async throws {
            let (faulty, sound) = (try FaultyUpstream(name: "faulty"), try FaultyUpstream(name: "sound"))
            defer {
                faulty.stop()
                sound.stop()
            }
            try await ChaosGateway.with(Self.configuration([faulty.port, sound.port])) { gateway in
                for _ in 0..<20 { #expect(try Client.get("/", at: gateway.port).status == 200) }
                let (descriptors, memory) = (try gateway.descriptors, try gateway.residentKilobytes)
                for fault in FaultyUpstream.Fault.allCases where !fault.hasBegun {
                    faulty.set(fault)
                    let before = faulty.requestCount
                    let load = Load(gateway.port, clients: 4)
                    try await load.answers(fault == .silence ? 40 : 200)
                    let counts = try await load.stop()
                    #expect(counts.failed == 0, "\(fault): \(counts.failures)")
                    #expect(fault == .resetAtOnce || faulty.requestCount > before, "\(fault) was not met")
                }
                try await gateway.returns(to: descriptors)
                let growth = try gateway.residentKilobytes - memory
                #expect(growth < 20_000, "\(growth) KB")
            }
        }

        /// With nobody else to ask, an error that says so; and the next request finds it sound again.
        @Test(arguments: FaultyUpstream.Fault.allCases) func aloneItIsAnError(fault: FaultyUpstream.Fault) async throws
        {
            let upstream = try FaultyUpstream(name: "faulty")
            defer { upstream.stop() }
            try await ChaosGateway.with(Self.configuration([upstream.port])) { gateway in
                #expect(try Client.get("/", at: gateway.port).text == "faulty")
                let descriptors = try gateway.descriptors
                upstream.set(fault)
                for _ in 0..<5 {
                    let answer = try? Client.get("/", at: gateway.port)
                    switch fault {
                    case .none: #expect(answer?.text == "faulty")
                    case .silence, .endlessHead: #expect([502, 504].contains(answer?.status ?? 0), "\(answer as Any)")
                    case _ where fault.hasBegun:
                        // Cut, and to be seen as that.
                        #expect(answer?.isWhole != true, "\(answer as Any)")
                    default: #expect(answer?.status == 502, "\(answer as Any)")
                    }
                }
                upstream.set(.none)
                #expect(try Client.get("/", at: gateway.port).text == "faulty")
                try await gateway.returns(to: descriptors + 1)
            }
        }
    }
}
