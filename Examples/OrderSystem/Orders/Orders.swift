internal import Foundation
internal import GRPCCore
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import ParleyCore
internal import ParleyGRPC
internal import ParleyHTTPClient
internal import ParleyHTTPServer
internal import ParleyMessaging
internal import ParleyOps
internal import ParleyResilience
internal import ParleySQLite
internal import ParleySagas
internal import SwiftProtobuf

/// order-service: takes orders, runs their sagas, shows how they stand.
struct Orders: Sendable {
    let store: OrderStore
    let coordinator: SagaCoordinator
    let client: ServiceClient
    let rpc: GRPCServiceClient
    let ids: UUIDv7Generator
    /// Who leads the orders that are placed now.
    let style: SagaStyle
    let sagas: any SagaInspector
    let mirror: OrderMirror?

    var router: ParleyRouter {
        let router = ParleyRouter(service: "order-service")
        let orders = router.group("api/v1/orders")
        orders.post { request, context in try await self.place(request, context) }
        orders.get { request, _ in try await self.list(request) }
        orders.get("summary") { _, _ in try await self.store.counts() }
        orders.get(":id") { _, context in try await self.show(context.parameters.require("id")) }
        AdminRoutes(sagas: self.sagas, mirror: self.mirror).add(to: router)
        return router
    }

    // MARK: Taking orders

    private func place(_ request: Request, _ context: ParleyRequestContext) async throws -> Response {
        let wanted = try await request.decode(as: OrderRequest.self, context: context)
        let order = try await self.place(wanted, key: request.headers[HTTPField.Name.idempotencyKey])
        var response = try order.response(from: request, context: context)
        response.status = .accepted
        response.headers[.location] = "/api/v1/orders/\(order.id)"
        return response
    }

