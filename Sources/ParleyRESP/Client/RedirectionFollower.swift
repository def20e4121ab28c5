internal import ParleyCore
internal import Synchronization

/// Sends a command where `MOVED` or `ASK` says, over a pipelined connection for each node.
///
/// A redirection means that nothing was run, so the command is sent once more by every hop and runs once at most.
final class RedirectionFollower: Sendable {
    private struct State {
        var connections: [RESPConfiguration.Endpoint: RESPConnection] = [:]
        var isOpen = true
    }

    /// Hops for one command; then its caller gets the last redirection.
    static let maximumHops = 5
    /// Nodes to which a connection is kept.
    static let maximumNodes = 16

    private let configuration: RESPConfiguration
    private let time: any TimeSource
    private let state = Mutex(State())

    init(_ configuration: RESPConfiguration, time: any TimeSource) {
        self.configuration = configuration
        self.time = time
    }

    /// The reply itself, unless it names another node; then what that node says.
    func follow(
        _ first: RESPValue,
        of command: RESPCommand,
        from server: RESPConfiguration.Endpoint,
        until limit: ContinuousClock.Instant
    ) async throws(RESPError) -> RESPValue {
        var reply = first
        var server = server
        for _ in 0..<Self.maximumHops {
            guard let refusal = reply.errorMessage, refusal.hasPrefix("MOVED ") || refusal.hasPrefix("ASK "),
                let redirection = RESPError.Redirection(refusal: refusal)
            else { return reply }
            server = Self.endpoint(redirection, from: server)
            let connection = try await self.connection(to: server)
            let isAsk = refusal.hasPrefix("ASK ")
            let commands: [RESPCommand] = isAsk ? [["ASKING"], command] : [command]
            let replies = try await connection.execute(commands, deadline: Deadline(limit))
            guard let last = replies.last else { return reply }
            reply = last
        }
        return reply
    }

    /// A node that does not know its own name means the host that was asked.
    private static func endpoint(
        _ redirection: RESPError.Redirection,
        from server: RESPConfiguration.Endpoint
    ) -> RESPConfiguration.Endpoint {
        guard ["", "?"].contains(redirection.host), case .tcp(let host, _) = server.kind else {
            return .host(redirection.host, port: redirection.port)
        }
        return .host(host, port: redirection.port)
    }

    private func connection(to server: RESPConfiguration.Endpoint) async throws(RESPError) -> RESPConnection {
        if let known = self.state.withLock({ $0.connections[server] }), known.isOpen { return known }
        var settings = self.configuration
        settings.endpoint = server
        let new = try await RESPConnection.open(settings, isShared: true, time: self.time)
        let (used, surplus) = self.state.withLock { state -> (RESPConnection?, RESPConnection?) in
            guard state.isOpen else { return (nil, new) }
            // Somebody else was faster.
            if let known = state.connections[server], known.isOpen { return (known, new) }
            var surplus: RESPConnection?
            if state.connections[server] == nil, state.connections.count >= Self.maximumNodes {
                surplus = state.connections.popFirst()?.value
            }
            state.connections[server] = new
            return (new, surplus)
        }
        surplus?.retire()
        guard let used else {
            throw RESPError(.closed, server: "\(server)", "the client has been shut down", retry: .notSent)
        }
        return used
    }

    /// Takes nothing new; what was taken is finished.
    func retire() {
        for connection in self.close() { connection.retire() }
    }

    func abort() {
        for connection in self.close() { connection.abort() }
    }

    private func close() -> [RESPConnection] {
        self.state.withLock { state in
            state.isOpen = false
            return Array(state.connections.values)
        }
    }

    func waitUntilClosed() async {
        for connection in self.close() { await connection.waitUntilClosed() }
    }
}
