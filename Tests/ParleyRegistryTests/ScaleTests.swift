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
                            // One that expired meanwhile would wake those who wait, however busy the machine is.
                            checks: [ttlCheck("c\(number)", of: record.id, .passing, ttl: .seconds(3_600))]
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
            // Of those who have been answered; one who was not says why.
            let answers = Locked<[Result<UInt64, any Error>]>([])
            start = time.now
            try await withThrowingDiscardingTaskGroup { group in
                for number in 0..<watchers + others {
                    // The others know what is still to come.
                    let topic = number < watchers ? "s7?index=\(index)" : "s8?index=\(index + 5)"
                    group.addTask {
                        let answer = await self.ask(running.endpoint, "/v1/health/service/\(topic)&wait=10m")
                        answers.with { $0.append(answer) }
                    }
                }
                try #require(
                    try await isEventually(within: .seconds(120)) {
                        running.watchers == watchers + others || answers.with { !$0.isEmpty }
                    },
                    "\(running.watchers) wait"
                )
                #expect(try answers.with { $0 }.map { try $0.get() } == [], "answered before anything has changed")
                print("registry: \(watchers + others) wait after \(time.now - start)")
                start = time.now
                try await running.put("/v1/agent/check/fail/c7")
                try #require(
                    try await isEventually(within: .seconds(120)) {
                        answers.with { $0.count == watchers || $0.contains { (try? $0.get()) == nil } }
                    },
                    "\(answers.with { $0.count }) were answered"
                )
                #expect(try answers.with { $0 }.allSatisfy { try $0.get() > index })
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

    /// The index of the answer. A connection of its own: a client would share and queue.
    private func ask(_ endpoint: Endpoint, _ path: String) async -> Result<UInt64, any Error> {
        do {
            let index = try await RawConnection.with(endpoint) { connection in
                try await connection.send("GET \(path) HTTP/1.1\r\nhost: x\r\n\r\n")
                let head = try await connection.read(until: "\r\n\r\n")
                let mark = "X-Consul-Index: "
                let line = head.split(separator: "\r\n").first { $0.hasPrefix(mark) }
                try #require(head.hasPrefix("HTTP/1.1 200 "), "\(head)")
                return try #require(line.flatMap { UInt64($0.dropFirst(mark.count)) }, "\(head)")
            }
            return .success(index)
        } catch {
            return .failure(error)
        }
    }
}
