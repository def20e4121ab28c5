import ParleyCore
import ParleyEventStore
import ParleyRESP
import ParleyTestKit
import RedisTestSupport
import Testing

@testable import ParleyRedis

@Suite("Redis's event store", .serialized, .timeLimit(.minutes(3)))
struct EventStoreTests {
    @Test(arguments: OnEngine.all(EventStoreConformance.cases(isDurable: true, isShared: true)))
    func conforms(_ run: OnEngine<EventStoreConformance.Case>) async throws {
        try await RedisServer.withClients(run.engine) { _, clients in
            try await run.testCase.run(
                ConformanceFixture(followsTime: false) { _ in
                    let (client, close) = clients.open()
                    return .init(port: RedisEventStore(client: client), close: close)
                }
            )
        }
    }

    private static func events(_ count: Int) -> [EventData] {
        (0..<count).map { EventData(type: "t", data: [UInt8(truncatingIfNeeded: $0)]) }
    }

    private static func withStore(
        options: [String] = [],
        _ body: (RedisServer, RESPClient, RedisEventStore, StreamName) async throws -> Void
    ) async throws {
        try await RedisServer.withClients(options: options) { server, clients in
            let (client, _) = clients.open()
            try await body(server, client, RedisEventStore(client: client), try #require(StreamName("order-1")))
        }
    }

    /// The server dies again and again while appenders repeat what they do not know the outcome of.
    @Test(arguments: Engine.all) func nothingIsLostOrDoubledWhenTheServerDies(_ engine: Engine) async throws {
        try await RedisServer.withClients(engine, options: ["--appendonly", "yes", "--appendfsync", "always"]) {
            server,
            clients in
            let total = 40
            let done = Guarded(0)
            let store = RedisEventStore(client: clients.open().client)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<4 {
                    let stream = try #require(StreamName("s-\(worker)"))
                    group.addTask {
                        for number in 0..<total {
                            let events = Self.events(2)
                            let expected = ExpectedVersion.exactly(Int64(number * 2))
                            while true {
                                do {
                                    let result = try await store.append(events, to: stream, expecting: expected)
                                    #expect(result.firstVersion == Int64(number * 2 + 1))
                                    break
                                } catch let error as EventStoreError where error.code == .unavailable {
                                    await Task.yield()
                                }
                            }
                            done.withLock { $0 += 1 }
                        }
                    }
                }
                group.addTask {
                    for round in 1...3 {
                        try await eventually("progress") { done.current >= round * 30 }
                        try await server.kill()
                        try await server.start()
                    }
                }
                try await group.waitForAll()
            }
            var seen: [RecordedEvent] = []
            for try await event in store.subscribe(after: .start) {
                seen.append(event)
                if seen.count == total * 8 { break }
            }
            #expect(seen.map(\.position.number) == Array(1...Int64(total * 8)))
            #expect(Set(seen.map(\.id)).count == total * 8)
            #expect(try await store.head().number == Int64(total * 8))
        }
    }

    @Test func aServerThatIsAwayIsAnErrorThatSaysNothingWasSent() async throws {
        try await Self.withStore { server, client, store, stream in
            _ = try await store.append(Self.events(1), to: stream, expecting: .noStream)
            try await server.kill()
            let context = RequestContext(
                requestID: "r",
                deadline: Deadline(after: .milliseconds(200), on: SystemTimeSource())
            )
            let error = try await #require(throws: EventStoreError.self) {
                try await context.withCurrent {
                    _ = try await store.append(Self.events(1), to: stream, expecting: .any)
                }
            }
            #expect(error.code == .unavailable)
            #expect(error.retry != .permanent)
        }
    }

    @Test func aKeyOfAnotherProgramIsNamedAndNothingIsWritten() async throws {
        let keys = ["{parley-events}:all", "{parley-events}:stream:order-1", "{parley-events}:ids:order-1"]
        try await Self.withStore { _, client, store, stream in
            for key in keys {
                try await client.send(["FLUSHALL"])
                try await client.set(key, "theirs")
                let error = try await #require(throws: EventStoreError.self) {
                    _ = try await store.append(Self.events(2), to: stream, expecting: .any)
                }
                #expect(error.code == .corrupt)
                #expect(try await client.send(["DBSIZE"]).integer == 1)
            }
        }
    }

    @Test func whatIsTrimmedIsMissedAndItsPositionsAreNotUsedAgain() async throws {
        try await Self.withStore { _, client, store, stream in
            _ = try await store.append(Self.events(3), to: stream, expecting: .noStream)
            try await client.send(["XTRIM", "{parley-events}:all", "MAXLEN", 0])
            let error = try await #require(throws: EventStoreError.self) {
                _ = try await store.read(stream, from: 1, limit: 10)
            }
            #expect(error.code == .corrupt)
            let next = try await store.append(Self.events(1), to: stream, expecting: .exactly(3))
            #expect(next.positions == [GlobalPosition(4)])
        }
    }

    @Test func anEntryOfAnotherProgramIsNamed() async throws {
        try await Self.withStore { _, client, store, stream in
            try await client.send(["XADD", "{parley-events}:all", "1-0", "hello", "world"])
            let error = try await #require(throws: EventStoreError.self) {
                _ = try await store.readAll(after: .start, limit: 10)
            }
            #expect(error.code == .corrupt)
            #expect(error.message.contains("1-0"))
            let next = try await store.append(Self.events(1), to: stream, expecting: .noStream)
            #expect(next.positions == [GlobalPosition(2)])
        }
    }

    @Test func aServerWithoutMemoryStoresNothingAndSaysSo() async throws {
        try await Self.withStore { _, client, store, stream in
            try await client.send(["CONFIG", "SET", "maxmemory", "1"])
            let error = try await #require(throws: EventStoreError.self) {
                _ = try await store.append(Self.events(2), to: stream, expecting: .noStream)
            }
            #expect(error.code == .unavailable)
            try await client.send(["CONFIG", "SET", "maxmemory", "0"])
            #expect(try await client.send(["DBSIZE"]).integer == 0)
            #expect(try await store.append(Self.events(2), to: stream, expecting: .noStream).lastVersion == 2)
        }
    }

    @Test func twoPrefixesAreTwoStores() async throws {
        try await Self.withStore { _, client, store, stream in
            let other = RedisEventStore(client: client, prefix: "{other}")
            _ = try await store.append(Self.events(2), to: stream, expecting: .noStream)
            #expect(try await other.head() == .start)
            #expect(try await other.append(Self.events(1), to: stream, expecting: .noStream).lastVersion == 1)
        }
    }
}
