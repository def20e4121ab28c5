internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPClient
internal import ParleyHTTPServer
internal import ParleyMessaging
internal import ParleySQLite
internal import ParleySagas

/// order-service: takes orders, runs their sagas, shows how they stand.
struct Orders: Sendable {
    let store: OrderStore
    let coordinator: SagaCoordinator
    let client: ServiceClient
    let ids: UUIDv7Generator

    var router: ParleyRouter {
        let router = ParleyRouter(service: "order-service")
        let orders = router.group("api/v1/orders")
        orders.post { request, context in try await self.place(request, context) }
        orders.get { request, _ in try await self.list(request) }
        orders.get("summary") { _, _ in try await self.store.counts() }
        orders.get(":id") { _, context in try await self.show(context.parameters.require("id")) }
        return router
    }

    // MARK: Taking orders

    private func place(_ request: Request, _ context: ParleyRequestContext) async throws -> Response {
        let wanted = try await request.decode(as: OrderRequest.self, context: context)
        try wanted.validate()
        let key = request.headers[HTTPField.Name.idempotencyKey]
        if let key, !RequestContext.isAcceptableID(key) {
            throw ProblemError(
                .badRequest,
                code: "invalid_idempotency_key",
                detail: "Idempotency-Key must be 1 to 128 visible ASCII characters."
            )
        }
        let text = try OrderStore.json(wanted)
        do {
            if let key, let found = try await self.store.duplicate(of: key, request: text) { throw found }
            let order = try await self.complete(wanted)
            let current = RequestContext.current
            try await self.coordinator.start(
                OrderSagaDefinition.name,
                businessKey: order.orderId,
                input: try OrderStore.json(order)
            ) { transaction in
                try self.store.insert(order, idempotencyKey: key, request: text, context: current, in: transaction)
            }
            return try await self.accepted(order.orderId, request, context)
        } catch let duplicate as OrderStore.Duplicate {
            guard duplicate.isSameRequest else {
                throw ProblemError(
                    .unprocessableContent,
                    code: "idempotency_key_reused",
                    detail: "This Idempotency-Key came with another order before; use a new key for a new order."
                )
            }
            return try await self.accepted(duplicate.orderID, request, context)
        }
    }

    private func accepted(
        _ id: String,
        _ request: Request,
        _ context: ParleyRequestContext
    ) async throws -> Response {
        guard let order = try await self.store.find(id) else {
            throw ProblemError(.internalServerError, code: "order_lost", detail: "Order '\(id)' is not stored.")
        }
        var response = try order.response(from: request, context: context)
        response.status = .accepted
        response.headers[.location] = "/api/v1/orders/\(id)"
        return response
    }

    /// Looks up who orders, and what it costs.
    private func complete(_ wanted: OrderRequest) async throws -> SagaOrder {
        async let user: User? = self.lookUp("/api/v1/users/", wanted.userId, at: .userService)
        let prices = try await withThrowingTaskGroup(of: (String, Product?).self) { group in
            for item in wanted.items {
                group.addTask {
                    (item.productId, try await self.lookUp("/api/v1/products/", item.productId, at: .productService))
                }
            }
            return try await group.reduce(into: [String: Product]()) { $0[$1.0] = $1.1 }
        }
        guard try await user != nil else { throw Self.unknown("user", wanted.userId) }
        var total = 0
        for item in wanted.items {
            guard let product = prices[item.productId] else { throw Self.unknown("product", item.productId) }
            total += product.priceCents * item.quantity
        }
        return SagaOrder(
            orderId: self.ids.next().description,
            userId: wanted.userId,
            lines: wanted.items.map { .init(productId: $0.productId, quantity: $0.quantity) },
            totalCents: total,
            card: wanted.card ?? "4242424242424242"
        )
    }

    private func lookUp<Value: Decodable>(_ path: String, _ id: String, at kind: ServiceKind) async throws -> Value? {
        // One path segment, whatever the customer wrote.
        guard let segment = id.addingPercentEncoding(withAllowedCharacters: .alphanumerics), !segment.isEmpty else {
            return nil
        }
        do {
            let request = HTTPRequest(method: .get, scheme: nil, authority: nil, path: path + segment)
            let response = try await self.client.send(request, to: kind.name)
            if response.status == .notFound { return nil }
            return try response.successful().decode()
        } catch let error as ServiceClientError {
            throw ProblemError(
                .serviceUnavailable,
                code: "dependency_unavailable",
                detail:
                    "The order was not taken, because \(kind.rawValue) does not answer; try again. \(error.message)",
                headers: [.retryAfter: "1"]
            )
        }
    }

    private static func unknown(_ what: String, _ id: String) -> ProblemError {
        ProblemError(
            .unprocessableContent,
            code: "unknown_\(what)",
            detail: "There is no \(what) '\(id.prefix(80))'."
        )
    }

    // MARK: Showing them

