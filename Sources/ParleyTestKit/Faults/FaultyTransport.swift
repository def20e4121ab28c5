public import ParleyCore
public import ParleyMessaging

/// A ``ParleyMessaging/MessageTransport`` whose ``publish(_:)`` goes wrong as a test says; everything else goes to the
/// transport behind it.
///
/// ```swift
/// let faulty = FaultyTransport(transport) { messages in
///     messages.contains { $0.id == "poison" } ? .fail() : nil
/// }
/// ```
public final class FaultyTransport: MessageTransport {
    /// How a publish goes wrong.
    public struct Fault: Sendable {
        enum Kind: Sendable {
            case fail(any Error)
            case loseConfirmation
            case hang
        }

        let kind: Kind

        /// It throws and nothing is stored.
        public static func fail(
            _ error: any Error = MessagingError(.unavailable, "the broker is down", retry: .notSent)
        ) -> Fault { Fault(kind: .fail(error)) }
        /// Everything is stored, and it throws all the same: the answer got lost.
        public static let loseConfirmation = Fault(kind: .loseConfirmation)
        /// It waits until ``FaultyTransport/release()`` or its task's cancellation, and only then stores.
        public static let hang = Fault(kind: .hang)
    }

    private struct State: Sendable {
        var attempts: [[String]] = []
        var hanging = 0
        var releases = 0
    }

    private let inner: any MessageTransport
    private let fault: @Sendable ([Message]) -> Fault?
    private let state = Guarded(State())
    private let signal = Signal()

    /// - Parameter fault: Is asked before each publish; `nil` lets it through.
    public init(_ inner: any MessageTransport, fault: @escaping @Sendable ([Message]) -> Fault?) {
        self.inner = inner
        self.fault = fault
    }

    /// The ids of each publish that was tried, in order.
    public var attempts: [[String]] { self.state.current.attempts }

    /// Lets every publish that hangs go on.
    public func release() {
        self.state.withLock { $0.releases += 1 }
        self.signal.ring()
    }

    /// Returns once `count` publishes hang, or the task is cancelled.
    public func waitForHanging(_ count: Int) async {
        while !Task.isCancelled {
            let generation = self.signal.generation
            if self.state.current.hanging >= count { return }
            await self.signal.wait(after: generation, until: nil, on: SystemTimeSource())
        }
    }

    /// Returns once `count` publishes have been tried, or the task is cancelled.
    public func waitForAttempts(_ count: Int) async {
        while !Task.isCancelled {
            let generation = self.signal.generation
            if self.state.current.attempts.count >= count { return }
            await self.signal.wait(after: generation, until: nil, on: SystemTimeSource())
        }
    }

    public func publish(_ messages: [Message]) async throws {
        self.state.withLock { $0.attempts.append(messages.map(\.id)) }
        self.signal.ring()
        switch self.fault(messages)?.kind {
        case nil:
            try await self.inner.publish(messages)
        case .fail(let error):
            throw error
        case .loseConfirmation:
            try await self.inner.publish(messages)
            throw MessagingError(.unavailable, "the confirmation got lost", retry: .mayHaveRun)
        case .hang:
            try await self.hang()
            try await self.inner.publish(messages)
        }
    }

    private func hang() async throws {
        let releases = self.state.withLock { state in
            state.hanging += 1
            return state.releases
        }
        self.signal.ring()
        defer { self.state.withLock { $0.hanging -= 1 } }
        while true {
            let generation = self.signal.generation
            try Task.checkCancellation()
            if self.state.current.releases > releases { return }
            await self.signal.wait(after: generation, until: nil, on: SystemTimeSource())
        }
    }

    // MARK: Passed on

    public var capabilities: TransportCapabilities { self.inner.capabilities }

    public var deadLetters: any DeadLetterStore { self.inner.deadLetters }

    public func declare(_ group: ConsumerGroup) async throws { try await self.inner.declare(group) }

    public func withSubscription<Value>(
        to group: String,
        prefetch: Int,
        _ body: (DeliverySequence) async throws -> Value
    ) async throws -> Value {
        try await self.inner.withSubscription(to: group, prefetch: prefetch, body)
    }

    public func settle(_ delivery: Delivery.ID, _ settlement: Settlement) async throws {
        try await self.inner.settle(delivery, settlement)
    }

    public func statistics() async throws -> [GroupStatistics] { try await self.inner.statistics() }
}
