internal import ParleySagas

/// The guide's order saga, repaired: a payment is taken back before the stock is, an undo has no "failed" end, and an
/// outcome that stays unknown is undone like one that succeeded. `SagaLinter` finds all three in the guide's own file.
enum OrderSagaDefinition {
    static let name = "order_saga"

    static let json = """
        {
          "order_saga": {
            "initial": "ORDER_CREATED",
            "states": {
              "ORDER_CREATED": {
                "action": "reserve_inventory",
                "on_success": "INVENTORY_RESERVED",
                "on_failure": "CANCEL_ORDER",
                "on_unknown": "COMPENSATE_INVENTORY",
                "retry": { "attempts": 20, "timeout_seconds": 6, "initial_seconds": 0.1, "cap_seconds": 1 }
              },
              "INVENTORY_RESERVED": {
                "action": "process_payment",
                "on_success": "PAYMENT_PROCESSED",
                "on_failure": "COMPENSATE_INVENTORY",
                "on_unknown": "COMPENSATE_PAYMENT",
                "retry": { "attempts": 20, "timeout_seconds": 6, "initial_seconds": 0.1, "cap_seconds": 1 }
              },
              "PAYMENT_PROCESSED": {
                "action": "confirm_order",
                "on_success": "SAGA_COMPLETED",
                "on_failure": "COMPENSATE_PAYMENT"
              },
              "COMPENSATE_PAYMENT": {
                "action": "refund_payment",
                "compensates": "process_payment",
                "on_success": "COMPENSATE_INVENTORY",
                "retry": { "cap_seconds": 5 }
              },
              "COMPENSATE_INVENTORY": {
                "action": "release_inventory",
                "compensates": "reserve_inventory",
                "on_success": "CANCEL_ORDER",
                "retry": { "cap_seconds": 5 }
              },
              "CANCEL_ORDER": {
                "action": "cancel_order",
                "pivot": true,
                "on_success": "SAGA_FAILED"
              }
            }
          }
        }
        """

    static func load() throws -> SagaDefinition {
        guard let definition = try SagaDefinition.read(json: Array(json.utf8)).first else {
            throw SagaError(.invalidDefinition, "the order system's own definition is empty")
        }
        return definition
    }
}
