internal import Foundation
internal import ParleyCore
internal import ParleyMessaging
internal import ParleySQLite
internal import ParleySagas

extension Inventory {
    /// Reserves for a new order; gives back when the payment failed or was refunded.
    static func react(
        _ participant: FlowParticipant,
        _ event: FlowEvent,
        _ message: Message,
        context: RequestContext?,
        in transaction: any Transaction
    ) throws -> Message? {
        func answer(_ type: String, _ reason: String? = nil) throws -> Message {
            try event.message(type, by: .inventoryService, reason: reason, context: context, time: SystemTimeSource())
        }
        switch message.type {
        case "order.created":
            let outcome = try participant.enter(
                "reserve_inventory",
                .action,
                event.order,
                in: transaction,
                Self.reserve
            )
            if case .rejected(let reason) = outcome { return try answer("inventory.failed", reason) }
            return try answer("inventory.reserved")
        case "payment.failed", "payment.refunded":
            _ = try participant.enter("reserve_inventory", .compensate, event.order, in: transaction, Self.release)
            return try answer("inventory.released")
        default: return nil
        }
    }
}

extension Payments {
    /// Charges for what is reserved; refunds, or sees to it that nothing will be charged, when the order turns back.
    static func react(
        _ participant: FlowParticipant,
        _ event: FlowEvent,
        _ message: Message,
        context: RequestContext?,
        in transaction: any Transaction
    ) throws -> Message? {
        func answer(_ type: String, _ reason: String? = nil) throws -> Message {
            try event.message(type, by: .paymentService, reason: reason, context: context, time: SystemTimeSource())
        }
        switch message.type {
        case "inventory.reserved":
            let outcome = try participant.enter("process_payment", .action, event.order, in: transaction, Self.charge)
            if case .rejected(let reason) = outcome { return try answer("payment.failed", reason) }
            return try answer("payment.processed")
        case "order.cancelling":
            _ = try participant.enter("process_payment", .compensate, event.order, in: transaction, Self.refund)
            return try answer("payment.refunded")
        default: return nil
        }
    }
}

/// order-service's part: it begins an order and ends it, and nobody else does.
struct OrderFlowEnds: Sendable {
    let store: OrderStore
    let participant: FlowParticipant

    func handle(_ message: Message) async throws {
        let context = RequestContext.current
        if message.type == OrderFlow.cancelRequest {
            return try await self.turnBack(message, context)
        }
        try await self.participant.handle(message) { event, message, transaction in
            guard let state = try self.store.flowState(of: event.orderId, in: transaction) else { return nil }
            // An order that has ended stays as it is: repetitions, and what comes late, change nothing. But money that
            // was taken for one that is cancelled, after somebody had spoken in the payment's place, goes back.
            guard state.status == .pending else {
                guard state.status == .cancelled, message.type == "payment.processed" else { return nil }
                return try self.cancelling(state.order, "it had been cancelled before", context)
            }
            switch message.type {
            case "payment.processed":
                // It is being cancelled: the refund is on its way, and confirming now would give the goods away.
                guard state.turnedBackBecause == nil else { return nil }
                return try self.finish(event, .confirmed, nil, context, transaction)
            case "inventory.failed", "inventory.released":
                let reason = state.turnedBackBecause ?? event.reason ?? "cancelled"
                return try self.finish(event, .cancelled, reason, context, transaction)
            default: return nil
            }
        }
    }

    /// An operator asks for it. The order's row decides, in one commit with what is announced: from here on a payment
    /// that arrives no longer confirms it.
    private func turnBack(_ message: Message, _ context: RequestContext?) async throws {
        guard message.choreography == OrderFlow.name else { return }
        let request: CompensationRequest
        do {
            request = try CompensationRequest(json: message.data)
        } catch {
            throw MessagingError(
                .invalidMessage,
                "the body of '\(message.type)' is no request to compensate",
                retry: .permanent,
                cause: error
            )
        }
        let backend = self.participant.backend
        try await backend.withTransaction { transaction in
            guard try backend.inbox.admit(message.id, to: self.participant.group.name, in: transaction),
                let state = try self.store.flowState(of: request.businessKey, in: transaction),
                state.status != .confirmed
            else { return }
            let reason = state.turnedBackBecause ?? request.reason
            if state.status == .pending {
                try self.store.turnBack(request.businessKey, because: reason, in: transaction)
            }
            // Also for one that is cancelled: something of it may have been done since. What was taken back stays so.
            try backend.outbox.append([try self.cancelling(state.order, reason, context)], in: transaction)
        }
    }

    private func cancelling(_ order: SagaOrder, _ reason: String, _ context: RequestContext?) throws -> Message {
        try FlowEvent(order, reason: reason).message(
            "order.cancelling",
            by: .orderService,
            context: context,
            time: self.store.time
        )
    }

    private func finish(
        _ event: FlowEvent,
        _ status: OrderStatus,
        _ reason: String?,
        _ context: RequestContext?,
        _ transaction: any Transaction
    ) throws -> Message {
        try self.store.close(event.orderId, status, reason: reason, in: transaction)
        return try event.message(
            "order.\(status.rawValue.lowercased())",
            by: .orderService,
            reason: reason,
            context: context,
            time: self.store.time
        )
    }
}
