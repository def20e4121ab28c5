internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ParleyCore
internal import ParleyMessaging
internal import ParleySQLite
internal import ParleySagas
internal import ServiceLifecycle

/// Who leads an order through the services.
enum SagaStyle: String, CaseIterable, ExpressibleByArgument, Sendable {
    /// order-service asks each service in turn.
    case orchestration
    /// Nobody: each service reacts to the others' events.
    case choreography
}

/// The guide's flow as events, declared: what follows what, from whom, within what time, and the way back.
enum OrderFlow {
    static let name = "order_choreography"

    /// What an operator publishes to turn an order back: order-service alone decides whether it still can be.
    static let cancelRequest = "order.cancel"

    static let json = """
        {
          "order_choreography": {
            "starts_with": "order.created",
            "stuck_after_seconds": 60,
            "events": {
              "order.created": {
                "by": "order-service",
                "then": [ { "one_of": ["inventory.reserved", "inventory.failed"], "within_seconds": 5 } ]
              },
              "inventory.reserved": {
                "by": "inventory-service",
                "then": [ { "one_of": ["payment.processed", "payment.failed"], "within_seconds": 5 } ]
              },
              "inventory.failed": {
                "by": "inventory-service",
                "then": [ { "one_of": ["order.cancelled"], "within_seconds": 5 } ]
              },
              "payment.processed": {
                "by": "payment-service",
                "then": [ { "one_of": ["order.confirmed"], "within_seconds": 5 } ]
              },
              "payment.failed": {
                "by": "payment-service",
                "then": [ { "one_of": ["inventory.released"], "within_seconds": 5 } ]
              },
              "inventory.released": {
                "by": "inventory-service",
                "compensates": "inventory.reserved",
                "then": [ { "one_of": ["order.cancelled"], "within_seconds": 5 } ]
              },
              "order.cancelling": {
                "by": "order-service",
                "asked_by": "order.cancel",
                "then": [ { "one_of": ["payment.refunded"], "within_seconds": 5 } ]
              },
              "payment.refunded": {
                "by": "payment-service",
                "compensates": "payment.processed",
                "then": [ { "one_of": ["inventory.released"], "within_seconds": 5 } ]
              },
              "order.confirmed": { "by": "order-service", "ends": "success" },
              "order.cancelled": { "by": "order-service", "ends": "failure" }
            }
          }
        }
        """

    static func load() throws -> Choreography {
        guard let choreography = try Choreography.read(json: Array(json.utf8)).first else {
            throw SagaError(.invalidDefinition, "the order system's own choreography is empty")
        }
        return choreography
    }

    /// What each service reacts to.
    private static let reactions: [(service: ServiceKind, events: [String])] = [
        (.inventoryService, ["order.created", "payment.failed", "payment.refunded"]),
        (.paymentService, ["inventory.reserved", "order.cancelling"]),
        (.orderService, ["inventory.failed", "inventory.released", "payment.processed", Self.cancelRequest]),
    ]

    static func group(of service: ServiceKind) throws -> ConsumerGroup {
        let events = self.reactions.first { $0.service == service }?.events ?? []
        return try ConsumerGroup("\(service.rawValue).flow", bindings: events)
    }

    /// Every group of the flow. Each service declares all of them, so that an event finds its listeners' queues also
    /// while the listeners are down.
    static func groups() throws -> [ConsumerGroup] { try self.reactions.map { try self.group(of: $0.service) } }

    /// The same groups with what they have and nothing new: while nobody takes part in the flow, their queues would
    /// grow for ever.
    static func idleGroups(_ monitor: String) throws -> [ConsumerGroup] {
        try (self.reactions.map { try self.group(of: $0.service).name } + [monitor]).map {
            try ConsumerGroup($0, bindings: ["order-flow.idle"])
        }
    }
}

/// The body of every event of the flow. The customer's part is what notifications need; the rest is for the services.
struct FlowEvent: Codable, Sendable {
    var orderId: String
    var userId: String
    var totalCents: Int
    var lines: [SagaOrder.Line]
    /// Only on the way to the payment.
    var card: String?
    /// Why the order turned back.
    var reason: String?

    init(_ order: SagaOrder, reason: String? = nil) {
        self.orderId = order.orderId
        self.userId = order.userId
        self.totalCents = order.totalCents
        self.lines = order.lines
        self.card = order.card
        self.reason = reason
    }

