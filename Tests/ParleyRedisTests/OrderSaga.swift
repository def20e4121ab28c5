import Logging
import ParleyCore
import ParleyRESP
import ParleySagas
import ParleyTestKit
import RedisTestSupport
import Testing

@testable import ParleyRedis

/// The guide's order saga, repaired so that the linter has nothing to say.
enum OrderSaga {
    static let json = """
        {
        "order_saga": {
            "initial": "ORDER_CREATED",
            "parked": ["SAGA_STUCK"],
            "states": {
                "ORDER_CREATED": {
                    "action": "reserve_inventory", "on_success": "INVENTORY_RESERVED", "on_failure": "SAGA_FAILED",
                    "on_unknown": "COMPENSATE_INVENTORY"
                },
                "INVENTORY_RESERVED": {
                    "action": "process_payment", "on_success": "PAYMENT_PROCESSED",
                    "on_failure": "COMPENSATE_INVENTORY", "on_unknown": "COMPENSATE_PAYMENT"
                },
                "PAYMENT_PROCESSED": {
                    "action": "confirm_order", "on_success": "SAGA_COMPLETED", "on_failure": "COMPENSATE_PAYMENT"
                },
                "COMPENSATE_PAYMENT": { "action": "refund_payment", "on_success": "COMPENSATE_INVENTORY" },
                "COMPENSATE_INVENTORY": { "action": "release_inventory", "on_success": "SAGA_FAILED" }
            }
        }
        }
        """

    static func registration(_ actions: [String: SagaAction]) throws -> SagaRegistration {
        let definition = try #require(try SagaDefinition.read(json: Array(Self.json.utf8)).first)
        return try SagaRegistration(definition, actions: actions)
    }

    /// The guide's: `HGETALL saga:order:123`.
    static let hashes = SagaHashes([
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

    static func configuration(lease: Duration = .seconds(2)) -> SagaCoordinator.Configuration {
        SagaCoordinator.Configuration(lease: lease, attemptTimeout: .seconds(30))
    }
}

/// The participants, each of which does a thing once for each key; and gates at which a test can hold them.
final class Shop: Sendable {
    struct Books: Sendable, Equatable {
        var reserved = 0
        var paid = 0
    }

    private struct State: Sendable {
        var books = Books()
        var answers: [String: SagaOutcome] = [:]
        var calls: [String: Int] = [:]
        var closed: Set<String> = []
    }

    private let state = Guarded(State())
    private let changed = Signal()

    var books: Books { self.state.current.books }

    func calls(of action: String) -> Int { self.state.current.calls[action] ?? 0 }

    /// Whoever comes to `action` waits until ``open(_:)``.
    func close(_ action: String) { self.state.withLock { _ = $0.closed.insert(action) } }

    func open(_ action: String) {
        self.state.withLock { _ = $0.closed.remove(action) }
        self.changed.ring()
    }

    var actions: [String: SagaAction] {
        [
            "reserve_inventory": self.participant { $0.reserved += 1 },
            "release_inventory": self.participant { $0.reserved -= 1 },
            "process_payment": self.participant { $0.paid += 1 },
            "refund_payment": self.participant { $0.paid -= 1 },
            // In the step's own commit, on one row that all sagas write to.
            "confirm_order": .local { _, transaction in
                let redis = try RedisTransaction.require(transaction)
                let count = try redis.string("confirmed").flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? 0
                try redis.set("confirmed", Array("\(count + 1)".utf8))
                return .success(output: nil)
            },
        ]
    }

    private func participant(_ effect: @escaping @Sendable (inout Books) -> Void) -> SagaAction {
        .remote { command in
            self.state.withLock { $0.calls[command.action, default: 0] += 1 }
            while true {
                let generation = self.changed.generation
                guard self.state.current.closed.contains(command.action), !Task.isCancelled else { break }
                await self.changed.wait(after: generation, until: nil, on: SystemTimeSource())
            }
            return self.state.withLock { state in
                if let known = state.answers[command.idempotencyKey] { return known }
                if command.operation == .compensate {
                    let action = "\(command.sagaID)/\(command.step)/action"
                    guard case .success = state.answers[action] else {
                        state.answers[action] = .rejected(reason: "undone before it arrived")
                        state.answers[command.idempotencyKey] = .success(output: nil)
                        return .success(output: nil)
                    }
                }
                effect(&state.books)
                let answer = SagaOutcome.success(output: #"{"reservation_id":"res_456","amount":12}"#)
                state.answers[command.idempotencyKey] = answer
                return answer
            }
        }
    }
}

/// A store with a coordinator that runs while `body` does.
struct SagaShop: Sendable {
    let server: RedisServer
    let client: RESPClient
    let store: RedisSagaStore
    let coordinator: SagaCoordinator
    let shop: Shop

    static func with(
        _ engine: Engine = .redis,
        options: [String] = [],
        coordinators: Int = 1,
        commandTimeout: Duration = .seconds(10),
        _ body: @Sendable (SagaShop) async throws -> Void
    ) async throws {
        try await RedisServer.withClients(engine, options: options) { server, clients in
            let shop = Shop()
            let all = try (0..<coordinators).map { _ in
                let client = clients.open { $0.commandTimeout = commandTimeout }.client
                let store = RedisSagaStore(client: client, hashes: OrderSaga.hashes, logger: quiet)
                let coordinator = SagaCoordinator(
                    store: store,
                    transactions: store.transactions,
                    sagas: [try OrderSaga.registration(shop.actions)],
                    configuration: OrderSaga.configuration(),
                    logger: quiet
                )
                return SagaShop(server: server, client: client, store: store, coordinator: coordinator, shop: shop)
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for one in all { group.addTask { try await one.coordinator.run() } }
                let result: Result<Void, any Error>
                do { result = .success(try await body(all[0])) } catch { result = .failure(error) }
                group.cancelAll()
                while (try? await group.next()) != nil {}
                try result.get()
            }
        }
    }

    @discardableResult
    func start(_ number: String) async throws -> SagaInstance {
        try await self.coordinator.start("order_saga", businessKey: number, input: #"{"order_id":"\#(number)"}"#)
    }

    /// What `redis-cli HGETALL` prints.
    func hash(_ key: String = "saga:order:123") async throws -> [String: String] {
        let pairs = try await self.client.send(["HGETALL", RESPArgument(key)]).pairs ?? []
        return Dictionary(pairs.map { ($0.key.string ?? "?", $0.value.string ?? "?") }) { first, _ in first }
    }

    /// How many orders were confirmed.
    func confirmed() async throws -> Int {
        try await self.client.send(["GET", "confirmed"]).integer.map { Int($0) } ?? 0
    }

    func saga(_ id: String) async throws -> SagaInstance {
        try #require(try await self.store.instances(matching: SagaQuery(id: id)).first)
    }

    func comes(_ id: String, to status: SagaStatus) async throws {
        try await eventually("saga \(id) is \(status)") { try await self.saga(id).status == status }
    }

    /// Held in its payment: a saga that is being driven, in the middle of a step.
    func startedInPayment() async throws -> SagaInstance {
        self.shop.close("process_payment")
        let saga = try await self.start("123")
        try await eventually("the payment is asked for") { self.shop.calls(of: "process_payment") > 0 }
        return saga
    }

    func edit(_ words: RESPArgument...) async throws { try await self.client.send(RESPCommand(words)) }

    func onlyEdit() async throws -> SagaEdit {
        let edits = try await self.store.edits()
        #expect(edits.count == 1)
        return try #require(edits.first)
    }
}
