internal import NIOCore

/// The broker's word on one publish, which may still be on its way.
public final class PublisherConfirm: Sendable, Equatable {
    let completion = Completion<Void>()
    let bytes: Int
    /// Kept only where it is sent again after a lost connection.
    let message: OutgoingMessage?
    let deadline: NIODeadline
    /// If it waits for company on its way out; its channel's.
    private let core: ConnectionCore?
    /// The flush that takes it out.
    private let flush: UInt64

    init(
        bytes: Int,
        message: OutgoingMessage?,
        deadline: NIODeadline,
        core: ConnectionCore? = nil,
        flush: UInt64 = 0
    ) {
        self.core = core
        self.flush = flush
        self.bytes = bytes
        self.message = message
        self.deadline = deadline
    }

    /// Returns when the broker has taken responsibility for the message. It never waits for ever: at the latest it
    /// throws after ``AMQPConfiguration/publishTimeout``.
    ///
    /// - Throws: ``AMQPError/Code/nacked``, ``AMQPError/Code/returned``; or, with ``RetrySafety/mayHaveRun``, the
    ///   reason why nobody knows: the connection or channel ended, or no word came in time. `CancellationError` if the
    ///   task is cancelled, which changes nothing about the publish.
    public func wait() async throws {
        // What was sent may still wait for company on its way out; now somebody waits for it.
        if let core, !self.completion.isDone {
            core.with { state in if state.flushes == self.flush { state.output.hurry() } }
        }
        try await self.completion.value()
    }

    public static func == (lhs: PublisherConfirm, rhs: PublisherConfirm) -> Bool { lhs === rhs }
}
