internal import GRPCCore
internal import GRPCNIOTransportHTTP2Posix
internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// The connections of a client, one to each endpoint, opened when they are first needed and closed when they have not
/// been for a while.
final class GRPCChannels: Sendable {
    typealias Client = GRPCClient<HTTP2ClientTransport.Posix>

    private struct Channel {
        var client: Client
        var isRunning = false
        var uses = 0
        var lastUse: ContinuousClock.Instant
    }

    private enum Phase { case new, running, ended }

    private struct State {
        var channels: [ParleyCore.Endpoint: Channel] = [:]
        var phase = Phase.new
    }

    private let configuration: GRPCServiceClient.Configuration
    private let time: any TimeSource
    private let state = Mutex(State())
    private let changed = Signal()

    init(configuration: GRPCServiceClient.Configuration, time: any TimeSource) {
        self.configuration = configuration
        self.time = time
    }

    var count: Int { self.state.withLock { $0.channels.count } }

    /// Runs `body` with the connection to `endpoint`.
    func withClient<Value>(
        for endpoint: ParleyCore.Endpoint,
        _ body: (Client) async throws -> Value
    ) async throws -> Value {
        let client = try self.take(endpoint)
        defer { self.giveBack(endpoint, client) }
        return try await body(client)
    }

    private func take(_ endpoint: ParleyCore.Endpoint) throws -> Client {
        if let client = try self.known(endpoint) { return client }
        // Outside the lock: it reads certificates.
        let made = try self.makeClient(endpoint)
        let now = self.time.now
        let (client, surplus) = try self.state.withLock { state in
            // Somebody else may have been quicker; then this one is forgotten, unused.
            if let client = try self.use(endpoint, &state) { return (client, Client?.none) }
            let surplus = try self.makeRoom(&state)
            state.channels[endpoint] = Channel(client: made, uses: 1, lastUse: now)
            return (made, surplus)
        }
        surplus?.beginGracefulShutdown()
        self.changed.ring()
        return client
    }

    private func known(_ endpoint: ParleyCore.Endpoint) throws -> Client? {
        try self.state.withLock { state in try self.use(endpoint, &state) }
    }

    private func use(_ endpoint: ParleyCore.Endpoint, _ state: inout State) throws -> Client? {
        guard state.phase != .ended else {
            throw GRPCServiceError(.shutDown, "The gRPC client has been shut down.", retry: .notSent)
        }
        guard var channel = state.channels[endpoint] else { return nil }
        channel.uses += 1
        channel.lastUse = self.time.now
        state.channels[endpoint] = channel
        return channel.client
    }

    /// The one that has been idle longest goes.
    private func makeRoom(_ state: inout State) throws -> Client? {
        guard state.channels.count >= self.configuration.maxConnections else { return nil }
        guard
            let oldest = state.channels.filter({ $0.value.uses == 0 }).min(by: { $0.value.lastUse < $1.value.lastUse })
        else {
            throw GRPCServiceError(
                .tooManyConnections,
                "All \(self.configuration.maxConnections) connections of the gRPC client are in use (maxConnections).",
                retry: .notSent
            )
        }
        state.channels[oldest.key] = nil
        return oldest.value.client
    }

    private func giveBack(_ endpoint: ParleyCore.Endpoint, _ client: Client) {
        let now = self.time.now
        self.state.withLock { state in
            guard var channel = state.channels[endpoint], channel.client === client else { return }
            channel.uses -= 1
            channel.lastUse = now
            state.channels[endpoint] = channel
        }
    }

    private func makeClient(_ endpoint: ParleyCore.Endpoint) throws -> Client {
        let (host, port) = (endpoint.host, endpoint.port)
        let target: any ResolvableTarget
        switch try? NIOCore.SocketAddress(ipAddress: host, port: port) {
        case .v4: target = .ipv4(address: host, port: port)
        case .v6: target = .ipv6(address: host, port: port)
        default: target = .dns(host: host, port: port)
        }
        do {
            let transport = try HTTP2ClientTransport.Posix(
                target: target,
                transportSecurity: self.configuration.security.transport,
                config: self.configuration.transport
            )
            return GRPCClient(transport: transport, interceptors: [ContextClientInterceptor(time: self.time)])
        } catch {
            throw GRPCServiceError(
                .invalidSecurity,
                "The connection to \(endpoint) cannot be prepared: \(error). Do the PEM files exist, and does the key "
                    + "belong to the certificate?",
                cause: error
            )
        }
    }

    /// No call begins any more; those under way may finish.
    func stop() {
        self.state.withLock { $0.phase = .ended }
        self.changed.ring()
    }

    /// Keeps the connections alive until ``stop()``, and then until their calls are over; or until the task is
    /// cancelled.
    func run() async {
        self.state.withLock { if $0.phase == .new { $0.phase = .running } }
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled, self.state.withLock({ $0.phase != .ended }) {
                let generation = self.changed.generation
                for client in self.unstarted() {
                    group.addTask {
                        // It ends when it is told to; a connection that breaks is opened anew inside.
                        try? await client.runConnections()
                    }
                }
                for client in self.idle() { client.beginGracefulShutdown() }
                let next = self.time.now.advanced(by: .seconds(10))
                await self.changed.wait(after: generation, until: next, on: self.time)
            }
            for client in self.end() { client.beginGracefulShutdown() }
        }
    }

    private func unstarted() -> [Client] {
        self.state.withLock { state in
            let endpoints = state.channels.filter { !$0.value.isRunning }.keys
            return endpoints.compactMap { endpoint in
                state.channels[endpoint]?.isRunning = true
                return state.channels[endpoint]?.client
            }
        }
    }

    private func idle() -> [Client] {
        let now = self.time.now
        let idleTime = self.configuration.idleTimeout
        return self.state.withLock { state in
            let idle = state.channels.filter { $0.value.uses == 0 && $0.value.lastUse.duration(to: now) >= idleTime }
            for endpoint in idle.keys { state.channels[endpoint] = nil }
            return idle.values.filter(\.isRunning).map(\.client)
        }
    }

    private func end() -> [Client] {
        self.state.withLock { state in
            state.phase = .ended
            defer { state.channels = [:] }
            return state.channels.values.map(\.client)
        }
    }
}
