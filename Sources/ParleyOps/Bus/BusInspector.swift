public import ParleyMessaging

/// What an operator can see of a bus, and mend: the same for every backend.
public protocol BusInspector: Sendable {
    /// Every queue or consumer group, by name.
    func queues() async throws -> [BusQueue]
    /// Who consumes, by queue.
    func consumers() async throws -> [BusConsumer]
    /// Every stream with each of its groups, by name; a stream without a group is there once.
    ///
    /// - Throws: ``BusAddressError`` on a bus that has no streams.
    func streams() async throws -> [BusStream]
    /// What a group was given and has not done, in the stream's order; at most `limit` (1 to 10,000).
    ///
    /// - Throws: ``BusAddressError`` on a bus that has no streams, or not this stream or group.
    func pending(stream: String, group: String, limit: Int) async throws -> [BusPending]
    /// Runs `body` with the dead letters; a backend that must connect for them does so for this long.
    func withDeadLetters<Value: Sendable>(
        _ body: @Sendable (any DeadLetterStore) async throws -> Value
    ) async throws -> Value
}
