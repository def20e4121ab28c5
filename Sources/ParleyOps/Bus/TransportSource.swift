internal import ParleyCore
public import ParleyMessaging
internal import Synchronization

/// Opens a transport for as long as somebody needs it.
public struct TransportSource: Sendable {
    private let open: @Sendable (_ body: @Sendable (any MessageTransport) async throws -> Void) async throws -> Void

    /// - Parameter open: Connects, runs the body once, and disconnects.
    public init(
        _ open: @escaping @Sendable (_ body: @Sendable (any MessageTransport) async throws -> Void) async throws -> Void
    ) {
        self.open = open
    }

    func with<Value: Sendable>(
        _ body: @Sendable (any MessageTransport) async throws -> Value
    ) async throws -> Value {
        let result = Mutex<Value?>(nil)
        try await self.open { transport in
            let value = try await body(transport)
            result.withLock { $0 = value }
        }
        guard let value = result.withLock({ $0 }) else {
            throw MessagingError(.unavailable, "the connection ended before the work was done", retry: .mayHaveRun)
        }
        return value
    }
}
