import ParleyCore
import ParleyRESP
import ParleySagas
import ParleyTestKit
import RedisTestSupport
import Testing

@testable import ParleyRedis

/// What becomes of `HSET saga:order:123 state …`, typed by a person while the saga runs.
@Suite("Edits of a saga's hash", .serialized, .timeLimit(.minutes(2)))
struct SagaEditTests {
    private static func refusal(_ body: () async throws -> SagaInstance) async throws -> SagaError {
        try await #require(throws: SagaError.self) { _ = try await body() }
    }

    @Test(arguments: Engine.all) func anAcceptedEditIsTheNewState(_ engine: Engine) async throws {
        try await SagaShop.with(engine) { shop in
            let saga = try await shop.startedInPayment()
            try await shop.edit("HSET", "saga:order:123", "state", "COMPENSATE_INVENTORY")
            let edit = try await shop.onlyEdit()
            #expect(edit.key == "saga:order:123")
            #expect(
                edit.changes == [.init(field: "state", stored: "INVENTORY_RESERVED", edited: "COMPENSATE_INVENTORY")]
            )
            #expect(edit.content.description == "hash")
            #expect(edit.storedBy != nil)
            let noticed = try #require(edit.noticedAt)
            #expect(edit.storedAt <= noticed)
            #expect(edit.saga.status == .stuck)
            #expect(edit.saga.owner == nil)
            #expect(edit.saga.state == "INVENTORY_RESERVED")

            let accepted = try await shop.store.accept(
                edit,
                through: shop.coordinator,
                by: "ann",
                because: "the customer called"
            )
            #expect(accepted.state == "COMPENSATE_INVENTORY")
            // The payment was asked for, and may yet have its effect: that is not forgotten.
            #expect(accepted.effects.map(\.status) == [.applied, .maybe])
            shop.shop.open("process_payment")
            try await eventually("the inventory is released") { shop.shop.books.reserved == 0 }
            try await eventually("it has come to its end") {
                let saga = try await shop.saga(saga.id)
                return saga.state == "SAGA_FAILED" && saga.owner == nil
            }
            // Not `failed`: a payment may be outstanding that nobody has taken back.
            #expect(try await shop.saga(saga.id).status == .stuck)
            #expect(try await shop.hash()["state"] == "SAGA_FAILED")
            #expect(try await shop.store.edits().isEmpty)
            let forced = try await shop.store.history(of: saga.id).filter { $0.kind == .forced }
            #expect(forced.map(\.nextState) == ["COMPENSATE_INVENTORY"])
            let detail = try #require(forced.first?.detail)
            #expect(detail.contains("ann") && detail.contains("the customer called"))
            #expect(detail.contains("saga:order:123"))
        }
    }

    @Test(arguments: Engine.all) func aRejectedEditIsTakenBackAndTheSagaGoesOn(_ engine: Engine) async throws {
        try await SagaShop.with(engine) { shop in
            let saga = try await shop.startedInPayment()
            let before = try await shop.hash()
            let edits: [[RESPArgument]] = [
                ["HSET", "saga:order:123", "state", "COMPENSATE_INVENTORY"],
                ["HSET", "saga:order:123", "inventory_reservation", "res_999"],
                ["HDEL", "saga:order:123", "started_at"],
                ["HSET", "saga:order:123", "note", "call back"],
                ["DEL", "saga:order:123"],
            ]
            let wanted: [SagaEdit.Change?] = [
                .init(field: "state", stored: "INVENTORY_RESERVED", edited: "COMPENSATE_INVENTORY"),
                .init(field: "inventory_reservation", stored: "res_456", edited: "res_999"),
                .init(field: "started_at", stored: saga.createdAt.description, edited: nil),
                .init(field: "note", stored: nil, edited: "call back"),
                nil,
            ]
            for (words, change) in zip(edits, wanted) {
                try await shop.client.send(RESPCommand(words))
                let edit = try await shop.onlyEdit()
                if let change {
                    #expect(edit.changes == [change])
                } else {
                    #expect(edit.changes.count == before.count)
                    #expect(edit.content.description == "nothing")
                }
                let back = try await shop.store.reject(edit, by: "bob", because: "a slip")
                #expect(back.status == .running)
                #expect(back.isUncertain)
                #expect(back.reason == nil)
                #expect(try await shop.hash() == before)
                #expect(try await shop.store.edits().isEmpty)
            }
            shop.shop.open("process_payment")
            try await shop.comes(saga.id, to: .completed)
            #expect(shop.shop.books == Shop.Books(reserved: 1, paid: 1))
            #expect(try await shop.confirmed() == 1)
            let rejections = try await shop.store.history(of: saga.id).filter { $0.kind == .resumed }
            #expect(rejections.count == edits.count)
            #expect(rejections.allSatisfy { $0.detail?.contains("bob: a slip") == true })
        }
    }

    @Test(arguments: Engine.all) func aStepThatEndsOnAnEditedHashWritesNothing(_ engine: Engine) async throws {
        try await SagaShop.with(engine) { shop in
            let saga = try await shop.startedInPayment()
            try await shop.edit("HSET", "saga:order:123", "state", "COMPENSATE_INVENTORY")
            // The driver itself finds it, as it commits the payment.
            shop.shop.open("process_payment")
            try await shop.comes(saga.id, to: .stuck)
            let parked = try await shop.saga(saga.id)
            #expect(parked.state == "INVENTORY_RESERVED")
            #expect(parked.owner == nil)
            #expect(parked.isUncertain)
            #expect(parked.reason?.contains("saga:order:123") == true)
            #expect(try await shop.hash()["state"] == "COMPENSATE_INVENTORY")
            #expect(try await shop.store.claim(owner: "other", limit: 10).instances.isEmpty)
            // What the payment did is asked for again, under its key: it was made once.
            try await shop.store.reject(try await shop.onlyEdit(), by: "bob", because: "a slip")
            try await shop.comes(saga.id, to: .completed)
            #expect(shop.shop.books == Shop.Books(reserved: 1, paid: 1))
            #expect(try await shop.confirmed() == 1)
            #expect(shop.shop.calls(of: "process_payment") == 2)
        }
    }

    @Test func aWaitingSagaThatWasEditedIsNotClaimed() async throws {
        try await Self.withWaiting { client, store in
            try await client.send(["HSET", "saga:order:123", "state", "X"])
            let claim = try await store.claim(owner: "w", limit: 10)
            #expect(claim.instances.isEmpty)
            #expect(claim.nextDue == nil)
            let edit = try #require(try await store.edits().first)
            #expect(!edit.saga.isUncertain)
            // Found twice, noted once.
            #expect(try await store.edits().first == edit)
            let history = try await store.history(of: edit.saga.id)
            #expect(history.map(\.kind) == [.stuck])
            try await store.reject(edit, by: "bob", because: "a slip")
            #expect(try await store.claim(owner: "w", limit: 10).instances.count == 1)
        }
    }

    @Test func aDeadDriversSagaThatWasEditedIsNotTakenOver() async throws {
        try await Self.withWaiting(owner: "ghost") { client, store in
            try await client.send(["HSET", "saga:order:123", "state", "X"])
            #expect(try await store.claim(owner: "w", limit: 10).instances.isEmpty)
            let edit = try #require(try await store.edits().first)
            #expect(edit.saga.isUncertain)
            try await store.reject(edit, by: "bob", because: "a slip")
            #expect(try await store.claim(owner: "w", limit: 10).instances.map(\.isUncertain) == [true])
        }
    }

    @Test func anUnknownStateIsRefusedWithTheListOfStates() async throws {
        try await SagaShop.with { shop in
            _ = try await shop.startedInPayment()
            for state in ["COMPENSATE_INVENTROY", "SAGA_COMPLETED", ""] {
                try await shop.edit("HSET", "saga:order:123", "state", RESPArgument(state))
                let edit = try await shop.onlyEdit()
                let error = try await Self.refusal {
                    try await shop.store.accept(edit, through: shop.coordinator, by: "ann", because: "so")
                }
                #expect(error.code == .unknownState)
                #expect(error.message.contains("COMPENSATE_INVENTORY"))
                #expect(try await shop.onlyEdit() == edit)
            }
        }
    }

    @Test func onlyAStateCanBeAccepted() async throws {
        try await SagaShop.with { shop in
            _ = try await shop.startedInPayment()
            try await shop.edit(
                "HSET",
                "saga:order:123",
                "state",
                "COMPENSATE_INVENTORY",
                "inventory_reservation",
                "res_999"
            )
            let edit = try await shop.onlyEdit()
            #expect(edit.changes.map(\.field) == ["inventory_reservation", "state"])
            let both = try await Self.refusal {
                try await shop.store.accept(edit, through: shop.coordinator, by: "ann", because: "so")
            }
            #expect(both.code == .notAllowed)
            #expect(both.message.contains("inventory_reservation"))
            // Put back by hand: still parked, with nothing to accept.
            try await shop.edit(
                "HSET",
                "saga:order:123",
                "state",
                "INVENTORY_RESERVED",
                "inventory_reservation",
                "res_456"
            )
            let empty = try await shop.onlyEdit()
            #expect(empty.changes.isEmpty)
            let none = try await Self.refusal {
                try await shop.store.accept(empty, through: shop.coordinator, by: "ann", because: "so")
            }
            #expect(none.code == .notAllowed)
            try await shop.store.reject(empty, by: "ann", because: "put back")
            #expect(try await shop.store.edits().isEmpty)
        }
    }

    @Test func adecisionOnAnOldEditIsRefused() async throws {
        try await SagaShop.with { shop in
            _ = try await shop.startedInPayment()
            try await shop.edit("HSET", "saga:order:123", "state", "COMPENSATE_INVENTORY")
            let old = try await shop.onlyEdit()
            try await shop.edit("HSET", "saga:order:123", "state", "PAYMENT_PROCESSED")
            let accepted = try await Self.refusal {
                try await shop.store.accept(old, through: shop.coordinator, by: "ann", because: "so")
            }
            let rejected = try await Self.refusal { try await shop.store.reject(old, by: "bob", because: "so") }
            #expect([accepted.code, rejected.code] == [.conflict, .conflict])
            #expect(try await shop.hash()["state"] == "PAYMENT_PROCESSED")
            let new = try await shop.onlyEdit()
            try await shop.store.reject(new, by: "bob", because: "so")
            // Decided already.
            let again = try await Self.refusal { try await shop.store.reject(new, by: "bob", because: "so") }
            #expect(again.code == .conflict)
        }
    }

    @Test func ofTwoDecisionsOneIsMade() async throws {
        try await SagaShop.with { shop in
            let saga = try await shop.startedInPayment()
            for _ in 0..<10 {
                try await shop.edit("HSET", "saga:order:123", "note", "x")
                let edit = try await shop.onlyEdit()
                let made = try await withThrowingTaskGroup(of: Int.self) { group in
                    for person in ["ann", "bob", "cid"] {
                        group.addTask {
                            do {
                                try await shop.store.reject(edit, by: person, because: "so")
                                return 1
                            } catch let error as SagaError where error.code == .conflict {
                                return 0
                            }
                        }
                    }
                    return try await group.reduce(0, +)
                }
                #expect(made == 1)
            }
            #expect(try await shop.store.history(of: saga.id).count { $0.kind == .resumed } == 10)
        }
    }

    @Test(arguments: Engine.all) func somethingElseAtTheKeyIsLeftAlone(_ engine: Engine) async throws {
        try await SagaShop.with(engine) { shop in
            let saga = try await shop.startedInPayment()
            try await shop.edit("DEL", "saga:order:123")
            try await shop.edit("RPUSH", "saga:order:123", "theirs")
            shop.shop.open("process_payment")
            try await shop.comes(saga.id, to: .stuck)
            let edit = try await shop.onlyEdit()
            #expect(edit.content.description == "list")
            #expect(edit.changes.isEmpty)
            let accepted = try await Self.refusal {
                try await shop.store.accept(edit, through: shop.coordinator, by: "ann", because: "so")
            }
            let rejected = try await Self.refusal { try await shop.store.reject(edit, by: "bob", because: "so") }
            #expect([accepted.code, rejected.code] == [.notAllowed, .notAllowed])
            #expect(rejected.message.contains("list"))
            #expect(try await shop.client.send(["LLEN", "saga:order:123"]).integer == 1)
            // Moved away: the hash is deleted now, and can be put back.
            try await shop.edit("RENAME", "saga:order:123", "moved")
            try await shop.store.reject(try await shop.onlyEdit(), by: "bob", because: "moved away")
            try await shop.comes(saga.id, to: .completed)
            #expect(try await shop.hash()["state"] == "SAGA_COMPLETED")
        }
    }

    @Test func aHugeOrUnreadableHashIsNotTakenIn() async throws {
        try await Self.withWaiting { client, store in
            for batch in 0..<3 {
                let fields = (0..<1_000).flatMap { [RESPArgument("\(batch)-\($0)"), RESPArgument("x")] }
                try await client.send(RESPCommand(["HSET", "saga:order:123"] + fields))
            }
            let huge = try #require(try await store.edits().first)
            #expect(huge.content.description == "hash of 3003 fields")
            try await client.send(["DEL", "saga:order:123"])
            try await client.send(["HSET", "saga:order:123", RESPArgument([0xFF, 0xFE]), "x"])
            let unreadable = try #require(try await store.edits().first)
            #expect(unreadable.content.description == "hash with field names that are not UTF-8")
            try await client.send(["DEL", "saga:order:123"])
            let deleted = try #require(try await store.edits().first)
            try await store.reject(deleted, by: "bob", because: "so")
            #expect(try await store.edits().isEmpty)
        }
    }

    @Test func theEndOfASagaStaysItsEnd() async throws {
        try await SagaShop.with { shop in
            let saga = try await shop.start("123")
            try await shop.comes(saga.id, to: .completed)
            try await shop.edit("HSET", "saga:order:123", "state", "ORDER_CREATED")
            let edit = try await shop.onlyEdit()
            #expect(edit.saga.status == .completed)
            #expect(edit.noticedAt == nil)
            let error = try await Self.refusal {
                try await shop.store.accept(edit, through: shop.coordinator, by: "ann", because: "so")
            }
            #expect(error.code == .notAllowed)
            try await shop.store.reject(edit, by: "bob", because: "it has ended")
            #expect(try await shop.hash()["state"] == "SAGA_COMPLETED")
            #expect(try await shop.saga(saga.id).status == .completed)
            #expect(try await shop.store.edits().isEmpty)
        }
    }

    @Test func theOperatorsOwnToolsRespectAnEdit() async throws {
        try await SagaShop.with { shop in
            let saga = try await shop.startedInPayment()
            try await shop.edit("HSET", "saga:order:123", "note", "x")
            let error = try await Self.refusal { try await shop.coordinator.retry(saga.id, by: "ann") }
            #expect(error.code == .conflict)
            #expect(try await shop.onlyEdit().changes.map(\.field) == ["note"])
        }
    }

    /// A tool that does not know what the application shows writes the hash as the application would.
    @Test(arguments: Engine.all) func aToolWritesWhatTheApplicationShows(_ engine: Engine) async throws {
        try await SagaShop.with(engine) { shop in
            let saga = try await shop.startedInPayment()
            let before = try await shop.hash()
            #expect(before["inventory_reservation"] == "res_456")
            let tool = RedisSagaStore(client: shop.client, hashes: .stored, logger: quiet)
            let operators = SagaCoordinator(store: tool, transactions: tool.transactions, sagas: [], logger: quiet)
            try await operators.retry(saga.id, by: "ann")
            #expect(try await shop.hash() == before)
            #expect(try await tool.edit(of: saga.id) == nil)
            #expect(try await tool.edit(of: "nobody") == nil)
            for _ in 1...2 {
                try await shop.edit("DEL", "saga:order:123")
                let edit = try #require(try await tool.edit(of: saga.id))
                #expect(try await shop.store.edits() == [edit])
                try await tool.reject(edit, by: "bob", because: "a slip")
                #expect(try await shop.hash() == before)
            }
            try await shop.edit("HSET", "saga:order:123", "state", "COMPENSATE_INVENTORY")
            let edit = try #require(try await tool.edit(of: saga.id))
            try await tool.accept(edit, through: operators, by: "ann", because: "so")
            #expect(try await shop.hash()["inventory_reservation"] == "res_456")
            // Written by a version that can show more: nobody guesses.
            try await shop.edit("HSET", RESPArgument("{parley-sagas}:saga:\(saga.id)"), "shown", #"[["f","newer"]]"#)
            let error = try await Self.refusal { try await operators.retry(saga.id, by: "ann") }
            #expect(error.code == .corrupt && error.message.contains("shown"))
        }
    }

    /// A saga that waits, or whose driver is dead, and no coordinator.
    private static func withWaiting(
        owner: String? = nil,
        _ body: (RESPClient, RedisSagaStore) async throws -> Void
    ) async throws {
        try await RedisServer.withClients { _, clients in
            let client = clients.open().client
            let store = RedisSagaStore(client: client, logger: quiet)
            let now = SystemTimeSource().wallTime
            let saga = SagaInstance(
                id: "1",
                type: "order_saga",
                businessKey: "123",
                definition: "f",
                state: "A",
                owner: owner,
                enteredAt: now,
                dueAt: owner == nil ? now : nil,
                input: "{}",
                createdAt: now,
                updatedAt: now
            )
            _ = try await store.transactions.withTransaction {
                try store.create(saga, definition: "{}", events: [], in: $0)
            }
            try await body(client, store)
        }
    }
}
