package import HummingbirdCore
package import Logging
package import NIOCore
internal import NIOPosix
package import ParleyCore
internal import ServiceLifecycle

/// Answers one request on one connection.
package typealias ConnectionResponder =
    @Sendable @concurrent (Request, consuming ResponseWriter, any Channel) async throws -> Void

/// One listening socket and its connections, from bind to drained.
package struct HTTPListener: Sendable {
    private let configuration: ListenerConfiguration
    private let state: ListenerState
    private let logger: Logger
    private let time: any TimeSource

    package init(
        configuration: ListenerConfiguration,
        state: ListenerState,
        logger: Logger,
        time: any TimeSource
    ) {
        self.configuration = configuration
        self.state = state
        self.logger = logger
        self.time = time
    }

    private enum Event {
        case serverEnded
        case drainTimePassed
        case graceTimePassed
        case cancelled
    }

    /// Serves until the graceful shutdown has drained, or the task is cancelled.
    ///
    /// At the shutdown the socket is closed, idle connections too; requests under way go on for `drainTimeout`, then
    /// their tasks are cancelled; what they answer is written, and a moment later what is still open is closed.
    ///
    /// - Parameters:
    ///   - onListening: called with the real port before the first connection is accepted.
    ///   - onDraining: called at once when the shutdown begins.
    /// - Throws: ``ServerError`` when it cannot listen.
    package func run(
        responder: @escaping ConnectionResponder,
        onListening: @escaping @Sendable (Endpoint) async -> Void,
        onDraining: @escaping @Sendable () -> Void
    ) async throws {
        do {
            let server = try self.makeServer(responder: responder, onListening: onListening)
            try await withGracefulShutdownHandler {
                try await self.serve(server)
            } onGracefulShutdown: {
                self.state.beginDraining()
                onDraining()
            }
            self.state.ended(ServerError(.stopped, "\(self.configuration.name) was stopped before it listened."))
        } catch {
            let failure =
                error as? ServerError
                ?? ServerError.bind(
                    error,
                    name: self.configuration.name,
                    endpoint: Endpoint(host: self.configuration.host, port: self.configuration.port)
                )
            self.state.ended(failure)
            throw failure
        }
    }

    private func serve(_ server: Server<HTTP1Channel>) async throws {
        try await withThrowingTaskGroup(of: Event.self) { group in
            group.addTask {
                do {
                    try await server.run()
                } catch is CancellationError {
                    return .cancelled
                }
                return .serverEnded
            }
            group.addTask { [time, timeout = self.configuration.drainTimeout] in
                do {
                    try await gracefulShutdown()
                    try await time.sleep(for: timeout)
                } catch {
                    return .cancelled
                }
                return .drainTimePassed
            }
            defer { group.cancelAll() }
            while let event = try await group.next() {
                switch event {
                case .serverEnded:
                    return
                case .drainTimePassed:
                    self.logger.notice(
                        "drain time is over; requests under way are cancelled",
                        metadata: ["service.name": "\(self.configuration.name)"]
                    )
                    self.state.endDraining()
                    group.addTask { [state, time] in
                        try? await time.sleep(for: Self.graceTime)
                        // Returning ends the tasks of the connections, and a task that was ended cannot write: first
                        // the answers that are due.
                        await state.closeConnections(answerTime: Self.graceTime)
                        try? await time.sleep(for: Self.graceTime)
                        return .graceTimePassed
                    }
                case .graceTimePassed:
                    return
                case .cancelled:
                    self.state.endDraining()
                    self.state.closeConnections(after: Self.graceTime)
                    return
                }
            }
        }
    }

    /// Answers under way get this moment to end, and those of cancelled handlers the same from their beginning; after
    /// it nothing keeps the connections open.
    private static let graceTime: Duration = .milliseconds(250)

    private func makeServer(
        responder: @escaping ConnectionResponder,
        onListening: @escaping @Sendable (Endpoint) async -> Void
    ) throws -> Server<HTTP1Channel> {
        let configuration = try self.configuration.validated()
        // Hummingbird tells each start at `info`; ours says the same with the service's name.
        var quietLogger = self.logger
        quietLogger.logLevel = max(quietLogger.logLevel, .notice)
        let channel = HTTP1Channel(
            responder: responder,
            configuration: .init(
                additionalChannelHandlers: [
                    ConnectionEndHandler(
                        maxLingerBytes: configuration.maxLingerBytes,
                        lingerTime: configuration.lingerTimeout,
                        connections: self.state
                    )
                ],
                idleTimeout: TimeAmount(configuration.idleTimeout)
            )
        )
        return Server(
            childChannelSetup: channel,
            configuration: ServerConfiguration(
                address: .hostname(configuration.host, port: configuration.port),
                backlog: configuration.backlog,
                availableConnectionsDelegate: .maximum(configuration.maxConnections, logger: quietLogger)
            ),
            onServerRunning: { [state, logger] channel in
                let port = channel.localAddress?.port ?? configuration.port
                let endpoint = Endpoint(host: configuration.host, port: port)
                await onListening(endpoint)
                logger.info(
                    "listening",
                    metadata: ["service.name": "\(configuration.name)", "endpoint": "\(endpoint)"]
                )
                state.listening(on: endpoint)
            },
            eventLoopGroup: MultiThreadedEventLoopGroup.singleton,
            logger: quietLogger
        )
    }
}
