internal import GRPCCore
internal import ParleyCore
internal import SwiftProtobuf
internal import Synchronization

/// order-service over gRPC: the same orders, and one that can be watched.
struct OrderRPCs: Orders_V1_OrderService.SimpleServiceProtocol {
    let orders: Orders
    let time: any TimeSource
    private let watchers = Bulkhead(limit: 1_000)

    /// How often a watched order is looked at. It may be changed by another process, so nobody here can say when.
    private static let lookInterval: Duration = .milliseconds(100)

    init(orders: Orders, time: any TimeSource) {
        self.orders = orders
        self.time = time
    }

    /// How many orders may be watched at once: each costs a look at the file ten times a second.
    private final class Bulkhead: Sendable {
        private let count = Mutex(0)
        private let limit: Int

        init(limit: Int) { self.limit = limit }

        func enter() throws {
            try self.count.withLock { count in
                guard count < self.limit else {
                    throw RPCError(code: .resourceExhausted, message: "\(self.limit) orders are watched already.")
                }
                count += 1
            }
        }

        func leave() { self.count.withLock { $0 -= 1 } }
    }

    func placeOrder(request: Orders_V1_PlaceOrderRequest, context: ServerContext) async throws -> Orders_V1_Order {
        let wanted = OrderRequest(
            userId: request.userID,
            items: request.items.map { .init(productId: $0.productID, quantity: Int($0.quantity)) },
            card: request.card.isEmpty ? nil : request.card
        )
        let key = request.idempotencyKey.isEmpty ? nil : request.idempotencyKey
        return Self.message(try await self.orders.place(wanted, key: key))
    }

    func getOrder(request: Orders_V1_GetOrderRequest, context: ServerContext) async throws -> Orders_V1_Order {
        Self.message(try await self.orders.order(request.id))
    }

    func listOrders(
        request: Orders_V1_ListOrdersRequest,
        context: ServerContext
    ) async throws -> Orders_V1_ListOrdersResponse {
        let limit = request.limit == 0 ? 100 : Int(request.limit)
        let found = try await self.orders.list(status: try Self.status(request.status), limit: limit)
        return .with { $0.orders = found.map(Self.message) }
    }

    func watchOrder(
        request: Orders_V1_WatchOrderRequest,
        response: RPCWriter<Orders_V1_Order>,
        context: ServerContext
    ) async throws {
        try self.watchers.enter()
        defer { self.watchers.leave() }
        var told: Orders_V1_Order?
        while true {
            let now = Self.message(try await self.orders.order(request.id))
            if now != told {
                try await response.write(now)
                told = now
            }
            if now.status != .pending { return }
            try await self.time.sleep(for: Self.lookInterval)
        }
    }

    private static func status(_ status: Orders_V1_OrderStatus) throws -> OrderStatus? {
        switch status {
        case .unspecified: nil
        case .pending: .pending
        case .confirmed: .confirmed
        case .cancelled: .cancelled
        case .UNRECOGNIZED(let number):
            throw RPCError(code: .invalidArgument, message: "status \(number) is none of 0 to 3.")
        }
    }

    private static func message(_ order: OrderView) -> Orders_V1_Order {
        .with {
            $0.id = order.id
            $0.userID = order.userId
            $0.items = order.items.map { line in
                .with {
                    $0.productID = line.productId
                    $0.quantity = Int32(clamping: line.quantity)
                }
            }
            $0.totalCents = Int64(order.totalCents)
            $0.status =
                switch order.status {
                case .pending: .pending
                case .confirmed: .confirmed
                case .cancelled: .cancelled
                }
            $0.reason = order.reason ?? ""
            $0.createdAt = order.createdAt
        }
    }
}
