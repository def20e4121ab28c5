import ParleyCore
import ParleyDiscovery
import ParleyTestKit
import Testing

@testable import ParleyConsul

/// What a watch has said so far, in short.
private func short(_ event: ConsulWatchEvent<[Consul.Instance]>?) -> String {
    switch event {
    case .answer(let answer): answer.value.map(\.service.id).joined(separator: ",") + "@\(answer.index)"
    case .failure(let error): "\(error.code)"
    case nil: "over"
    }
}

@Suite(.timeLimit(.minutes(2))) struct ConsulWatchTests {
    /// The events of a watch on an agent that gives these answers in turn, then none.
    private func events(_ count: Int, _ replies: [ScriptedAgent.Reply]) async throws -> ([String], [UInt64?]) {
        try await ScriptedAgent.with { request in
            request.count <= replies.count ? replies[request.count - 1] : .hang
        } _: { endpoint, agent in
            try await withClient(endpoint) {
                $0.maximumAnswerBytes = 1 << 20
            } _: { client in
                var iterator = client.watch(.instances(of: "web"), quickWatch()).makeAsyncIterator()
                var events: [String] = []
                for _ in 0..<count { events.append(short(await iterator.next())) }
                return (events, agent.requests.map(\.index))
            }
        }
    }

    @Test func indexesGoBack() async throws {
        let (events, asked) = try await self.events(
            4,
            [
                .found(entries("a"), index: 90), .found(entries("a", "b"), index: 91), .found(entries("b"), index: 4),
                .found(entries("b"), index: 4),
            ]
        )
        #expect(events == ["a@90", "a,b@91", "b@4", "b@4"])
        #expect(asked == [nil, 90, 91, nil])
    }

    @Test func indexZeroIsOne() async throws {
        let (events, asked) = try await self.events(
            3,
            [.found(entries("a"), index: 0), .answer(200, entries("b")), .found(entries("c"), index: 3)]
        )
        #expect(events == ["a@0", "b@0", "c@3"])
        #expect(asked == [nil, 1, 1])
    }

    @Test func failuresKeepTheIndexAndEndNothing() async throws {
        let (events, asked) = try await self.events(
            9,
            [
                .found(entries("a"), index: 5), .answer(500, "No cluster leader"), .cut("["), .drop,
                .answer(200, "<html>"), .flood, .answer(403, "Permission denied"),
                .found("[]", index: 3, [("X-Consul-KnownLeader", "false")]), .found(entries("a"), index: 5),
                .found("[]", index: 6),
            ]
        )
        #expect(
            events == [
                "a@5", "unavailable", "unavailable", "unavailable", "invalidAnswer", "answerTooLarge", "forbidden",
                "unavailable", "a@5",
            ]
        )
        #expect(asked == [nil, 5, 5, 5, 5, 5, 5, 5, 5])
    }

    @Test func aServerThatLagsIsFollowedByTheLeader() async throws {
        try await ScriptedAgent.with { request in
            switch request.count {
            case 1: .found(entries("a"), index: 5)
            case 2: .found("[]", index: 2, [("X-Consul-LastContact", "31000")])
            case 3: .found(entries("b"), index: 6)
            default: .hang
            }
        } _: { endpoint, agent in
            try await withClient(endpoint) { client in
                let question = ConsulQuestion.instances(of: "web", .init(consistency: .stale))
                var iterator = client.watch(question, quickWatch()).makeAsyncIterator()
                #expect(short(await iterator.next()) == "a@5")
                #expect(short(await iterator.next()) == "unavailable")
                #expect(short(await iterator.next()) == "b@6")
                #expect(agent.requests.map { $0.query.contains("stale") } == [true, true, false])
            }
        }
    }

    @Test func anAnswerThatHangsEndsAfterTheWaitAndALittle() async throws {
        let clock = ManualClock()
        try await ScriptedAgent.with { request in
            request.count == 1 ? .found(entries("a"), index: 5) : .hang
        } _: { endpoint, agent in
            try await withClient(endpoint, time: clock) { client in
                var iterator = client.watch(.instances(of: "web")).makeAsyncIterator()
                #expect(short(await iterator.next()) == "a@5")
                let watch = iterator
                async let second = { () async -> String in
                    var iterator = watch
                    return short(await iterator.next())
                }()
                try await agent.wait { $0.requests.count == 2 }
                #expect(agent.requests.last?.query == "index=5&wait=55s")
                await clock.waitForSleepers(1)
                // 55 s, a sixteenth more, and the time that every request has.
                clock.advance(by: .milliseconds(55_000 + 3_437 + 9_000))
                #expect(clock.sleepers == 1)
                clock.advance(by: .milliseconds(1_001))
                #expect(await second == "timedOut")
            }
        }
    }

    @Test func changesAreSeenAtOnceAndTheEndIsTheTasks() async throws {
        try await withRegistry { endpoint in
            try await withClient(endpoint) { client in
                var iterator = client.watch(.services(), quickWatch()).makeAsyncIterator()
                func names(_ event: ConsulWatchEvent<[String: [String]]>?) -> [String]? {
                    if case .answer(let answer) = event { answer.value.keys.sorted() } else { nil }
                }
                #expect(names(await iterator.next()) == ["consul"])
                try await client.register(Consul.Registration(name: "web", port: 1))
                #expect(names(await iterator.next()) == ["consul", "web"])
                let watch = iterator
                let isOver = await withTaskGroup(of: Bool.self) { group in
                    group.addTask {
                        var iterator = watch
                        return await iterator.next() == nil
                    }
                    group.cancelAll()
                    return await group.next() ?? false
                }
                #expect(isOver)
                await client.shutdown()
                let last = await iterator.next()
                guard case .failure(let error) = last else {
                    Issue.record("\(String(describing: last))")
                    return
                }
                #expect(error.code == .closed)
                #expect(await iterator.next() == nil)
            }
        }
    }
}
