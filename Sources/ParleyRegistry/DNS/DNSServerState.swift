internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// The sockets of a DNS server, and where it is between starting and having ended.
final class DNSServerState: Sendable {
    private enum Phase {
        case starting
        case listening(Endpoint)
        case ended(DNSServerError)
    }

    private struct State {
        var phase = Phase.starting
        var isStopping = false
        var listeners: [any Channel] = []
        /// Bounded by `maximumConnections`.
        var connections: [ObjectIdentifier: any Channel] = [:]
    }

    private let state = Mutex(State())
    private let changed = Signal()
    private let maximumConnections: Int
    private let time: any TimeSource

    init(maximumConnections: Int, time: any TimeSource) {
        self.maximumConnections = maximumConnections
        self.time = time
    }

    var isStopping: Bool { self.state.withLock { $0.isStopping } }

    func endpoint() async throws -> Endpoint {
        while true {
            let generation = self.changed.generation
            switch self.state.withLock({ $0.phase }) {
            case .listening(let endpoint): return endpoint
            case .ended(let error): throw error
            case .starting: break
            }
            await self.changed.wait(after: generation, until: nil, on: self.time)
            try Task.checkCancellation()
        }
    }

    /// - Returns: False when it is to stop already.
    func listening(udp: any Channel, tcp: any Channel) -> Bool {
        let isWanted = self.state.withLock { state in
            guard !state.isStopping else { return false }
            state.listeners = [udp, tcp]
            let address = udp.localAddress
            state.phase = .listening(Endpoint(host: address?.ipAddress ?? "", port: address?.port ?? 0))
            return true
        }
        self.changed.ring()
        return isWanted
    }

    /// An address once announced stays: who asks late wants to know where it was.
    func ended(_ error: DNSServerError) {
        self.state.withLock { state in
            if case .starting = state.phase { state.phase = .ended(error) }
        }
        self.changed.ring()
    }

    /// - Returns: False when there are as many connections as may be.
    func opened(_ channel: any Channel) -> Bool {
        let isWelcome = self.state.withLock { state in
            guard !state.isStopping, state.connections.count < self.maximumConnections else { return false }
            state.connections[ObjectIdentifier(channel)] = channel
            return true
        }
        if isWelcome {
            channel.closeFuture.whenComplete { _ in
                self.state.withLock { $0.connections[ObjectIdentifier(channel)] = nil }
                self.changed.ring()
            }
        }
        return isWelcome
    }

    /// Closes the listeners at once, and each connection when its last answer is fetched, or at the latest after
    /// `limit`.
    func stop(within limit: Duration) {
        let (listeners, connections) = self.state.withLock { state in
            defer { state.isStopping = true }
            return state.isStopping ? ([], []) : (state.listeners, Array(state.connections.values))
        }
        for channel in listeners { channel.close(promise: nil) }
        for channel in connections {
            channel.pipeline.fireUserInboundEventTriggered(DNSStreamHandler.Finish())
            channel.eventLoop.scheduleTask(in: TimeAmount(limit)) { channel.close(promise: nil) }
        }
    }

    /// Returns when all connections are closed; whoever is cancelled closes them.
    func connectionsEnded() async {
        while true {
            let generation = self.changed.generation
            let connections = self.state.withLock { $0.connections.values.map { $0 } }
            guard !connections.isEmpty else { return }
            guard !Task.isCancelled else {
                for channel in connections { channel.close(promise: nil) }
                return
            }
            await self.changed.wait(after: generation, until: nil, on: self.time)
        }
    }
}
