internal import Logging
public import ParleyCore
internal import ServiceContextModule

/// A step around every handler of a ``MessageRouter``: it may look at the delivery, change it, answer in the handler's
/// place, or look at the settlement on the way out. The first in the list is the outermost.
public protocol MessageMiddleware: Sendable {
    func handle(
        _ delivery: Delivery,
        next: @Sendable (Delivery) async throws -> Settlement
    ) async throws -> Settlement
}

/// Drops messages that nobody waits for any more: past their `expirytime` they are dead-lettered, not handled.
public struct ExpiryMiddleware: MessageMiddleware {
    private let time: any TimeSource

    public init(time: any TimeSource = SystemTimeSource()) {
        self.time = time
    }

    public func handle(
        _ delivery: Delivery,
        next: @Sendable (Delivery) async throws -> Settlement
    ) async throws -> Settlement {
        if let expiresAt = delivery.message.expiresAt, expiresAt <= self.time.wallTime {
            return .deadLetter(reason: "expired at \(expiresAt), before it was handled")
        }
        return try await next(delivery)
    }
}

/// Runs the rest under the message's own ``RequestContext``: the sender's request and trace, with the message as cause.
struct ContextMiddleware: MessageMiddleware {
    let time: any TimeSource

    func handle(
        _ delivery: Delivery,
        next: @Sendable (Delivery) async throws -> Settlement
    ) async throws -> Settlement {
        try await delivery.message.context(on: self.time).withCurrent { try await next(delivery) }
    }
}
