import Foundation
import ParleyCore
import ParleyRESP
import ParleyRedis
import ParleySagas
import ProcessTestSupport
import RedisTestSupport
import Synchronization
import Testing

/// The guide's "saga stuck in an intermediate state" as it is typed: `redis-cli` beside `parley sagas`, on real servers.
@Suite(.timeLimit(.minutes(3)), .serialized) struct RedisSagaTests {
    /// A saga waits for a payment service that is away; somebody sets its state by hand; it is looked at, rejected, set
    /// again, accepted, replayed, and comes to its end.
    @Test(arguments: Engine.all) func theGuidesStory(_ engine: Engine) async throws {
        try await OrderApplication.with(engine) { shop in
            let id = try await shop.startWaiting("123")
            let before = try await shop.hash("saga:order:123")
            #expect(Set(before.keys) == ["state", "order_id", "inventory_reservation", "started_at"])
            #expect(before["state"] == "INVENTORY_RESERVED")
            #expect(before["order_id"] == "123")
            #expect(before["inventory_reservation"] == "res_456")
            #expect(try await shop.rows("list").map { $0["status"] as? String } == ["running"])

            try await shop.cli("HSET", "saga:order:123", "state", "COMPENSATE_INVENTORY")
            let found = try json(try await shop.parley("show", "123", "--json"))
            let saga = try #require(found["saga"] as? [String: Any])
            #expect(saga["status"] as? String == "edited")
            #expect(saga["state"] as? String == "INVENTORY_RESERVED")
            // It is parked: nobody drives it, whenever it would have been due.
            let parked = try #require(try await shop.store.instances(matching: SagaQuery(id: id)).first)
            #expect(parked.status == .stuck && parked.dueAt == nil && parked.owner == nil)
            let shown = try await shop.parley("show", "123")
            #expect(shown.output.contains("state: 'INVENTORY_RESERVED' → 'COMPENSATE_INVENTORY'"), "\(shown)")
            #expect(shown.output.contains("parley sagas accept 123 --reason '…' --dry-run"))
            #expect(shown.output.contains("parley sagas reject 123 --reason '…'"))

            // A dry run changes nothing, and nothing else is done to it before that is decided.
            for verb in ["accept", "reject"] {
                let dry = try json(try await shop.parley(verb, "123", "--reason", "r", "--dry-run", "--json"))
                #expect(dry["dryRun"] as? Bool == true)
                #expect(dry["intervention"] as? String == verb)
            }
            for words in [["replay", "123"], ["set-state", "123", "COMPENSATE_INVENTORY"]] {
                let refused = try await shop.parley(words + ["--reason", "r"])
                #expect(refused.status == 1 && refused.error.contains("parley sagas accept 123"), "\(refused.error)")
            }
            #expect(try await shop.store.instances(matching: SagaQuery(id: id)) == [parked])
            #expect(try await shop.hash("saga:order:123")["state"] == "COMPENSATE_INVENTORY")

            let rejected = try await shop.parley("reject", "123", "--reason", "a slip", "--by", "bob")
            #expect(rejected.status == 0, "\(rejected.error)")
            #expect(rejected.output.contains("state is 'INVENTORY_RESERVED' again, not 'COMPENSATE_INVENTORY'"))
            // What the application shows and the command does not know of is there as well.
            #expect(try await shop.hash("saga:order:123") == before)
            let back = try #require(try await shop.rows("list").first)
            #expect(back["status"] as? String == "running" && back["dueAt"] is String)

            try await shop.cli("HSET", "saga:order:123", "state", "COMPENSATE_INVENTORY")
            let accepted = try await shop.parley("accept", "123", "--reason", "payment is down", "--by", "ann")
            #expect(accepted.status == 0, "\(accepted.error)")
            #expect(accepted.output.contains("INVENTORY_RESERVED → COMPENSATE_INVENTORY"))
            #expect(accepted.output.contains("then release_inventory is called"))
            #expect(accepted.output.contains("reserve_inventory (applied)"))
            var changed = before
            changed["state"] = "COMPENSATE_INVENTORY"
            #expect(try await shop.hash("saga:order:123") == changed)
            let replayed = try await shop.parley("replay", "123", "--reason", "now", "--by", "ann")
            #expect(replayed.status == 0 && replayed.output.contains("release_inventory"), "\(replayed)")

            try await shop.withCoordinator {
                try await eventually("it has ended") { try await shop.rows("list")[0]["status"] as? String == "failed" }
            }
            #expect(shop.participants.effects == ["reserve_inventory": 1, "release_inventory": 1])
            #expect(try await shop.hash("saga:order:123")["state"] == "SAGA_FAILED")
            let report = try json(try await shop.parley("show", "123", "--json"))
            #expect((report["edits"] as? [Any])?.isEmpty == true)
            let interventions = try #require(report["interventions"] as? [[String: Any]])
            #expect(interventions.map { $0["kind"] as? String } == ["resumed", "forced", "resumed"])
            let reasons = interventions.compactMap { $0["because"] as? String }
            #expect(reasons.count == 3)
            #expect(reasons[0].contains("bob: a slip") && reasons[0].contains("saga:order:123"))
            #expect(reasons[1].contains("ann") && reasons[1].contains("payment is down"))
            #expect(reasons[2].contains("ann: now"))
            let text = try await shop.parley("show", "123")
            #expect(text.output.contains("payment is down") && text.output.contains("bob: a slip"))
        }
    }

    /// Edited ones come first, and every key is there for scripts.
    @Test(arguments: Engine.all) func listsAndShapes(_ engine: Engine) async throws {
        try await OrderApplication.with(engine) { shop in
            #expect(try await shop.parley("list").output == "no sagas\n")
            for number in ["1", "2", "3", "4"] { try await shop.startWaiting(number) }
            try await shop.cli("HSET", "saga:order:2", "state", "COMPENSATE_INVENTORY", "note", "call back")
            try await shop.cli("DEL", "saga:order:4")
            let all = try await shop.rows("list")
            #expect(all.map { $0["businessKey"] as? String } == ["2", "4", "1", "3"])
            #expect(all.map { $0["status"] as? String } == ["edited", "edited", "running", "running"])
            let keys: Set<String> = [
                "id", "type", "style", "businessKey", "status", "state", "reason", "dueAt", "createdAt", "updatedAt",
            ]
            #expect(all.allSatisfy { Set($0.keys) == keys })
            #expect((all[0]["reason"] as? String)?.contains("state INVENTORY_RESERVED → COMPENSATE_INVENTORY") == true)
            #expect((all[1]["reason"] as? String)?.contains("nothing") == true)
            func numbers(_ arguments: String...) async throws -> [String?] {
                try await shop.rows(["list"] + arguments).map { $0["businessKey"] as? String }
            }
            #expect(try await numbers("--status", "edited") == ["2", "4"])
            #expect(try await numbers("--status", "stuck") == [])
            #expect(try await numbers("--status", "running") == ["1", "3"])
            #expect(try await numbers("--limit", "1") == ["2"])
            #expect(try await numbers("--limit", "3") == ["2", "4", "1"])
            let text = try await shop.parley("list")
            #expect(text.output.contains("edited") && !text.output.contains("\u{1B}"))

            let report = try json(try await shop.parley("show", "2", "--json"))
            let edit = try #require((report["edits"] as? [[String: Any]])?.first)
            #expect(Set(edit.keys) == ["key", "content", "changes", "storedBy", "storedAt", "noticedAt"])
            #expect(edit["key"] as? String == "saga:order:2" && edit["content"] as? String == "hash")
            let changes = try #require(edit["changes"] as? [[String: Any]])
            #expect(changes.allSatisfy { Set($0.keys) == ["field", "stored", "edited"] })
            #expect(changes.map { $0["field"] as? String } == ["note", "state"])
            #expect(changes[0]["stored"] is NSNull && changes[0]["edited"] as? String == "call back")
            // Only a state can be accepted.
            #expect(report["commands"] as? [String] == ["parley sagas reject 2 --reason '…'"])
            let refused = try await shop.parley("accept", "2", "--reason", "r")
            #expect(refused.status == 1 && refused.error.contains("note"), "\(refused.error)")
            for number in ["2", "4"] {
                let done = try json(try await shop.parley("reject", number, "--reason", "r", "--json"))
                #expect(Set(done.keys) == ["saga", "intervention", "dryRun", "effects", "warnings"])
                #expect(done["dryRun"] as? Bool == false)
            }
            #expect(try await numbers("--status", "edited") == [])
            #expect(try await shop.hash("saga:order:4")["inventory_reservation"] == "res_456")
        }
    }

    @Test func whatCannotBeAcceptedIsSaid() async throws {
        try await OrderApplication.with { shop in
            try await shop.startWaiting("123")
            let none = try await shop.parley("accept", "123", "--reason", "r")
            #expect(none.status == 1 && none.error.contains("nobody has edited"), "\(none.error)")
            #expect(none.error.contains("parley sagas set-state 123"))
            for state in ["COMPENSATE_INVENTROY", "SAGA_COMPLETED"] {
                try await shop.cli("HSET", "saga:order:123", "state", state)
                for flags in [[], ["--dry-run"]] {
                    let refused = try await shop.parley(["accept", "123", "--reason", "r"] + flags)
                    #expect(refused.status == 1)
                    #expect(refused.error.contains("'\(state)'"), "\(refused.error)")
                    #expect(refused.error.contains("COMPENSATE_INVENTORY, INVENTORY_RESERVED, ORDER_CREATED"))
                    #expect(refused.error.contains("parley sagas reject 123"))
                }
                let shown = try json(try await shop.parley("show", "123", "--json"))
                #expect(shown["commands"] as? [String] == ["parley sagas reject 123 --reason '…'"])
            }
            // Something of somebody else's at the key is not written over.
            try await shop.cli("DEL", "saga:order:123")
            try await shop.cli("RPUSH", "saga:order:123", "theirs")
            for verb in ["accept", "reject"] {
                let refused = try await shop.parley(verb, "123", "--reason", "r")
                #expect(refused.status == 1 && refused.error.contains("list"), "\(refused.error)")
            }
            let shown = try await shop.parley("show", "123")
            #expect(shown.output.contains("redis-cli RENAME saga:order:123 saga:order:123:moved"), "\(shown.output)")
            try await shop.cli("RENAME", "saga:order:123", "saga:order:123:moved")
            #expect(try await shop.parley("reject", "123", "--reason", "moved").status == 0)
            #expect(try await shop.hash("saga:order:123")["state"] == "INVENTORY_RESERVED")

            // The end of a saga stays its end.
            let forced = try await shop.parley("set-state", "123", "COMPENSATE_INVENTORY", "--reason", "r")
            #expect(forced.status == 0, "\(forced.error)")
            #expect(try await shop.hash("saga:order:123")["inventory_reservation"] == "res_456")
            try await shop.withCoordinator {
                try await eventually("it has ended") { try await shop.rows("list")[0]["status"] as? String == "failed" }
            }
            try await shop.cli("HSET", "saga:order:123", "state", "ORDER_CREATED")
            let ended = try await shop.parley("accept", "123", "--reason", "r")
            #expect(ended.status == 1 && ended.error.contains("has ended"), "\(ended.error)")
            #expect(ended.error.contains("parley sagas reject 123"))
            #expect(try await shop.rows("list").first?["status"] as? String == "edited")
            let kept = try await shop.parley("reject", "123", "--reason", "r")
            #expect(kept.status == 0 && kept.output.contains("has ended (failed), and stays so"), "\(kept)")
            #expect(try await shop.hash("saga:order:123")["state"] == "SAGA_FAILED")
            let unknown = try await shop.parley("reject", "999", "--reason", "r")
            #expect(unknown.status == 1 && unknown.error.contains("there is no saga '999'"))
        }
    }

    /// Of several people one decides; and one that is killed in the middle has decided, or has not.
    @Test(arguments: Engine.all) func aDecisionIsMadeOnce(_ engine: Engine) async throws {
        try await OrderApplication.with(engine) { shop in
            let id = try await shop.startWaiting("123")
            try await shop.cli("HSET", "saga:order:123", "state", "COMPENSATE_INVENTORY")
            let decisions = try await withThrowingTaskGroup(of: Subprocess.Answer.self) { group in
                for verb in ["accept", "reject", "accept", "reject"] {
                    group.addTask { try await shop.parley(verb, "123", "--reason", "r") }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(decisions.count { $0.status == 0 } == 1)
            for loser in decisions where loser.status != 0 {
                #expect(["nobody has edited", "has changed since"].contains { loser.error.contains($0) }, "\(loser)")
            }
            func decided() async throws -> Int {
                try await shop.store.history(of: id).count { $0.kind == .forced || $0.kind == .resumed }
            }
            #expect(try await decided() == 1)

            try await shop.cli("HSET", "saga:order:123", "state", "INVENTORY_RESERVED", "note", "x")
            _ = try await shop.parley("show", "123")
            try await shop.cli("HDEL", "saga:order:123", "note")
            var isDone = false
            for hundredths in 1...40 where !isDone {
                let answer = try await Subprocess.run(
                    "/usr/bin/timeout",
                    ["-s", "KILL", "0.\(hundredths < 10 ? "0" : "")\(hundredths)", binary]
                        + shop.words(["reject", "123", "--reason", "killed"])
                )
                isDone = answer.status == 0
                #expect(try await decided() <= 2)
                if try await decided() == 2 { break }
            }
            if try await decided() == 1 {
                #expect(try await shop.parley("reject", "123", "--reason", "killed").status == 0)
            }
            #expect(try await decided() == 2)
            #expect(try await shop.rows("list", "--status", "edited").isEmpty)
        }
    }

    @Test func saysWhatIsWrong() async throws {
        let secret = "s3cr3t"
        try await RedisServer.with(options: ["--requirepass", "right"]) { server in
            let place = "127.0.0.1:\(server.port)"
            let wrong = try await parley(["sagas", "list", "--store", "redis://:\(secret)@\(place)"])
            #expect(wrong.status == 1 && wrong.error.contains("password"), "\(wrong.error)")
            #expect(!(wrong.error + wrong.output).contains(secret))
            let none = try await parley(["sagas", "list", "--store", "redis://\(place)"])
            #expect(none.status == 1 && none.error.contains("password"), "\(none.error)")
            #expect(try await parley(["sagas", "list", "--store", "redis://:right@\(place)"]).output == "no sagas\n")
        }
        let away = try await parley(["sagas", "list", "--store", "redis://:\(secret)@127.0.0.1:1"])
        #expect(away.status == 1 && away.error.contains("127.0.0.1:1"), "\(away.error)")
        #expect(!(away.error + away.output).contains(secret))
        for url in ["redis://:\(secret)@host:port", "redis://:\(secret)@h?stream=x", "redis://:\(secret)@h?prefix="] {
            let malformed = try await parley(["sagas", "list", "--store", url])
            #expect(malformed.status == 1)
            #expect(malformed.error.contains("redis://user:password@host:port/database?prefix=NAME"))
            #expect(!malformed.error.contains(secret))
        }
        #expect(try await parley(["sagas", "accept", "1"]).status == 64)
        #expect(try await parley(["sagas", "reject", "1", "--reason", " "]).status == 64)
        for verb in ["accept", "reject"] {
            #expect(try await parley(["sagas", verb, "--help"]).output.contains("EXAMPLES"))
        }
    }

    /// Several stores on one server are told apart by prefix and database.
    @Test func prefixesAndDatabases() async throws {
        try await OrderApplication.with(prefix: "{shop} b", database: 3) { shop in
            try await shop.startWaiting("123")
            #expect(try await shop.rows("list").count == 1)
            for other in ["", "?prefix=%7Bshop%7D%20b", "/3", "/3?prefix=other"] {
                let url = "redis://127.0.0.1:\(shop.server.port)\(other)"
                #expect(try await parley(["sagas", "list", "--store", url]).output == "no sagas\n")
            }
        }
    }
}

// MARK: The application

/// A service that keeps its sagas on Redis and shows them as the guide does; the command knows nothing of it.
private struct OrderApplication: Sendable {
    let server: RedisServer
    let store: RedisSagaStore
    let participants = Participants()
    let url: String

    private static let definition = """
        {"order_saga": {"initial": "ORDER_CREATED", "states": {
          "ORDER_CREATED": {"action": "reserve_inventory", "on_success": "INVENTORY_RESERVED",
            "on_failure": "SAGA_FAILED", "on_unknown": "COMPENSATE_INVENTORY"},
          "INVENTORY_RESERVED": {"action": "process_payment", "on_success": "SAGA_COMPLETED",
            "on_failure": "COMPENSATE_INVENTORY",
            "retry": {"initial_seconds": 3600, "cap_seconds": 3600, "timeout_seconds": 86400}},
          "COMPENSATE_INVENTORY": {"action": "release_inventory", "on_success": "SAGA_FAILED"}}}}
        """

    private static let hashes = SagaHashes([
        SagaHash(
            type: "order_saga",
            name: "order",
            fields: [
                .init("order_id", .input("order_id")),
                .init("inventory_reservation", .output(of: "reserve_inventory", "reservation_id")),
                .init("started_at", .startedAt),
            ]
        )
    ])

    static func with(
        _ engine: Engine = .redis,
        prefix: String = RedisSagaStore.standardPrefix,
        database: Int = 0,
        _ body: (OrderApplication) async throws -> Void
    ) async throws {
        try await RedisServer.with(engine) { server in
            var configuration = server.configuration
            configuration.database = database
            try await withClient(configuration) { client in
                let store = RedisSagaStore(client: client, prefix: prefix, hashes: Self.hashes, logger: quiet)
                let name = try #require(prefix.addingPercentEncoding(withAllowedCharacters: .alphanumerics))
                let isPlain = prefix == RedisSagaStore.standardPrefix
                let url = "redis://127.0.0.1:\(server.port)/\(database)" + (isPlain ? "" : "?prefix=\(name)")
                try await body(OrderApplication(server: server, store: store, url: url))
            }
        }
    }

    /// Sagas are driven for as long as `body` runs.
    func withCoordinator<Value: Sendable>(
        _ body: @Sendable (SagaCoordinator) async throws -> Value
    ) async throws -> Value {
        let definition = try #require(try SagaDefinition.read(json: Array(Self.definition.utf8)).first)
        let coordinator = SagaCoordinator(
            store: self.store,
            transactions: self.store.transactions,
            sagas: [try SagaRegistration(definition, actions: self.participants.actions)],
            logger: quiet
        )
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await coordinator.run() }
            let result: Result<Value, any Error>
            do { result = .success(try await body(coordinator)) } catch { result = .failure(error) }
            group.cancelAll()
            while (try? await group.next()) != nil {}
            return try result.get()
        }
    }

    func withCoordinator(_ body: @Sendable () async throws -> Void) async throws {
        try await self.withCoordinator { _ in try await body() }
    }

    /// A saga that waits for its payment, an hour long.
    @discardableResult
    func startWaiting(_ number: String) async throws -> String {
        try await self.withCoordinator { coordinator in
            let saga = try await coordinator.start(
                "order_saga",
                businessKey: number,
                input: #"{"order_id":"\#(number)"}"#
            )
            try await eventually("it waits for the payment") {
                let now = try await self.store.instances(matching: SagaQuery(id: saga.id)).first
                return now?.state == "INVENTORY_RESERVED" && now?.dueAt != nil
            }
            return saga.id
        }
    }

    // MARK: What a person types

    @discardableResult
    func cli(_ words: String...) async throws -> String {
        let place = ["-p", "\(self.server.port)"]
        let answer = try await Subprocess.run("/usr/bin/redis-cli", place + words)
        #expect(answer.status == 0, "\(answer.error)")
        return answer.output
    }

    func hash(_ key: String) async throws -> [String: String] {
        let lines = try await self.cli("HGETALL", key).split(separator: "\n").map(String.init)
        return Dictionary(
            stride(from: 0, to: lines.count - 1, by: 2).map { (lines[$0], lines[$0 + 1]) },
            uniquingKeysWith: { first, _ in first }
        )
    }

    func words(_ arguments: [String]) -> [String] { ["sagas"] + arguments + ["--store", self.url] }

    func parley(_ arguments: [String]) async throws -> Subprocess.Answer {
        try await Subprocess.run(binary, self.words(arguments))
    }

    func parley(_ arguments: String...) async throws -> Subprocess.Answer { try await self.parley(arguments) }

    func rows(_ arguments: [String]) async throws -> [[String: Any]] {
        let answer = try await self.parley(arguments + ["--json"])
        return try #require(try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [[String: Any]])
    }

    func rows(_ arguments: String...) async throws -> [[String: Any]] { try await self.rows(arguments) }
}

/// Each does its thing once for each key; payment is away.
private final class Participants: Sendable {
    private struct State: Sendable {
        var answered: Set<String> = []
        var effects: [String: Int] = [:]
    }

    private let state = Mutex(State())

    /// How often each thing was really done.
    var effects: [String: Int] { self.state.withLock { $0.effects } }

    var actions: [String: SagaAction] {
        [
            "reserve_inventory": self.participant(#"{"reservation_id":"res_456"}"#),
            "release_inventory": self.participant(nil),
            "process_payment": .remote { _ in .unknown(reason: "connection refused", retry: .notSent) },
        ]
    }

    private func participant(_ output: String?) -> SagaAction {
        .remote { command in
            self.state.withLock { state in
                if state.answered.insert(command.idempotencyKey).inserted {
                    state.effects[command.action, default: 0] += 1
                }
            }
            return .success(output: output)
        }
    }
}