    /// - Throws: `MessagingError`, permanent: what is not readable now never will be.
    init(_ message: Message) throws {
        do {
            self = try JSONDecoder().decode(FlowEvent.self, from: Data(message.data))
        } catch {
            throw MessagingError(
                .invalidMessage,
                "the body of '\(message.type)' is no order; correct its publisher",
                retry: .permanent,
                cause: error
            )
        }
    }

    var order: SagaOrder {
        SagaOrder(
            orderId: self.orderId,
            userId: self.userId,
            lines: self.lines,
            totalCents: self.totalCents,
            card: self.card ?? ""
        )
    }

    /// The next event of the same order, with `reason` when it turns back.
    ///
    /// - Parameter context: Of the message that is being handled: its correlation id is the order's instance, its
    ///   causation id the message.
    func message(
        _ type: String,
        by service: ServiceKind,
        reason: String? = nil,
        context: RequestContext?,
        time: any TimeSource
    ) throws -> Message {
        var event = self
        event.reason = reason ?? self.reason
        if type != "order.created", type != "inventory.reserved" { event.card = nil }
        var message = Message(
            source: service.rawValue,
            type: type,
            subject: self.orderId,
            time: time.wallTime,
            data: Array(try OrderStore.json(event).utf8),
            key: self.orderId
        )
        var context = context ?? RequestContext(requestID: message.id)
        context.correlationID = self.orderId
        context.caller = service.rawValue
        message = message.carrying(context, on: time)
        message.choreography = OrderFlow.name
        message.expiresAt = nil
        return message
    }
}

/// A service's part in the flow: each event is one transaction of inbox row, business rows and outgoing event.
struct FlowParticipant: Sendable {
    typealias Reaction = @Sendable (FlowEvent, Message, any Transaction) throws -> Message?

    let service: ServiceKind
    let backend: SQLiteBackend
    let group: ConsumerGroup

    init(_ service: ServiceKind, _ backend: SQLiteBackend) throws {
        self.service = service
        self.backend = backend
        self.group = try OrderFlow.group(of: service)
    }

    /// Reacts once to each message. What is of another flow, an orchestrated order's event for one, is none of its
    /// business.
    func handle(_ message: Message, _ react: @escaping Reaction) async throws {
        guard message.choreography == OrderFlow.name else { return }
        let event = try FlowEvent(message)
        try await self.backend.withTransaction { transaction in
            guard try self.backend.inbox.admit(message.id, to: self.group.name, in: transaction) else { return }
            guard let answer = try react(event, message, transaction) else { return }
            try self.backend.outbox.append([answer], in: transaction)
        }
    }

    /// Runs an effect behind the barrier: twice is once, an undo that comes first forbids the action.
    func enter(
        _ step: String,
        _ operation: SagaCommand.Operation,
        _ order: SagaOrder,
        in transaction: any Transaction,
        _ effect: @Sendable (SagaOrder, any Transaction) throws -> SagaOutcome
    ) throws -> SagaOutcome {
        let command = SagaCommand(
            sagaID: order.orderId,
            businessKey: order.orderId,
            action: step,
            operation: operation,
            step: step,
            epoch: 1,
            attempt: 1,
            input: "",
            outputs: [:]
        )
        return try SagaBarrier().enter(command, in: transaction) { try effect(order, $0) }
    }
}

extension Assembly {
    /// Lets a service take part in the flow: its queue, its consumer, and the relay of what it says.
    ///
    /// - Parameter relays: Whether the service needs a relay of its own; order-service has one already.
    mutating func join(
        _ participant: FlowParticipant,
        relays: Bool = true,
        _ handle: @escaping @Sendable (Message) async throws -> Void
    ) async throws {
        let logger = self.logger(participant.service)
        let bus = try await self.openBus()
        try await bus.declare(try OrderFlow.groups())
        var router = MessageRouter(transport: bus.transport, logger: logger)
        router.consume(participant.group) { try await handle($0.message) }
        if relays {
            self.append(OutboxRelay(store: participant.backend.outbox, transport: bus.transport, logger: logger))
        }
        self.append(router)
        self.append(
            InboxJanitor(inbox: participant.backend.inbox, consumers: [participant.group.name], logger: logger)
        )
    }
}
