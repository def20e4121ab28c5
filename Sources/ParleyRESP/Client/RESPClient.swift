public import Logging
public import ParleyCore
public import ServiceLifecycle
internal import Synchronization

/// A Redis or Valkey server for the whole process.
///
/// Ordinary commands of all callers share a few pipelined connections; commands that block, and the scopes of
/// ``withConnection(isolation:_:)``, get a connection of their own, so nobody waits behind them. Lost connections come
/// back with ``RESPConfiguration/backoff``.
///
/// Nothing is connected until ``run()`` is active: callers wait for it as they wait for a server that is away, until
/// their deadline. A command that never reached a socket is sent on the next connection; one that may have run is never
/// sent again: its caller gets the error, with ``RetrySafety/mayHaveRun``, and decides.
public final class RESPClient: RESPExecutor, Service {
    private enum Phase {
        case idle, running, stopping
    }

    private struct State {
        var phase = Phase.idle
        var shared: [RESPConnection?]
        var turn = 0
        /// Why there is no connection.
        var failure: RESPError?
        var waiting = 0
        var idle: [RESPConnection] = []
        var leased: [ObjectIdentifier: RESPConnection] = [:]
        /// Dedicated connections that are open, leased or being made.
        var dedicated = 0
        /// Where the newest shared connection leads: behind sentinels, what is known of the master.
        var server: RESPConfiguration.Endpoint?
    }

    public let configuration: RESPConfiguration
    private let logger: Logger
    private let time: any TimeSource
    private let random: any RandomSource
    private let connector: RESPConnector
    private let redirections: RedirectionFollower
    let knowledge = CommandKnowledge()
    private let state: Mutex<State>
    /// Rings when a connection came, went or was given back, and when the client stops.
    private let changed = Signal()

    public init(
        _ configuration: RESPConfiguration,
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) {
        self.configuration = configuration
        self.logger = logger
        self.time = time
        self.random = random
        self.connector = RESPConnector(configuration, time: time)
        self.redirections = RedirectionFollower(configuration, time: time)
        self.state = Mutex(State(shared: Array(repeating: nil, count: configuration.sharedConnections)))
    }

    // MARK: Service

    /// Keeps the connections. Returns after a graceful shutdown, when every command that had been taken is answered, or
    /// after cancellation, when every connection is closed. A client runs once.
    public func run() async throws {
        try await withGracefulShutdownHandler {
            try await self.runUntilCancelled()
        } onGracefulShutdown: {
            self.stop()
        }
    }

    /// As ``run()``, and a graceful shutdown does not end it: for an owner that still has work to do then.
    package func runUntilCancelled() async throws {
        let begins = self.state.withLock { state in
            guard case .idle = state.phase else { return false }
            state.phase = .running
            return true
        }
        guard begins else { throw self.error(.closed, "a client runs once: make another") }
        self.changed.ring()
        await withTaskCancellationHandler {
            await withTaskGroup(of: Void.self) { group in
                for slot in 0..<self.configuration.sharedConnections {
                    group.addTask { await self.keep(slot) }
                }
                if self.connector.asksSentinels { group.addTask { await self.watchMaster() } }
                await self.waitUntilStopping()
                group.cancelAll()
            }
            // What is still leased was told to finish.
            for connection in self.state.withLock({ Array($0.leased.values) }) { await connection.waitUntilClosed() }
            await self.redirections.waitUntilClosed()
        } onCancel: {
            self.stop()
            let open = self.state.withLock { state in state.shared.compactMap { $0 } + state.leased.values }
            for connection in open { connection.abort() }
            self.redirections.abort()
        }
    }

    /// Takes nothing new; what was taken is finished.
    private func stop() {
        let (busy, idle) = self.state.withLock { state -> ([RESPConnection], [RESPConnection]) in
            state.phase = .stopping
            defer { state.idle = [] }
            return (state.shared.compactMap { $0 } + state.leased.values, state.idle)
        }
        for connection in busy { connection.retire() }
        for connection in idle { connection.abort() }
        self.redirections.retire()
        self.changed.ring()
    }

    private var isRunning: Bool { self.state.withLock { if case .running = $0.phase { true } else { false } } }

    private func waitUntilStopping() async {
        while true {
            let generation = self.changed.generation
            guard self.isRunning, !Task.isCancelled else { return }
            await self.changed.wait(after: generation, until: nil, on: self.time)
        }
    }

