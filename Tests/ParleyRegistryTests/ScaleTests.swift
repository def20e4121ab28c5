import HTTPTestSupport
import NIOCore
import ParleyCore
import ParleyDiscovery
import ProcessTestSupport
import Testing

@testable import ParleyRegistry

@Suite(.timeLimit(.minutes(5))) struct ScaleTests {
    /// 10,000 instances, and 1,000 who wait for one of their services: one change wakes these and nobody else.
    @Test func oneChangeWakesAThousand() async throws {
        let (instances, watchers, others) = (10_000, 1_000, 50)
        let time = SystemTimeSource()
        try await withRegistry { running in
            var start = time.now
            running.registry.engine.change { machine in
                var effects = RegistryStateMachine.Effects()
                for number in 0..<instances {
                    let record = service("i\(number)", "s\(number % 1_000)", port: 1 + number % 60_000)
                    guard
                        let more = try? machine.register(
                            record,
                            checks: [ttlCheck("c\(number)", of: record.id, .passing)]
                        )
                    else { continue }
                    effects.merge(more)
                }
                return effects
            }
            print("registry: \(instances) instances registered in \(time.now - start)")
            #expect(running.registry.engine.read { $0.services.count } == instances + 1)
            let path = "/v1/health/service/s7"
            let index = try await running.index(path)
            start = time.now
            try await withThrowingTaskGroup(of: (Int, UInt64).self) { group in
                for _ in 0..<watchers {
                    group.addTask { try await self.ask(running.endpoint, "\(path)?index=\(index)&wait=10m") }
                }
                for _ in 0..<others {
                    group.addTask {
                        try await self.ask(running.endpoint, "/v1/health/service/s8?index=\(index + 5)&wait=10m")
                    }
                }
                try #require(try await isEventually(within: .seconds(120)) { running.watchers == watchers + others })
                print("registry: \(watchers + others) wait after \(time.now - start)")
                start = time.now
                try await running.put("/v1/agent/check/fail/c7")
                let changed = running.registry.engine.read { $0.index }
                for _ in 0..<watchers {
                    let (status, woken) = try await group.next() ?? (0, 0)
                    #expect(status == 200 && woken == changed && woken > index)
                }
                print("registry: \(watchers) answered \(time.now - start) after the change")
                #expect(running.watchers == others)
                group.cancelAll()
            }
        }
    }

    /// The answer is long, and many have asked the same: it is made once.
    @Test func aLongAnswerIsShared() async throws {
        // The client has eight connections to one host, and the change needs one.
        let (instances, watchers) = (10_000, 6)
        let time = SystemTimeSource()
        try await withRegistry { running in
            running.registry.engine.change { machine in
                var effects = RegistryStateMachine.Effects()
                for number in 0..<instances {
                    let record = service("i\(number)", "web", port: 1 + number)
                    if let more = try? machine.register(record, checks: []) { effects.merge(more) }
                }
                return effects
            }
            let path = "/v1/health/service/web"
            var start = time.now
            let before = try await running.send("GET", path)
            print("registry: \(before.body.count) bytes made and sent in \(time.now - start)")
            start = time.now
            let again = try await running.send("GET", path)
            print("registry: and once more in \(time.now - start)")
            #expect(again.body == before.body)
            let index = try await running.index(path)
            try await withThrowingTaskGroup(of: [UInt8].self) { group in
                for _ in 0..<watchers {
                    group.addTask { try await running.send("GET", "\(path)?index=\(index)&wait=10m").body }
                }
                try #require(try await isEventually(within: .seconds(60)) { running.watchers == watchers })
                start = time.now
                try await running.put("/v1/agent/service/deregister/i7")
                for try await body in group {
                    #expect(body.count < before.body.count)
                    #expect(!String(decoding: body, as: UTF8.self).contains(#""ID":"i7""#))
                }
                print("registry: \(watchers) long answers after \(time.now - start)")
            }
        }
    }

    /// A connection of its own: a client would share and queue.
    private func ask(_ endpoint: Endpoint, _ path: String) async throws -> (Int, UInt64) {
        try await RawConnection.with(endpoint) { connection in
            try await connection.send("GET \(path) HTTP/1.1\r\nhost: x\r\n\r\n")
            let head = try await connection.read(until: "\r\n\r\n")
            let status = head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            let mark = "X-Consul-Index: "
            let line = head.split(separator: "\r\n").first { $0.hasPrefix(mark) }
            return (status, line.flatMap { UInt64($0.dropFirst(mark.count)) } ?? 0)
        }
    }
}
