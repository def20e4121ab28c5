internal import ArgumentParser
internal import ParleyCore

/// The parts of the system, each with the port that the guide gives it.
enum ServiceKind: String, CaseIterable, ExpressibleByArgument, Sendable {
    case userService = "user-service"
    case productService = "product-service"
    case inventoryService = "inventory-service"
    case paymentService = "payment-service"
    case orderService = "order-service"
    case notificationService = "notification-service"
    case gateway

    var name: ServiceName { ServiceName(stringLiteral: self.rawValue) }

    var defaultPort: Int {
        switch self {
        case .userService: 8001
        case .orderService: 8002
        case .productService: 8003
        case .notificationService: 8004
        case .inventoryService: 8005
        case .paymentService: 8006
        case .gateway: 8080
        }
    }

    /// Where it answers gRPC, if it does.
    var defaultGRPCPort: Int? {
        switch self {
        case .userService: 50_051
        case .orderService: 50_052
        // For both of them.
        case .gateway: 9_090
        default: nil
        }
    }

    /// Where the gateway speaks TLS.
    static let defaultTLSPort = 8_443

    /// The environment variable that says where this service is when it runs elsewhere, as in the guide's compose file:
    /// `USER_SERVICE=user-service:50051`. For order-service that is where user-service answers gRPC; for a gateway, and
    /// for what is asked over HTTP, it is the other port.
    var addressVariable: String { self.rawValue.uppercased().map { $0 == "-" ? "_" : String($0) }.joined() }
}
