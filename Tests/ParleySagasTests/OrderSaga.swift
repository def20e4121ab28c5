import Logging
import ParleyCore
import ParleyMessaging
import ParleySagas
import ParleyTestKit
import Testing

/// The order saga: as the guide has it, and repaired.
enum OrderSaga {
    /// `/opt/services/saga-states.json` of the guide, to the letter.
    static let guideJSON = """
        {
        "order_saga": {
        "initial": "ORDER_CREATED",
        "states": {
        "ORDER_CREATED": {
        "action": "reserve_inventory",
        "on_success": "INVENTORY_RESERVED",
        "on_failure": "SAGA_FAILED"
        },
        "INVENTORY_RESERVED": {
        "action": "process_payment",
        "on_success": "PAYMENT_PROCESSED",
        "on_failure": "COMPENSATE_INVENTORY"
        },
        "COMPENSATE_INVENTORY": {
        "action": "release_inventory",
        "on_success": "SAGA_FAILED",
        "on_failure": "SAGA_FAILED"
        },
        "PAYMENT_PROCESSED": {
        "action": "confirm_order",
        "on_success": "SAGA_COMPLETED",
        "on_failure": "COMPENSATE_PAYMENT"
        }
        }
        }
        }
        """

    static let repairedJSON = """
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

    static func read(_ json: String) throws -> SagaDefinition {
        try #require(try SagaDefinition.read(json: Array(json.utf8)).first)
    }

    static func repaired() throws -> SagaDefinition { try Self.read(Self.repairedJSON) }
}

/// The participants of the order saga, each with a barrier: no effect twice, late, or undone without having been.
final class Shop: Sendable {
    struct Books: Sendable, Equatable {
        var stock = 10
        var money = 0
        var confirmed = 0
    }

    private struct State: Sendable {
        var books = Books()
        var answers: [String: SagaOutcome] = [:]
    }

    private let state = Guarded(State())

    var books: Books { self.state.current.books }

    var actions: [String: SagaAction] {
        [
            "reserve_inventory": self.participant { $0.stock -= 1 },
            "release_inventory": self.participant { $0.stock += 1 },
            "process_payment": self.participant { $0.money += 25 },
            "refund_payment": self.participant { $0.money -= 25 },
            "confirm_order": self.participant { $0.confirmed += 1 },
        ]
    }

    private func participant(_ effect: @escaping @Sendable (inout Books) -> Void) -> SagaAction {
        .remote { command in
            self.state.withLock { state in
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
                let answer = SagaOutcome.success(output: "\"\(command.idempotencyKey)\"")
                state.answers[command.idempotencyKey] = answer
                return answer
            }
        }
    }
}

extension Logger {
    static let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
}