    private func show(_ id: String) async throws -> OrderView {
        guard var order = try await self.store.find(id) else {
            throw ProblemError(.notFound, code: "order_not_found", detail: "There is no order '\(id.prefix(80))'.")
        }
        let query = SagaQuery(type: OrderSagaDefinition.name, businessKey: id)
        guard let saga = try await self.store.backend.sagas.instances(matching: query).first else { return order }
        if saga.status == .stuck { order.attention = saga.reason ?? "stuck" }
        order.history = try await self.history(of: order, saga)
        return order
    }

    private func history(of order: OrderView, _ saga: SagaInstance) async throws -> [OrderView.Step] {
        var steps = [OrderView.Step(at: order.createdAt, status: .pending, event: "order placed")]
        for event in try await self.store.backend.sagas.history(of: saga.id) {
            guard let action = event.action else {
                if event.kind == .stuck {
                    steps.append(
                        .init(at: event.at.description, status: .pending, event: "stuck", detail: event.detail)
                    )
                }
                continue
            }
            let status: OrderStatus =
                switch (action, event.kind) {
                case ("confirm_order", .succeeded): .confirmed
                case ("cancel_order", .succeeded): .cancelled
                default: .pending
                }
            let tries = event.attempt > 1 ? " (try \(event.attempt))" : ""
            steps.append(
                .init(
                    at: event.at.description,
                    status: status,
                    event: "\(action) \(event.kind.rawValue)\(tries)",
                    detail: status == .cancelled ? order.reason : event.detail
                )
            )
        }
        return steps
    }

    private func list(_ request: Request) async throws -> [OrderView] {
        let query = request.uri.queryParameters
        let limit = query["limit"].flatMap { Int($0) } ?? 100
        guard (1...1_000).contains(limit) else {
            throw ProblemError(.badRequest, code: "invalid_limit", detail: "limit must be 1 to 1000.")
        }
        var status: OrderStatus?
        if let text = query["status"] {
            status = OrderStatus(rawValue: String(text).uppercased())
            if status == nil {
                throw ProblemError(
                    .badRequest,
                    code: "invalid_status",
                    detail: "status must be PENDING, CONFIRMED or CANCELLED."
                )
            }
        }
        return try await self.store.list(status: status, limit: limit)
    }
}

extension HTTPField.Name {
    static var idempotencyKey: HTTPField.Name { HTTPField.Name("Idempotency-Key") ?? .authorization }
}

extension Assembly {
    mutating func addOrders(port: Int) async throws {
        let logger = self.logger(.orderService)
        let backend = try await self.openDatabase(of: .orderService)
        try await backend.migrate("order-service/1", OrderStore.schema)
        let store = OrderStore(backend: backend)
        let client = ServiceClient(
            configuration: Self.clientConfiguration,
            resolver: self.registry,
            logger: logger
        )
        let coordinator = SagaCoordinator(
            store: backend.sagas,
            transactions: backend,
            sagas: [try Self.registration(of: store, client)],
            logger: logger
        )
        let relay = OutboxRelay(store: backend.outbox, transport: try await self.openBus().transport, logger: logger)
        self.append(client)
        self.append(relay)
        self.append(coordinator)
        let orders = Orders(store: store, coordinator: coordinator, client: client, ids: .shared)
        self.addHTTP(.orderService, port: port, router: orders.router)
    }

    private static var clientConfiguration: ServiceClient.Configuration {
        var configuration = ServiceClient.Configuration(name: ServiceKind.orderService.name)
        // Retries are the saga's, which counts and remembers them.
        configuration.maxAttempts = 2
        configuration.timeout = .seconds(5)
        configuration.attemptTimeout = .seconds(4)
        configuration.connectTimeout = .seconds(1)
        return configuration
    }

    private static func registration(of store: OrderStore, _ client: ServiceClient) throws -> SagaRegistration {
        func remote(_ kind: ServiceKind, _ path: String) -> SagaAction { .http(client, kind.name, path) }
        @Sendable func order(_ command: SagaCommand) throws -> SagaOrder {
            try JSONDecoder().decode(SagaOrder.self, from: Data(command.input.utf8))
        }
        return try SagaRegistration(
            OrderSagaDefinition.load(),
            actions: [
                "reserve_inventory": remote(.inventoryService, "/participant/inventory/reserve"),
                "release_inventory": remote(.inventoryService, "/participant/inventory/release"),
                "process_payment": remote(.paymentService, "/participant/payment/charge"),
                "refund_payment": remote(.paymentService, "/participant/payment/refund"),
                "confirm_order": .local { command, transaction in
                    try store.finish(
                        try order(command),
                        .confirmed,
                        reason: nil,
                        saga: command.sagaID,
                        in: transaction
                    )
                    return .success(output: nil)
                },
                "cancel_order": .local { command, transaction in
                    let reason = command.reason ?? "cancelled"
                    try store.finish(
                        try order(command),
                        .cancelled,
                        reason: reason,
                        saga: command.sagaID,
                        in: transaction
                    )
                    return .success(output: nil)
                },
            ]
        )
    }
}
