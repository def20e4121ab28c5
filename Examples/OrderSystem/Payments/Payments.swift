internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import ParleySQLite
internal import ParleySagas

struct PaymentSummary: Codable, Sendable, ResponseEncodable {
    var charges: Int
    var chargedCents: Int
    var refunds: Int
    var refundedCents: Int
}

struct Payment: Codable, Sendable, ResponseEncodable {
    var orderId: String
    var chargedCents: Int
    var refundedCents: Int
}

/// payment-service: a saga participant that charges and refunds. It is a ledger: nothing is ever changed or deleted.
struct Payments: Sendable {
    let backend: SQLiteBackend

    /// The card that is always declined.
    static let declinedCard = "4000000000000002"
    /// More than this is declined too.
    static let limitCents = 1_000_000

    static let schema = [
        SagaBarrier.schema,
        """
        CREATE TABLE ledger (
            id INTEGER PRIMARY KEY AUTOINCREMENT, order_id TEXT NOT NULL,
            kind TEXT NOT NULL CHECK (kind IN ('charge', 'refund')), cents INTEGER NOT NULL CHECK (cents >= 0)
        )
        """,
        "CREATE INDEX ledger_order ON ledger (order_id)",
    ]

    var router: ParleyRouter {
        let router = ParleyRouter(service: "payment-service")
        let payments = router.group("api/v1/payments")
        payments.get("summary") { _, _ in
            try await self.backend.read { transaction in
                let (charges, charged) = try Self.sum("charge", of: nil, in: transaction)
                let (refunds, refunded) = try Self.sum("refund", of: nil, in: transaction)
                return PaymentSummary(
                    charges: charges,
                    chargedCents: charged,
                    refunds: refunds,
                    refundedCents: refunded
                )
            }
        }
        payments.get(":id") { _, context in
            let id = try context.parameters.require("id")
            return try await self.backend.read { transaction in
                let (charges, charged) = try Self.sum("charge", of: id, in: transaction)
                let (_, refunded) = try Self.sum("refund", of: id, in: transaction)
                guard charges > 0 else {
                    throw ProblemError(.notFound, code: "payment_not_found", detail: "Order '\(id)' was never charged.")
                }
                return Payment(orderId: id, chargedCents: charged, refundedCents: refunded)
            }
        }
        let participant = ParticipantRoutes(backend: self.backend)
        participant.add("participant/payment/charge", "process_payment", to: router, Self.charge)
        participant.add("participant/payment/refund", "refund_payment", to: router, Self.refund)
        return router
    }

    @Sendable static func charge(_ order: SagaOrder, in transaction: any Transaction) throws -> SagaOutcome {
        guard order.card != Self.declinedCard else {
            return .rejected(reason: "card declined: the card ending in \(order.card.suffix(4)) was refused")
        }
        guard order.totalCents <= Self.limitCents else {
            return .rejected(
                reason: "payment declined: \(order.totalCents) cents are over the limit of \(Self.limitCents)"
            )
        }
        try Self.add("charge", order.totalCents, to: order.orderId, in: transaction)
        return .success(output: #"{"payment":"pay_\#(order.orderId)"}"#)
    }

    @Sendable static func refund(_ order: SagaOrder, in transaction: any Transaction) throws -> SagaOutcome {
        try Self.add("refund", order.totalCents, to: order.orderId, in: transaction)
        return .success(output: nil)
    }

    private static func add(_ kind: String, _ cents: Int, to order: String, in transaction: any Transaction) throws {
        try transaction.execute(
            "INSERT INTO ledger (order_id, kind, cents) VALUES (?, ?, ?)",
            [.text(order), .text(kind), .integer(cents)]
        )
    }

    private static func sum(
        _ kind: String,
        of order: String?,
        in transaction: any Transaction
    ) throws -> (count: Int, cents: Int) {
        let row = try transaction.query(
            "SELECT count(*), coalesce(sum(cents), 0) FROM ledger WHERE kind = ?1 AND (?2 IS NULL OR order_id = ?2)",
            [.text(kind), .optional(order)]
        ).first
        return (Int(row?.first?.integer ?? 0), Int(row?.last?.integer ?? 0))
    }
}

extension Assembly {
    mutating func addPayments(port: Int) async throws {
        let backend = try await self.openDatabase(of: .paymentService)
        try await backend.migrate("payment-service/1", Payments.schema)
        if self.settings.saga == .choreography {
            let participant = try FlowParticipant(.paymentService, backend)
            try await self.join(participant) { message in
                let context = RequestContext.current
                try await participant.handle(message) {
                    try Payments.react(participant, $0, $1, context: context, in: $2)
                }
            }
        }
        self.addHTTP(.paymentService, port: port, router: Payments(backend: backend).router)
    }
}
