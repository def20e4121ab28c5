import Logging
import ParleyCore
import ParleyRESP
import ParleySagas
import ParleyTestKit
import RedisTestSupport
import Testing

@testable import ParleyRedis

extension RealTime {
    @Suite("Redis's saga store", .serialized, .timeLimit(.minutes(3)))
    struct SagaStoreTests {
        @Test(arguments: OnEngine.all(SagaStoreConformance.cases(isShared: true, followsTime: false)))
        func conforms(_ run: OnEngine<SagaStoreConformance.Case>) async throws {
            try await RedisServer.withClients(run.engine) { _, clients in
                try await run.testCase.run(
                    ConformanceFixture(followsTime: false) { _ in
                        let (client, close) = clients.open()
                        let store = RedisSagaStore(client: client, logger: quiet)
                        return .init(port: store, transactions: store.transactions, close: close)
                    }
                )
            }
        }

        // MARK: Faults

        @Test(arguments: Engine.all) func theServerDiesWhileSagasAreDriven(_ engine: Engine) async throws {
            try await SagaShop.with(
                engine,
                options: ["--appendonly", "yes", "--appendfsync", "always"],
                coordinators: 2
            ) { shop in
                let total = 30
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        for number in 1...total {
                            // A start whose outcome is unknown is simply made again.
                            while (try? await shop.start("\(number)")) == nil { await Task.yield() }
                        }
                    }
                    group.addTask {
                        for round in 1...3 {
                            try await eventually("progress") { shop.shop.calls(of: "process_payment") >= round * 7 }
                            try await shop.server.kill()
                            try await shop.server.start()
                        }
                    }
                    try await group.waitForAll()
                }
                try await Self.allComplete(shop, total)
            }
        }

        /// Replies get lost again and again: what was committed is neither done twice nor left without a driver.
        @Test(arguments: Engine.all) func repliesGetLost(_ engine: Engine) async throws {
            try await SagaShop.with(engine) { shop in
                let total = 40
                try await RESPConnection.withConnection(shop.server.configuration) { killer in
                    try await withThrowingTaskGroup(of: Void.self) { group in
                        for worker in 0..<4 {
                            group.addTask {
                                for number in 1...(total / 4) {
                                    while (try? await shop.start("\(worker)-\(number)")) == nil { await Task.yield() }
                                }
                            }
                        }
                        group.addTask {
                            for round in 1...12 {
                                try await eventually("progress") {
                                    shop.shop.calls(of: "reserve_inventory") >= round * 3
                                }
                                try await killer.send(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"])
                            }
                        }
                        try await group.waitForAll()
                    }
                }
                try await Self.allComplete(shop, total)
            }
        }

        /// The server takes the commit and gets to it after the client has given up on the reply, again and again.
        @Test(arguments: Engine.all) func aCommitWhoseReplyIsLostIsMadeOnce(_ engine: Engine) async throws {
            try await RedisServer.withClients(engine) { _, clients in
                let store = RedisSagaStore(
                    client: clients.open { $0.commandTimeout = .milliseconds(100) }.client,
                    logger: quiet
                )
                let saga = Self.instance("1", owner: "w")
                try await Self.create(saga, store)
                let next = Self.moved(saga)
                try await clients.open().client.send(["CLIENT", "PAUSE", "700", "ALL"])
                #expect(try await store.commit(saga) { _ in next } == .written(next.instance))
                #expect(try await store.instances(matching: SagaQuery(id: "1")) == [next.instance])
                #expect(try await store.history(of: "1").count == 1)
            }
        }

        /// Once somebody else drives the saga, a commit that is asked for again must not be taken for made.
        @Test func aTakeOverForgetsTheLastCommit() async throws {
            try await Self.withStore { client, store in
                let saga = Self.instance("1", owner: "ghost")
                try await Self.create(saga, store)
                let next = Self.moved(saga)
                #expect(try await store.commit(saga) { _ in next } == .written(next.instance))
                #expect(try await client.send(["HEXISTS", "{parley-sagas}:saga:1", "token"]).integer == 1)
                #expect(try await store.claim(owner: "w", limit: 1).instances.count == 1)
                #expect(try await client.send(["HEXISTS", "{parley-sagas}:saga:1", "token"]).integer == 0)
            }
        }

        @Test func theCallersDeadlineEndsTheWaitForALostReply() async throws {
            try await RedisServer.withClients { _, clients in
                let store = RedisSagaStore(client: clients.open().client, logger: quiet)
                let saga = Self.instance("1", owner: "w")
                try await Self.create(saga, store)
                let next = Self.moved(saga)
                try await clients.open().client.send(["CLIENT", "PAUSE", "3000", "ALL"])
                let began = SystemTimeSource().now
                let deadline = Deadline(after: .milliseconds(300), on: SystemTimeSource())
                let error = try await #require(throws: RESPError.self) {
                    try await RequestContext(requestID: "r", deadline: deadline).withCurrent {
                        _ = try await store.commit(saga) { _ in next }
                    }
                }
                #expect(error.retry == .mayHaveRun)
                #expect(began.duration(to: SystemTimeSource().now) < .seconds(2))
            }
        }

        /// The last try never left; the first may have been made.
        @Test func whatIsNotKnownIsSaidWhenTheServerStaysAway() async throws {
            try await RedisServer.withClients { server, clients in
                let store = RedisSagaStore(
                    client: clients.open { $0.commandTimeout = .milliseconds(100) }.client,
                    logger: quiet
                )
                let saga = Self.instance("1", owner: "w")
                try await Self.create(saga, store)
                let next = Self.moved(saga)
                try await clients.open().client.send(["CLIENT", "PAUSE", "60000", "ALL"])
                let deadline = Deadline(after: .seconds(2), on: SystemTimeSource())
                let isUnderWay = Signal()
                let error = try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        await isUnderWay.wait(after: 0, until: nil, on: SystemTimeSource())
                        try await server.kill()
                    }
                    let error = try await #require(throws: RESPError.self) {
                        try await RequestContext(requestID: "r", deadline: deadline).withCurrent {
                            _ = try await store.commit(saga) { _ in
                                isUnderWay.ring()
                                return next
                            }
                        }
                    }
                    try await group.waitForAll()
                    return error
                }
                #expect(error.retry == .mayHaveRun, "\(error)")
            }
        }

        @Test(arguments: Engine.all) func aStartWhoseReplyIsLostIsDrivenAllTheSame(_ engine: Engine) async throws {
            try await SagaShop.with(engine, commandTimeout: .milliseconds(200)) { shop in
                // The lease is fresh now, so that the next start asks for nothing but its own commit.
                try await shop.start("1")
                try await shop.client.send(["CLIENT", "PAUSE", "700", "ALL"])
                let error = try await #require(throws: RESPError.self) { try await shop.start("2") }
                #expect(error.retry == .mayHaveRun)
                // What a caller does. The saga that is there already is not started by that, so it must be found.
                while (try? await shop.start("2")) == nil { await Task.yield() }
                try await eventually("both have completed") {
                    let query = SagaQuery(status: .completed)
                    return (try? await shop.store.instances(matching: query).count) == 2
                }
                #expect(try await shop.confirmed() == 2)
            }
        }

        private static func moved(_ saga: SagaInstance) -> SagaTransition {
            var next = saga
            next.version += 1
            next.state = "B"
            let event = SagaEvent(
                version: next.version,
                at: next.updatedAt,
                kind: .succeeded,
                state: "A",
                nextState: "B",
                action: "a",
                attempt: 1,
                detail: nil
            )
            return SagaTransition(instance: next, events: [event])
        }

        private static func allComplete(_ shop: SagaShop, _ total: Int) async throws {
            try await eventually("all have completed") {
                let query = SagaQuery(status: .completed, limit: 1_000)
                return (try? await shop.store.instances(matching: query).count) == total
            }
            #expect(shop.shop.books == Shop.Books(reserved: total, paid: total))
            #expect(try await shop.confirmed() == total)
            for saga in try await shop.store.instances(matching: SagaQuery(limit: 1_000)) {
                let hash = try await shop.hash("saga:order:\(saga.businessKey)")
                #expect(hash["state"] == "SAGA_COMPLETED")
                let kinds = try await shop.store.history(of: saga.id).map(\.kind)
                #expect(kinds.count { $0 == .succeeded } == 3)
                #expect(kinds.count { $0 == .started } == 1)
            }
            #expect(try await shop.store.edits().isEmpty)
        }

        @Test func aSagaThatCannotBeReadIsPutAsideAndInNobodysWay() async throws {
            try await Self.withStore { client, store in
                for id in ["1", "2", "3"] { try await Self.create(Self.instance(id), store) }
                try await client.send(["HSET", "{parley-sagas}:saga:1", "effects", "["])
                try await client.send(["HSET", "{parley-sagas}:saga:2", "version", "many"])
                try await Self.create(Self.instance("4"), store)
                try await client.set("{parley-sagas}:saga:4", "no hash")
                #expect(try await store.claim(owner: "w", limit: 10).instances.map(\.id) == ["3"])
                #expect(try await store.claim(owner: "w2", limit: 10).instances.map(\.id) == ["3"])
                let error = try await #require(throws: SagaError.self) {
                    _ = try await store.instances(matching: SagaQuery(status: .stuck))
                }
                #expect(error.code == .corrupt)
                #expect(error.message.contains("{parley-sagas}:saga:"))
            }
        }

        /// What a coordinator does after an error: a broken saga must not keep it from the others for ever.
        @Test func aBrokenSagaDoesNotHideTheOthersOfItsOwner() async throws {
            try await Self.withStore { client, store in
                try await store.renew(owner: "w", lease: .seconds(60))
                for id in ["1", "2"] { try await Self.create(Self.instance(id, owner: "w"), store) }
                try await client.send(["HSET", "{parley-sagas}:saga:1", "effects", "["])
                try await client.send(["HSET", "saga:order:1", "note", "x"])
                try await client.send(["HSET", "saga:order:2", "note", "x"])
                #expect(try await store.edits().map(\.saga.id) == ["2"])
                try await store.reject(try #require(try await store.edits().first), by: "bob", because: "so")
                try await Self.create(Self.instance("3", owner: "w"), store)
                #expect(try await store.instances(matching: SagaQuery(owner: "w")).map(\.id) == ["3"])
            }
        }

        @Test func brokenSagasOfAnOwnerArePutAside() async throws {
            try await Self.withStore { client, store in
                for id in ["1", "2"] { try await Self.create(Self.instance(id, owner: "w"), store) }
                try await client.send(["HSET", "{parley-sagas}:saga:1", "effects", "["])
                #expect(try await store.instances(matching: SagaQuery(owner: "w")).map(\.id) == ["2"])
                #expect(try await client.send(["SMEMBERS", "{parley-sagas}:owned:w"]).elements?.count == 1)
            }
        }

        /// Either a step is made whole, with its place in every index and its hash, or not at all.
        @Test(arguments: Engine.all) func aServerWithoutMemoryMakesNoHalves(_ engine: Engine) async throws {
            try await RedisServer.withClients(engine) { _, clients in
                let client = clients.open().client
                let store = RedisSagaStore(client: client, logger: quiet)
                let saga = Self.instance("1", owner: "w")
                try await Self.create(saga, store)
                try await client.send(["CONFIG", "SET", "maxmemory", "1"])
                let keys = try await client.send(["DBSIZE"]).integer
                let error = try await #require(throws: RESPError.self) {
                    try await Self.create(Self.instance("2"), store)
                }
                #expect(error.code == .outOfMemory)
                #expect(try await client.send(["DBSIZE"]).integer == keys)
                let next = Self.moved(saga)
                let outcome = try? await store.commit(saga) { _ in next }
                try await client.send(["CONFIG", "SET", "maxmemory", "0"])
                let stored = try #require(try await store.instances(matching: SagaQuery(status: .running)).first)
                #expect(stored == (outcome == .written(next.instance) ? next.instance : saga))
                #expect(try await store.instances(matching: SagaQuery(owner: "w")) == [stored])
                #expect(try await store.edits().isEmpty)
                #expect(try await client.send(["HGET", "saga:order:1", "state"]).string == stored.state)
            }
        }

        @Test func aSagaThatWasDeletedByHandIsForgotten() async throws {
            try await Self.withStore { client, store in
                for (id, owner) in [("1", nil), ("2", "ghost")] {
                    try await Self.create(Self.instance(id, owner: owner), store)
                }
                try await client.send(["DEL", "{parley-sagas}:saga:1", "{parley-sagas}:saga:2"])
                let claim = try await store.claim(owner: "w", limit: 10)
                #expect(claim == SagaClaim(instances: [], nextDue: nil))
                #expect(try await store.instances(matching: SagaQuery()).isEmpty)
            }
        }

        @Test func leasesOfTheDeadLeaveNothingBehind() async throws {
            try await Self.withStore { client, store in
                try await store.renew(owner: "w", lease: .seconds(5))
                let left = try #require(try await client.send(["PTTL", "{parley-sagas}:lease:w"]).integer)
                #expect((60_000...65_000).contains(left))
                try await store.renew(owner: "w", lease: .zero)
                #expect(try await client.send(["EXISTS", "{parley-sagas}:lease:w"]).integer == 0)
            }
        }

        // MARK: Business rows

        private struct Oops: Error {}

        @Test func aSagaAndRowsOfTheApplicationCommitTogether() async throws {
            try await Self.withStore { client, store in
                for fails in [true, false] {
                    let saga = Self.instance("1")
                    try? await store.transactions.withTransaction { transaction in
                        let redis = try #require(transaction as? RedisTransaction)
                        try redis.setFields(["total": Array("1299".utf8)], in: "order:1")
                        _ = try store.create(saga, definition: "{}", events: [], in: transaction)
                        if fails { throw Oops() }
                    }
                    let wanted: Int64 = fails ? 0 : 1
                    let rows = try await client.send(["EXISTS", "order:1"]).integer
                    let sagas = try await store.instances(matching: SagaQuery(id: "1"))
                    #expect(rows == wanted)
                    #expect(sagas.count == Int(wanted))
                }
            }
        }

        @Test func aTransactionOfAnotherBackendIsRefused() async throws {
            final class Foreign: Transaction {
                func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int { 0 }
                func query(_ sql: String, _ arguments: [SQLValue]) throws -> [[SQLValue]] { [] }
            }
            try await Self.withStore { _, store in
                let error = #expect(throws: RedisTransactionError.self) {
                    _ = try store.create(Self.instance("1"), definition: "", events: [], in: Foreign())
                }
                #expect(error?.code == .foreignTransaction)
            }
        }

        // MARK: The guide's hash

        @Test(arguments: Engine.all) func theHashFollowsTheSaga(_ engine: Engine) async throws {
            try await SagaShop.with(engine) { shop in
                let saga = try await shop.startedInPayment()
                #expect(
                    try await shop.hash() == [
                        "state": "INVENTORY_RESERVED", "order_id": "123", "inventory_reservation": "res_456",
                        "started_at": saga.createdAt.description,
                    ]
                )
                shop.shop.open("process_payment")
                try await shop.comes(saga.id, to: .completed)
                #expect(try await shop.hash()["state"] == "SAGA_COMPLETED")
                #expect(try await shop.store.edits().isEmpty)
                // Cleared away after its end: that is no edit.
                try await shop.edit("DEL", "saga:order:123")
                #expect(try await shop.store.edits().isEmpty)
            }
        }

        @Test func aKeyThatIsTakenRefusesTheSagaAndIsLeftAlone() async throws {
            try await SagaShop.with { shop in
                try await shop.edit("HSET", "saga:order:123", "theirs", "1")
                let error = try await #require(throws: SagaError.self) { try await shop.start("123") }
                #expect(error.code == .conflict)
                #expect(error.message.contains("saga:order:123"))
                #expect(try await shop.hash() == ["theirs": "1"])
                #expect(try await shop.store.instances(matching: SagaQuery()).isEmpty)
                try await shop.edit("DEL", "saga:order:123")
                let saga = try await shop.start("123")
                try await shop.comes(saga.id, to: .completed)
            }
        }

        @Test func ofTwoSagasWithOneHashTheSecondIsRefused() async throws {
            try await Self.withStore { client, store in
                var second = Self.instance("2")
                (second.type, second.businessKey) = ("order_saga", "1")
                let other = second
                // In one transaction, and one after the other.
                for isAlone in [false, true] {
                    let error = try await #require(throws: SagaError.self) {
                        try await store.transactions.withTransaction { transaction in
                            if !isAlone {
                                _ = try store.create(Self.instance("1"), definition: "", events: [], in: transaction)
                            }
                            _ = try store.create(other, definition: "", events: [], in: transaction)
                        }
                    }
                    #expect(error.code == .conflict)
                    #expect(error.message.contains("saga:order:1"))
                    let stored = try await store.instances(matching: SagaQuery()).map(\.id)
                    #expect(stored == (isAlone ? ["1"] : []))
                    if !isAlone { try await Self.create(Self.instance("1"), store) }
                }
            }
        }

        @Test func anIdThatIsTakenIsRefused() async throws {
            try await Self.withStore { client, store in
                try await Self.create(Self.instance("1"), store)
                var same = Self.instance("1")
                same.businessKey = "other"
                let second = same
                let error = try await #require(throws: SagaError.self) { try await Self.create(second, store) }
                #expect(error.code == .conflict)
                #expect(try await store.instances(matching: SagaQuery(businessKey: "other")).isEmpty)
            }
        }

        @Test func hashesAreNamedAndFilledAsConfigured() throws {
            let now = Timestamp(microseconds: 1_767_225_600_000_000)
            var saga = SagaInstance(
                id: "i",
                type: "order_saga",
                businessKey: "7",
                definition: "d",
                state: "A",
                enteredAt: now,
                dueAt: nil,
                input: #"{"n":3,"f":1.5,"b":true,"s":"x","o":{}}"#,
                createdAt: now,
                updatedAt: now
            )
            saga.effects = [
                SagaEffect(step: "a", action: "a", status: .applied, output: #""text""#),
                SagaEffect(step: "b", action: "b", status: .undone, output: #""gone""#),
                SagaEffect(step: "c", action: "c", status: .applied, output: "no json"),
            ]
            let standard = try #require(SagaHashes().hash(of: "order_saga"))
            #expect(standard.key(of: saga, prefix: "saga:") == "saga:order:7")
            #expect(Self.texts(standard.values(of: saga)) == ["state": "A", "order_id": "7", "started_at": "\(now)"])
            let names = ["n", "f", "b", "s", "o", "none"]
            let fields =
                names.map { SagaHash.Field($0, .input($0)) }
                + ["a", "b", "c", "d"].map { SagaHash.Field("out-\($0)", .output(of: $0)) }
                + [.init("state", .id), .init("id", .id), .init("status", .status), .init("reason", .reason)]
            let own = SagaHash(type: "order_saga", name: "o", fields: fields)
            #expect(
                Self.texts(own.values(of: saga)) == [
                    "state": "A", "n": "3", "f": "1.5", "b": "true", "s": "x", "out-a": "text", "id": "i",
                    "status": "running",
                ]
            )
            saga.input = #"{"s":"\#(String(repeating: "ü", count: 5_000))"}"#
            #expect(own.values(of: saga)["s"]?.count == SagaHash.maximumValueBytes)
            #expect(SagaHashes.none.hash(of: "order_saga") == nil)
            #expect(SagaHashes([own], includesOthers: false).hash(of: "order_saga") == own)
        }

        /// What a hash shows is in the saga's record, for tools that do not know the application.
        @Test func whatAHashShowsCanBeReadAgain() throws {
            let sources: [SagaHash.Source] = [
                .businessKey, .id, .status, .startedAt, .updatedAt, .reason, .input("a b"), .output(of: "x"),
                .output(of: "x", "\"y\""),
            ]
            let fields = sources.enumerated().map { SagaHash.Field("f\($0.offset)", $0.element) }
            let own = SagaHash(type: "order_saga", name: "order", fields: fields)
            let shown = try #require(own.shown)
            #expect(SagaHash(type: "order_saga", shown: shown) == own)
            #expect(SagaHash.standard(for: "order_saga").shown == nil)
            #expect(SagaHash(type: "order_saga", shown: nil) == .standard(for: "order_saga"))
            for garbage in ["", "{}", "[1]", "[[]]", #"[["f"]]"#, #"[["f","newer"]]"#, #"[["f","input"]]"#] {
                #expect(SagaHash(type: "order_saga", shown: garbage) == nil, "\(garbage)")
            }
            let many = (0..<200).map { SagaHash.Field("f\($0)", .id) }
            let whole = try #require(SagaHash(type: "t", name: "t", fields: many).shown)
            #expect(SagaHash(type: "t", shown: whole)?.fields.count == SagaHash.maximumFields)
        }

        private static func texts(_ fields: [String: [UInt8]]) -> [String: String] {
            fields.mapValues { String(decoding: $0, as: UTF8.self) }
        }

        @Test func withoutHashesThereAreNone() async throws {
            try await RedisServer.withClients { _, clients in
                let client = clients.open().client
                let store = RedisSagaStore(client: client, hashes: .none, logger: quiet)
                try await Self.create(Self.instance("1"), store)
                #expect(try await client.send(["KEYS", "saga:*"]).elements?.isEmpty == true)
                #expect(try await store.claim(owner: "w", limit: 1).instances.count == 1)
                #expect(try await store.edits().isEmpty)
            }
        }

        // MARK: -

        private static func withStore(_ body: (RESPClient, RedisSagaStore) async throws -> Void) async throws {
            try await RedisServer.withClients { _, clients in
                let client = clients.open().client
                try await body(client, RedisSagaStore(client: client, logger: quiet))
            }
        }

        private static func instance(_ id: String, owner: String? = nil) -> SagaInstance {
            let now = SystemTimeSource().wallTime
            return SagaInstance(
                id: id,
                type: "order",
                businessKey: id,
                definition: "f",
                state: "A",
                owner: owner,
                enteredAt: now,
                dueAt: owner == nil ? now : nil,
                input: "{}",
                createdAt: now,
                updatedAt: now
            )
        }

        private static func create(_ saga: SagaInstance, _ store: RedisSagaStore) async throws {
            let existing = try await store.transactions.withTransaction {
                try store.create(saga, definition: "{}", events: [], in: $0)
            }
            #expect(existing == nil)
        }
    }
}
