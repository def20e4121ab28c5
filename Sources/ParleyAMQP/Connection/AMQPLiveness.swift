extension AMQPConnection {
    /// Whether it has ended for good: ``run()`` has returned, or is about to.
    public var isClosed: Bool {
        self.core.with { state in if case .closed = state.phase { true } else { false } }
    }
}

extension AMQPChannel {
    /// Whether it has ended for good, by this side or by an error that the broker answered on it.
    public var isClosed: Bool { self.core.with { $0.channels[self.id] == nil } }
}
