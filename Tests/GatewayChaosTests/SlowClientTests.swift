import Foundation
import ParleyCore
import ProcessTestSupport
import Testing

extension ChaosTests {
    @Suite struct SlowClients {
        /// A service whose answer is 10 MB, behind a gateway whose clients have a second for everything.
        private func withGateway(_ body: (ChaosGateway) async throws -> Void) async throws {
            let upstream = try BulkUpstream(bytes: Self.size)
            defer { upstream.stop() }
            let configuration = """
                gateway:
                  listen: 127.0.0.1:0
                  connection: {header_timeout: 1s}
                  body_timeout: 1s
                  send_timeout: 2s
                  upstreams: {bulk: ["127.0.0.1:\(upstream.port)"]}
                  routes: [{path: /bulk, upstream: bulk}, {path: /, return: {status: 200, text: here}}]
                """
            try await ChaosGateway.with(configuration) { try await body($0) }
        }

        private static let size = 10_000_000
        private let time = SystemTimeSource()

        /// What keeps a server busy for nothing (slowloris): each byte comes in time, the head never.
        @Test func aHeadByteByByteHasAnEnd() async throws {
            try await self.withGateway { gateway in
                let client = try Client(gateway.port)
                let start = self.time.now
                let endless = "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Field: " + String(repeating: "a", count: 10_000)
                for byte in endless.utf8 {
                    guard !client.hasInput(within: 20) else { break }
                    try client.send([byte])
                }
                let elapsed = self.time.now - start
                // It may be told, or hung up on; but then it is over.
                let answer = try? client.answer()
                #expect(answer == nil || answer?.status == 408)
                #expect(elapsed >= .milliseconds(900) && elapsed < .seconds(6), "\(elapsed)")
                #expect(try Client.get("/", at: gateway.port).text == "here")
            }
        }

        @Test func aBodyByteByByteIsTakenAndASilentOneIsNot() async throws {
            try await self.withGateway { gateway in
                // Longer than the time limit in all, which is for the time between two bytes.
                let slow = try Client(gateway.port)
                try slow.send("POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 15\r\n\r\n")
                for _ in 0..<15 {
                    #expect(!slow.hasInput(within: 100))
                    try slow.send("a")
                }
                let answer = try slow.answer()
                #expect(answer.status == 200 && answer.body.count == Self.size)
                let silent = try Client(gateway.port)
                try silent.send("POST /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 15\r\n\r\na")
                let start = self.time.now
                let refusal = try? silent.answer()
                #expect(refusal == nil || refusal?.status == 408)
                let elapsed = self.time.now - start
                #expect(elapsed >= .milliseconds(900) && elapsed < .seconds(6), "\(elapsed)")
            }
        }

        /// They take what they are sent, little by little: each gets all of it, none makes the gateway hold it.
        @Test func slowReadersGetEverythingAndCostLittle() async throws {
            try await self.withGateway { gateway in
                #expect(try Client.get("/bulk", at: gateway.port).body.count == Self.size)
                let (descriptors, before) = (try gateway.descriptors, try gateway.residentKilobytes)
                let readers = try (0..<20).map { _ in try Client(gateway.port, receiveBuffer: 65_536) }
                for reader in readers { try reader.send("GET /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") }
                var left = Array(repeating: true, count: readers.count)
                var counts = Array(repeating: 0, count: readers.count)
                // Nobody answers there: who waits for it waits.
                let (silence, port) = try Listener.open()
                defer { Listener.close(silence) }
                let pause = try Client(port)
                var peak = before
                var round = 0
                while left.contains(true) {
                    // The service has sent all that it could, and nobody takes it.
                    if round % 25 == 0 {
                        #expect(!pause.hasInput(within: 100))
                        peak = max(peak, try gateway.residentKilobytes)
                        #expect(try Client.get("/", at: gateway.port).text == "here")
                    }
                    round += 1
                    for index in readers.indices where left[index] && readers[index].hasInput(within: 900) {
                        let count = try readers[index].receive(atMost: 32_768)
                        counts[index] += count
                        left[index] = count > 0 && counts[index] < Self.size
                    }
                }
                #expect(counts.allSatisfy { $0 > Self.size && $0 < Self.size + 1_000 })
                print("20 slow readers of 10 MB: \(peak - before) KB more")
                #expect(peak - before < 30_000)
                // Theirs, and as many kept ones to the service.
                try await gateway.returns(to: descriptors + 2 * readers.count)
            }
        }

        @Test func aReaderThatStopsIsLetGo() async throws {
            try await self.withGateway { gateway in
                #expect(try Client.get("/bulk", at: gateway.port).body.count == Self.size)
                let descriptors = try gateway.descriptors
                let readers = try (0..<10).map { _ in try Client(gateway.port, receiveBuffer: 4_096) }
                for reader in readers { try reader.send("GET /bulk HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") }
                for reader in readers { #expect(reader.hasInput(within: 5_000)) }
                // They read nothing, and keep their sockets: the gateway alone ends this.
                try await gateway.returns(to: descriptors)
                withExtendedLifetime(readers) {}
            }
        }
    }
}
