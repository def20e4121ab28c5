public import Logging
public import NIOCore
public import NIOPosix
public import ParleyCore
public import ServiceLifecycle

/// A connection to a RabbitMQ broker that is kept up.
///
/// Nothing happens until ``run()`` is active; calls before wait for it, up to their timeout. A lost connection is made
/// again, with a jittered backoff and over all endpoints in turn, and with it the declarations, channels and consumers
/// that were on it. The first connection is different in one thing: an answer that trying again does not change (wrong
/// password, missing virtual host, refused certificate) ends ``run()`` with it.
///
/// A broker that blocks publishers (memory or disk alarm) answers *nothing* on a connection that has published, so
/// consumers and important declarations belong on another connection than publishers.
public final class AMQPConnection: Service, Sendable {
    let core: ConnectionCore
    let time: any TimeSource
    let random: any RandomSource
    let logger: Logger
    /// Rung when the connection is asked to end.
    let wakeUp = Signal()

    public init(
        _ configuration: AMQPConfiguration,
        eventLoopGroup: any EventLoopGroup = .singletonMultiThreadedEventLoopGroup,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource(),
        logger: Logger
    ) {
        self.core = ConnectionCore(configuration: configuration, eventLoop: eventLoopGroup.next())
        self.time = time
        self.random = random
        self.logger = logger
    }

    /// A connection for the time of `body`.
    @discardableResult
    public static func withConnection<Value: Sendable>(
        _ configuration: AMQPConfiguration,
        logger: Logger,
        _ body: @Sendable (AMQPConnection) async throws -> Value
    ) async throws -> Value {
        let connection = AMQPConnection(configuration, logger: logger)
        return try await withoutActuallyEscaping(body) { body in
            try await withThrowingTaskGroup(of: Value?.self) { group in
                group.addTask {
                    try await connection.run()
                    return nil
                }
                group.addTask { try await body(connection) }
                do {
                    while let value = try await group.next() {
                        guard let value else { continue }
                        connection.shutDownGracefully()
                        try await group.waitForAll()
                        return value
                    }
                } catch {
                    connection.shutDownGracefully()
                    throw error
                }
                throw AMQPError.closed("withConnection")
            }
        }
    }

    // MARK: - Channels

    /// Opens a channel, with confirms unless the settings say otherwise.
    ///
    /// - Throws: ``AMQPError/Code/tooManyChannels``; ``AMQPError/Code/timedOut`` if there is no connection in time.
    public func openChannel(_ settings: AMQPChannelSettings = .init()) async throws -> AMQPChannel {
        try await self.ready()
        let handle = self.core.with { state in
            let channel = state.addChannel(settings, recovers: true)
            let handle = AMQPChannel(core: self.core, id: channel.id)
            channel.handle = handle
            return handle
        }
        do {
            try await self.start(handle.id)
        } catch {
            self.core.with { state in
                if let channel = state.channels[handle.id] {
                    state.close(channel, code: 200, text: "not needed any more", error: .closed("channel"))
                }
            }
            throw error
        }
        return handle
    }

    /// A channel for the time of `body`; afterwards it is closed.
    @discardableResult
    public func withChannel<Value>(
        _ settings: AMQPChannelSettings = .init(),
        _ body: (AMQPChannel) async throws -> sending Value
    ) async throws -> sending Value {
        let channel = try await self.openChannel(settings)
        let value: Value
        do {
            value = try await body(channel)
        } catch {
            await channel.close()
            throw error
        }
        await channel.close()
        return value
    }

    // MARK: - Looking at it

    /// What happens to the connection from now on. A reader that is slower than the events misses the oldest.
    public func events() -> AsyncStream<AMQPEvent> {
        // The newest 64: events are rare, and a state that has passed is not worth memory.
        let (stream, continuation) = AsyncStream.makeStream(of: AMQPEvent.self, bufferingPolicy: .bufferingNewest(64))
        let id = self.core.with { state in
            let id = state.makeID()
            if case .closed = state.phase { continuation.finish() } else { state.observers[id] = continuation }
            return id
        }
        continuation.onTermination = { [core] _ in
            // Not here: termination may come from inside the lock.
            core.eventLoop.execute { core.with { state in _ = state.observers.removeValue(forKey: id) } }
        }
        return stream
    }

    /// Whether requests are answered now.
    public var isReady: Bool {
        self.core.with { state in if case .ready = state.phase { true } else { false } }
    }

    /// The broker's reason if it blocks publishers now.
    public var blockedReason: String? { self.core.with { $0.blockedReason } }

    /// What the broker said about itself when it last answered: product, version, capabilities.
    public var serverProperties: AMQPTable { self.core.with { $0.serverProperties } }

    /// Channel numbers in use now, those included that the broker has not yet given back.
    public var openChannels: Int { self.core.with { $0.machine.isOpen ? $0.numbers.inUse : 0 } }

    /// Waits until the connection is usable.
    public func ready() async throws {
        let waiter: Completion<Void>? = try self.core.with { state throws(AMQPError) in
            switch state.phase {
            case .ready: return nil
            case .closed(let error): throw error.beforeSending
            case .draining: throw .closed("the connection")
            case .idle, .connecting, .recovering:
                let waiter = ConnectionState.Waiter(
                    completion: Completion(),
                    deadline: self.core.deadline(self.core.configuration.operationTimeout)
                )
                state.readyWaiters.append(waiter)
                return waiter.completion
            }
        }
        try await waiter?.value()
    }
}
