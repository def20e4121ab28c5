public import ParleyMessaging

/// What an operator can see of a bus, and mend: the same for every backend.
public protocol BusInspector: Sendable {
    /// Every queue or consumer group, by name.
    func queues() async throws -> [BusQueue]
    /// Who consumes, by queue.
    func consumers() async throws -> [BusConsumer]
    /// Runs `body` with the dead letters; a backend that must connect for them does so for this long.
    func withDeadLetters<Value: Sendable>(
        _ body: @Sendable (any DeadLetterStore) async throws -> Value
    ) async throws -> Value
}