    /// - Parameter key: the same one gives the same order, however often it is sent.
    /// - Returns: The order as it stands.
    func place(_ wanted: OrderRequest, key: String?) async throws -> OrderView {
        try wanted.validate()
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
            let insert: @Sendable (any Transaction) throws -> Void = { transaction in
                try self.store.insert(
                    order,
                    idempotencyKey: key,
                    request: text,
                    style: self.style,
                    context: current,
                    in: transaction
                )
            }
            switch self.style {
            case .orchestration:
                try await self.coordinator.start(
                    OrderSagaDefinition.name,
                    businessKey: order.orderId,
                    input: try OrderStore.json(order),
                    insert
                )
            case .choreography: try await self.store.backend.withTransaction(insert)
            }
            return try await self.taken(order.orderId)
        } catch let duplicate as OrderStore.Duplicate {
            guard duplicate.isSameRequest else {
                throw ProblemError(
                    .unprocessableContent,
                    code: "idempotency_key_reused",
                    detail: "This Idempotency-Key came with another order before; use a new key for a new order."
                )
            }
            return try await self.taken(duplicate.orderID)
        }
    }

    private func taken(_ id: String) async throws -> OrderView {
        guard let order = try await self.store.find(id) else {
            throw ProblemError(.internalServerError, code: "order_lost", detail: "Order '\(id)' is not stored.")
        }
        return order
    }

    /// Looks up who orders, and what it costs.
    private func complete(_ wanted: OrderRequest) async throws -> SagaOrder {
        async let user = self.user(wanted.userId)
        let prices = try await withThrowingTaskGroup(of: (String, Product?).self) { group in
            for item in wanted.items {
                group.addTask {
                    (item.productId, try await self.product(item.productId))
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

    private func user(_ id: String) async throws -> Users_V1_User? {
        do {
            return try await self.rpc.call(ServiceKind.userService.name, isRepeatable: true) { connection, options in
                let users = Users_V1_UserService.Client(wrapping: connection)
                return try await users.getUser(.with { $0.id = id }, options: options)
            }
        } catch let error as GRPCCallError {
            if error.status?.code == .notFound { return nil }
            throw Self.unavailable(.userService, error.problem)
        }
    }

    private func product(_ id: String) async throws -> Product? {
        // One path segment, whatever the customer wrote.
        guard let segment = id.addingPercentEncoding(withAllowedCharacters: .alphanumerics), !segment.isEmpty else {
            return nil
        }
        do {
            let path = "/api/v1/products/\(segment)"
            let request = HTTPRequest(method: .get, scheme: nil, authority: nil, path: path)
            let response = try await self.client.send(request, to: ServiceKind.productService.name)
            if response.status == .notFound { return nil }
            return try response.successful().decode()
        } catch let error as ServiceClientError {
            throw Self.unavailable(.productService, error.problem)
        }
    }

    private static func unavailable(_ kind: ServiceKind, _ reason: ProblemDetails) -> ProblemError {
        ProblemError(
            .serviceUnavailable,
            code: "dependency_unavailable",
            detail:
                "The order was not taken, because \(kind.rawValue) does not answer; try again. \(reason.detail ?? "")",
            headers: [.retryAfter: "1"]
        )
    }

    private static func unknown(_ what: String, _ id: String) -> ProblemError {
        ProblemError(
            .unprocessableContent,
            code: "unknown_\(what)",
            detail: "There is no \(what) '\(id.prefix(80))'."
        )
    }

    // MARK: Showing them

    /// Without its history.
    func order(_ id: String) async throws -> OrderView {
        guard let order = try await self.store.find(id) else {
            throw ProblemError(.notFound, code: "order_not_found", detail: "There is no order '\(id.prefix(80))'.")
        }
        return order
    }

    private func show(_ id: String) async throws -> OrderView {
        var order = try await self.order(id)
        let query = SagaQuery(type: OrderSagaDefinition.name, businessKey: id)
        guard let saga = try await self.store.backend.sagas.instances(matching: query).first else {
            return try await self.showFlow(order)
        }
        if saga.status == .stuck { order.attention = saga.reason ?? "stuck" }
        if let edit = await self.mirror?.shownEdit(of: saga) { order.attention = edit }
        order.history = try await self.history(of: order, saga)
        return order
    }

    /// An order that nobody leads: its history is what was heard of it.
    private func showFlow(_ order: OrderView) async throws -> OrderView {
        let found = try await self.store.backend.read { transaction in
            try self.store.backend.choreographies.instance(order.id, of: OrderFlow.name, in: transaction).map {
                ($0, try ChoreographyMachine.pinned($0, store: self.store.backend.choreographies, in: transaction))
            }
        }
        var order = order
        order.history = [OrderView.Step(at: order.createdAt, status: .pending, event: "order placed")]
        guard let (instance, machine) = found else { return order }
        let verdict = machine.verdict(of: instance, at: self.store.time.wallTime)
        if verdict.status == .late || verdict.status == .stuck { order.attention = verdict.reason }
        for entry in verdict.timeline where entry.event != "order.created" {
            let status: OrderStatus =
                switch entry.event {
                case "order.confirmed": .confirmed
                case "order.cancelled": .cancelled
                default: .pending
                }
            order.history?.append(
                .init(
                    at: entry.at.description,
                    status: status,
                    event: entry.event,
                    detail: status == .cancelled ? order.reason : entry.injectedBy.map { "said by \($0)" }
                )
            )
        }
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
        return try await self.list(status: status, limit: limit)
    }

    func list(status: OrderStatus?, limit: Int) async throws -> [OrderView] {
        guard (1...1_000).contains(limit) else {
            throw ProblemError(.badRequest, code: "invalid_limit", detail: "limit must be 1 to 1000.")
        }
        return try await self.store.list(status: status, limit: limit)
    }
}

extension HTTPField.Name {
    static var idempotencyKey: HTTPField.Name { HTTPField.Name("Idempotency-Key") ?? .authorization }
}

extension Assembly {
    mutating func addOrders(ports: Ports) async throws {
        let logger = self.logger(.orderService)
        let backend = try await self.openDatabase(of: .orderService)
        try await backend.migrate("order-service/1", OrderStore.schema)
        try await backend.migrate("order-service/2", OrderStore.flowSchema)
        try await backend.migrate("order-service/3", OrderStore.fileID)
        let store = OrderStore(backend: backend)
        let client = ServiceClient(
            configuration: Self.clientConfiguration,
            resolver: self.resolver,
            logger: logger
        )
        let rpc = GRPCServiceClient(configuration: Self.rpcConfiguration, resolver: self.rpcResolver, logger: logger)
        let coordinator = SagaCoordinator(
            store: backend.sagas,
            transactions: backend,
            sagas: [try Self.registration(of: store, client)],
            logger: logger
        )
        let relay = OutboxRelay(store: backend.outbox, transport: try await self.openBus().transport, logger: logger)
        self.append(client)
        self.append(rpc)
        self.append(relay)
        // In both styles: orders that a coordinator leads go on after a change to choreography.
        self.append(coordinator)
        let style = self.settings.saga
        if style == .choreography {
            try await self.watchTheFlow(store)
        } else if case let known = try await store.count(.choreography), known.all > 0 {
            // What is still to be sent is for these groups, so they must go on listening until it is.
            if try await backend.outbox.statistics().pending == 0 {
                try await self.openBus().declare(try OrderFlow.idleGroups("choreography.\(OrderFlow.name)"))
            }
            if known.pending > 0 {
                logger.warning(
                    "Orders of the choreography wait; they go on when it is started with --saga choreography",
                    metadata: ["orders": "\(known.pending)"]
                )
            }
        }
        let orders = Orders(
            store: store,
            coordinator: coordinator,
            client: client,
            rpc: rpc,
            ids: .shared,
            style: style,
            sagas: SQLiteSagaInspector(backend, logger: logger),
            mirror: try await self.mirrorSagas(of: backend)
        )
        let rpcs = OrderRPCs(orders: orders, time: SystemTimeSource())
        let grpc = try self.addGRPC(.orderService, port: ports.grpc, services: [rpcs])
        self.addHTTP(.orderService, port: ports.http, router: orders.router, grpc: grpc)
    }

    /// order-service's own part in the flow, and the monitor that keeps every order's timeline.
    private mutating func watchTheFlow(_ store: OrderStore) async throws {
        let logger = self.logger(.orderService)
        let backend = store.backend
        let bus = try await self.openBus()
        var configuration = ChoreographyMonitor.Configuration()
        // Orders that a coordinator leads announce themselves with events of the same types.
        configuration.requiresMark = true
        let monitor = try ChoreographyMonitor(
            OrderFlow.load(),
            store: backend.choreographies,
            inbox: backend.inbox,
            transactions: backend,
            transport: bus.transport,
            configuration: configuration,
            logger: logger
        )
        try await bus.declare([monitor.group])
        let participant = try FlowParticipant(.orderService, backend)
        let ends = OrderFlowEnds(store: store, participant: participant)
        try await self.join(participant, relays: false) { try await ends.handle($0) }
        self.append(monitor)
        self.append(InboxJanitor(inbox: backend.inbox, consumers: [monitor.group.name], logger: logger))
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

    private static var rpcConfiguration: GRPCServiceClient.Configuration {
        var configuration = GRPCServiceClient.Configuration(name: ServiceKind.orderService.name)
        configuration.policy.timeout = .seconds(10)
        configuration.policy.attemptTimeout = .seconds(5)
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