    /// Holds one shared connection, again and again.
    private func keep(_ slot: Int) async {
        var failures = 0
        while self.isRunning, !Task.isCancelled {
            let began = self.time.now
            do {
                let connection = try await self.connector.connect(isShared: true)
                let isWanted = self.state.withLock { state in
                    state.failure = nil
                    state.shared[slot] = connection
                    // It may be another server, or the same one with another version.
                    self.knowledge.forget()
                    if case .running = state.phase { return true }
                    return false
                }
                if !isWanted { connection.retire() }
                self.leaveOthers(than: connection.configuration.endpoint)
                self.changed.ring()
                self.logger.debug("connected", metadata: ["resp.server": "\(connection.configuration.endpoint)"])
                await connection.waitUntilClosed()
                self.state.withLock { $0.shared[slot] = nil }
                // One that held for a while was good; one that is closed at once counts as a failure.
                failures = began.duration(to: self.time.now) > .seconds(1) ? 0 : failures + 1
            } catch {
                failures += 1
                if self.isRunning {
                    self.state.withLock { $0.failure = error }
                    self.changed.ring()
                    self.logger.debug(
                        "cannot connect",
                        metadata: ["resp.server": "\(self.configuration.endpoint)", "error": "\(error)"]
                    )
                }
            }
            guard failures > 0 else { continue }
            await self.pause(for: self.configuration.backoff.delay(afterFailures: failures, random: self.random))
        }
    }

    /// Asks the sentinels from time to time, because a master that was replaced may be the last to know.
    private func watchMaster() async {
        while await self.isStillWanted(after: self.configuration.sentinelInterval) {
            await self.connector.watch {
                await self.isStillWanted(after: self.configuration.sentinelInterval)
            } named: { server in
                // A sentinel may be behind as well: only what says itself that it is a master counts.
                guard let known = self.state.withLock({ $0.server }), known != server,
                    let connection = try? await self.connector.connect(isShared: false)
                else { return }
                self.leaveOthers(than: connection.configuration.endpoint)
                connection.abort()
            }
        }
    }

    private func isStillWanted(after duration: Duration) async -> Bool {
        await self.pause(for: duration)
        return self.isRunning && !Task.isCancelled
    }

    /// After a fail-over: what leads to another server than `server` is finished and not used again.
    private func leaveOthers(than server: RESPConfiguration.Endpoint) {
        func isOld(_ connection: RESPConnection) -> Bool { connection.configuration.endpoint != server }
        let (busy, idle) = self.state.withLock { state -> ([RESPConnection], [RESPConnection]) in
            guard let known = state.server, known != server else {
                state.server = server
                return ([], [])
            }
            state.server = server
            let idle = state.idle.filter(isOld)
            state.idle.removeAll(where: isOld)
            state.dedicated -= idle.count
            return ((state.shared.compactMap { $0 } + state.leased.values).filter(isOld), idle)
        }
        for connection in busy { connection.retire() }
        for connection in idle { connection.abort() }
        // Once more, for what was asked on one of those in between.
        if !busy.isEmpty { self.knowledge.forget() }
    }

    private func pause(for duration: Duration) async {
        let end = self.time.now.advanced(by: duration)
        while self.time.now < end {
            let generation = self.changed.generation
            guard self.isRunning, !Task.isCancelled else { return }
            await self.changed.wait(after: generation, until: end, on: self.time)
        }
    }

    // MARK: Commands

    public func execute(_ commands: [RESPCommand], deadline: Deadline?) async throws(RESPError) -> [RESPValue] {
        if commands.contains(where: { $0.blocking != .never }) {
            let connection = try await self.lease(until: self.limit(deadline))
            defer { self.giveBack(connection) }
            return try await connection.execute(commands, deadline: deadline)
        }
        let limit = self.limit(deadline)
        while true {
            let connection = try await self.sharedConnection(until: limit)
            let replies: [RESPValue]
            do {
                replies = try await connection.execute(commands, deadline: Deadline(limit))
            } catch {
                guard error.retry == .notSent, error.code == .connectionLost || error.code == .closed else {
                    throw error
                }
                continue
            }
            guard self.configuration.followsRedirections, commands.count == 1, replies.count == 1 else {
                return replies
            }
            let server = connection.configuration.endpoint
            return [try await self.redirections.follow(replies[0], of: commands[0], from: server, until: limit)]
        }
    }

    private func limit(_ deadline: Deadline?) -> ContinuousClock.Instant {
        [
            deadline?.instant, RequestContext.current?.deadline?.instant,
            self.time.now.advanced(by: self.configuration.commandTimeout),
        ].compactMap { $0 }.min() ?? self.time.now
    }

