import Foundation
import Logging
import ParleyCore
import ParleyMessaging
import ParleyOps
import ParleyRabbitMQ
import ParleySQLite
import Testing

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
private let plain = Style(isColoured: false)

/// A bus file of a test's own.
private func withBus(_ body: (SQLiteBackend) async throws -> Void) async throws {
    let folder = NSTemporaryDirectory() + "parley-ops-" + ProcessInfo.processInfo.globallyUniqueString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let backend = try await SQLiteBackend(path: folder + "/bus.db", logger: quiet)
    let result: Result<Void, any Error>
    do { result = .success(try await body(backend)) } catch { result = .failure(error) }
    await backend.close()
    try result.get()
}

@Suite(.timeLimit(.minutes(1))) struct EmbeddedBusTests {
    @Test func tellsWhatEachGroupHas() async throws {
        try await withBus { backend in
            let transport = backend.transport
            try await transport.declare(try ConsumerGroup("mailer", bindings: ["order.*"]))
            try await transport.declare(try ConsumerGroup("idle", bindings: ["nothing"]))
            try await transport.publish(
                (1...4).map { Message(source: "test", type: "order.created", data: Array("\($0)".utf8)) }
            )
            let inspector = EmbeddedBusInspector(transport)
            try await transport.withSubscription(to: "mailer", prefetch: 2) { deliveries in
                let iterator = deliveries.makeAsyncIterator()
                let first = try #require(try await iterator.next())
                try await transport.settle(first.id, .deadLetter(reason: "no address"))
                let second = try #require(try await iterator.next())
                try await transport.settle(second.id, .retry(after: .seconds(1_000)))
                _ = try #require(try await iterator.next())

                let queues = try await inspector.queues()
                #expect(queues.map(\.queue) == ["idle", "mailer"])
                let mailer = try #require(queues.last)
                #expect(mailer.messages == 3)
                #expect(mailer.delayed == 1)
                #expect(mailer.dead == 1)
                #expect(mailer.consumers == 1)
                #expect((mailer.ready ?? 0) + (mailer.unacknowledged ?? 0) == 2)
                #expect(mailer.inRate == nil)
                #expect((mailer.oldestAgeSeconds ?? -1) >= 0)
                #expect(queues.first?.consumers == nil)
                #expect(queues.first?.oldestAgeSeconds == nil)

                let consumer = try #require(try await inspector.consumers().first)
                #expect(consumer.queue == "mailer")
                #expect(consumer.isActive)
                #expect(consumer.unacknowledged == mailer.unacknowledged)
            }
            // Who is gone holds nothing.
            #expect(try await inspector.consumers().isEmpty)

            let replayed = try await inspector.withDeadLetters { store in
                try await store.replay(try await store.list(group: "mailer", after: 0, limit: 10).map(\.id))
            }
            #expect(replayed == 1)
        }
    }
}

@Suite struct BusTextTests {
    @Test func unknownIsADash() {
        let text = BusText.queues(
            [
                BusQueue(queue: "a", messages: 12, ready: 12, consumers: 0, inRate: 1.26, oldestAgeSeconds: 7_300),
                BusQueue(queue: "long-name"),
            ],
            plain
        )
        #expect(
            text == """
                QUEUE      MESSAGES  READY  UNACKED  DELAYED  DEAD  CONSUMERS  IN/S  OUT/S  OLDEST
                a                12     12        -        -     -          0   1.3      -      2h
                long-name         -      -        -        -     -          -     -      -       -
                """
        )
    }

    @Test func isColouredOnlyWhereWanted() {
        let queues = [BusQueue(queue: "a", ready: 1, dead: 2, consumers: 0)]
        #expect(!BusText.queues(queues, plain).contains("\u{1B}"))
        #expect(BusText.queues(queues, Style(isColoured: true)).contains("\u{1B}[31m2\u{1B}[0m"))
    }

    @Test func everyKeyIsInTheJSON() throws {
        let json = String(decoding: try JSONEncoder().encode(BusQueue(queue: "a")), as: UTF8.self)
        for key in ["messages", "ready", "unacknowledged", "delayed", "dead", "consumers", "inRate", "outRate"] {
            #expect(json.contains("\"\(key)\":null"), "\(json)")
        }
    }
}

@Suite struct BusAddressTests {
    @Test(arguments: [
        "", "sqlite:", "sqlite:/no/such.db", "http://u:hunter2@h", "amqp://u:hunter2@h:port/", "amqp://u:%zz@h",
        "redis://hunter2@h",
    ])
    func refusesWhatIsNoBus(url: String) {
        let error = #expect(throws: BusAddressError.self) { try BusAddress(bus: url, management: nil) }
        #expect(error?.description.contains("hunter2") == false)
    }

    @Test func readsRabbitMQ() throws {
        _ = try BusAddress(bus: "amqp://u:p@h:5672/my%2Fhost", management: nil)
        _ = try BusAddress(bus: "amqps://[::1]/x", management: "https://u:p@h")
    }
}

@Suite struct PlanTextTests {
    private func plan(_ write: String) -> TopologyPlan {
        var topology = RabbitMQTopology()
        topology.virtualHosts = [.init("h")]
        topology.permissions = [.init(user: "u", virtualHost: "h")]
        topology.queues = [.init(virtualHost: "h", name: "q", durable: false)]
        var snapshot = TopologySnapshot(operatorName: "guest")
        snapshot.virtualHosts = [.init("h")]
        snapshot.permissions = [
            .init(user: "u", virtualHost: "h", write: write), .init(user: "guest", virtualHost: "h"),
        ]
        snapshot.queues = [.init(.init(virtualHost: "h", name: "q")), .init(.init(virtualHost: "h", name: "other"))]
        return TopologyPlan(for: topology, on: snapshot)
    }

    @Test func showsWhatWouldChange() {
        #expect(
            PlanText.text(self.plan(""), plain) == """
                  ~ permission  h/u
                        write  (empty) → .*
                  ± queue       h/q
                        durable  true → false
                        while it is gone, messages to it are lost; its bindings are made again
                        not allowed: a queue's settings cannot be changed, only replaced with it: allow that with --replace

                Not in the file, and left alone (--prune deletes them):
                  ? queue       h/other

                0 to create, 1 to change, 1 to replace, 0 to delete; 1 not allowed.
                """
        )
    }

    @Test func isJSONForScripts() throws {
        let data = try JSONEncoder().encode(PlanView(self.plan(".*"), done: 0))
        let json = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect(json["replace"] as? Int == 1)
        #expect(json["refused"] as? Int == 1)
        #expect(json["done"] as? Int == 0)
        let step = try #require((json["steps"] as? [[String: Any]])?.first)
        #expect(step["action"] as? String == "replace")
        #expect((step["resource"] as? [String: String])?["vhost"] == "h")
    }
}