    private func sharedConnection(until limit: ContinuousClock.Instant) async throws(RESPError) -> RESPConnection {
        try await self.waiting(until: limit) { state in
            let count = state.shared.count
            for offset in 1...count {
                let index = (state.turn + offset) % count
                if let connection = state.shared[index], connection.isOpen {
                    state.turn = index
                    return connection
                }
            }
            return nil
        }
    }

    /// Asks `pick` whenever something has changed, until it has an answer or waiting is of no use any more.
    private func waiting<Value: Sendable>(
        until limit: ContinuousClock.Instant,
        for pick: (inout State) -> Value?
    ) async throws(RESPError) -> Value {
        var isCounted = false
        defer { if isCounted { self.state.withLock { $0.waiting -= 1 } } }
        while true {
            let generation = self.changed.generation
            let (value, phase, failure, waiting) = self.state.withLock { state in
                guard case .running = state.phase else { return (nil as Value?, state.phase, state.failure, 0) }
                return (pick(&state), state.phase, state.failure, state.waiting)
            }
            if let value { return value }
            if case .stopping = phase { throw self.error(.closed, "the client has been shut down") }
            if Task.isCancelled { throw self.error(.cancelled, "cancelled while waiting for a connection") }
            // A wrong password does not become right by waiting.
            if let failure, failure.retry == .permanent { throw failure }
            guard self.time.now < limit else {
                if case .idle = phase { throw self.error(.notRunning, "the client's run() is not active") }
                throw self.error(.cannotConnect, "no connection became free in time", cause: failure)
            }
            if !isCounted {
                guard waiting < self.configuration.maximumWaiting else {
                    throw self.error(.overloaded, "\(waiting) callers wait for a connection already")
                }
                isCounted = true
                self.state.withLock { $0.waiting += 1 }
            }
            await self.changed.wait(after: generation, until: limit, on: self.time)
        }
    }

    // MARK: Dedicated connections

    /// Runs `body` with a connection that is the body's alone.
    ///
    /// For `WATCH` and other things that belong to a connection. Afterwards it is kept for the next, unless its session
    /// was changed or something is still under way on it.
    @discardableResult
    public func withConnection<Value>(
        isolation: isolated (any Actor)? = #isolation,
        _ body: (RESPConnection) async throws -> sending Value
    ) async throws -> sending Value {
        let connection = try await self.lease(until: self.limit(nil))
        defer { self.giveBack(connection) }
        return try await body(connection)
    }

    private func lease(until limit: ContinuousClock.Instant) async throws(RESPError) -> RESPConnection {
        let maximum = self.configuration.maximumDedicated
        let idle = try await self.waiting(until: limit) { state -> RESPConnection?? in
            while let connection = state.idle.popLast() {
                if connection.isReusable {
                    state.leased[ObjectIdentifier(connection)] = connection
                    return .some(.some(connection))
                }
                state.dedicated -= 1
            }
            guard state.dedicated < maximum else { return nil }
            state.dedicated += 1
            return .some(nil)
        }
        if let idle { return idle }
        var failures = 0
        while true {
            do throws(RESPError) {
                return try await self.connectDedicated()
            } catch {
                failures += 1
                let wait = self.configuration.backoff.delay(afterFailures: failures, random: self.random)
                guard error.retry == .notSent, error.code != .cancelled, self.isRunning, !Task.isCancelled,
                    self.time.now.advanced(by: wait) < limit
                else {
                    self.state.withLock { $0.dedicated -= 1 }
                    self.changed.ring()
                    throw error
                }
                await self.pause(for: wait)
            }
        }
    }

    private func connectDedicated() async throws(RESPError) -> RESPConnection {
        let connection = try await self.connector.connect(isShared: false)
        let isWanted = self.state.withLock { state in
            guard case .running = state.phase else { return false }
            state.leased[ObjectIdentifier(connection)] = connection
            return true
        }
        if isWanted { return connection }
        connection.abort()
        throw self.error(.closed, "the client has been shut down")
    }

    private func giveBack(_ connection: RESPConnection) {
        let isKept = self.state.withLock { state in
            state.leased[ObjectIdentifier(connection)] = nil
            if case .running = state.phase, connection.isReusable, state.idle.count < self.configuration.maximumIdle,
                state.server.map({ $0 == connection.configuration.endpoint }) ?? true
            {
                state.idle.append(connection)
                return true
            }
            state.dedicated -= 1
            return false
        }
        if !isKept { connection.abort() }
        self.changed.ring()
    }

    private func error(_ code: RESPError.Code, _ message: String, cause: (any Error)? = nil) -> RESPError {
        RESPError(
            code,
            server: self.configuration.endpoint.description,
            message,
            retry: .notSent,
            cause: cause ?? (code == .cancelled ? CancellationError() : nil)
        )
    }
}
