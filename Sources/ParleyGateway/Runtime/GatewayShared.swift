internal import Logging
internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// What all event loops of a gateway have together.
final class GatewayShared: Sendable {
    let logger: Logger
    let time: any TimeSource
    let random: any RandomSource
    let records: RecordStore
    let log: AccessLogWriter
    let hostname: String
    let pid: Int32
    let health: GatewayHealth
    let upstreamCertificates: UpstreamCertificates
    private let state = Mutex(State())

    private struct State {
        var connections = 0
        var alone = 0
        var accepted: UInt64 = 0
        var refused: UInt64 = 0
        /// Outliers of a whole interval, which no event loop has seen.
        var ejections: [String: UInt64] = [:]
        var handled: UInt64 = 0
        var requests: UInt64 = 0
        var healthChanges: UInt64 = 0
        var dynamic: [String: Upstream] = [:]
        var dynamicOrder: [String] = []
    }

    /// Addresses that variables in `proxy_pass` have named; a client may choose them, so they are bounded.
    private static let maxDynamic = 1_024

    init(
        logger: Logger,
        time: any TimeSource,
        random: any RandomSource,
        records: RecordStore,
        log: AccessLogWriter,
        hostname: String,
        pid: Int32,
        upstreamCertificates: UpstreamCertificates,
        health: GatewayHealth
    ) {
        self.logger = logger
        self.time = time
        self.random = random
        self.records = records
        self.log = log
        self.hostname = hostname
        self.pid = pid
        self.upstreamCertificates = upstreamCertificates
        self.health = health
    }

    /// Counts a connection, unless there are as many as there may be.
    func takeConnection(limit: Int) -> UInt64? {
        self.state.withLock { state in
            guard state.connections < limit else {
                state.refused &+= 1
                return nil
            }
            state.connections += 1
            state.accepted &+= 1
            return state.accepted
        }
    }

    func giveConnection() { self.state.withLock { $0.connections -= 1 } }

    var connectionCounts: (open: Int, accepted: UInt64, refused: UInt64) {
        self.state.withLock { ($0.connections, $0.accepted, $0.refused) }
    }

    func countEjections(_ count: Int, of upstream: String) {
        guard count > 0 else { return }
        self.state.withLock { $0.ejections[upstream, default: 0] &+= UInt64(clamping: count) }
    }

    func ejections(of upstream: String) -> UInt64 { self.state.withLock { $0.ejections[upstream] ?? 0 } }

    /// After a reload: of names that are gone nothing is kept.
    func keepCounters(of upstreams: Set<String>) {
        self.state.withLock { state in state.ejections = state.ejections.filter { upstreams.contains($0.key) } }
    }

    var openConnections: Int { self.state.withLock { $0.connections } }

    /// Connections, and requests that go on without theirs.
    var underWay: Int { self.state.withLock { $0.connections + $0.alone } }

    func aloneChanged(by change: Int) { self.state.withLock { $0.alone += change } }

    /// How often checks have taken an instance out, or back in.
    var healthChanges: UInt64 { self.state.withLock { $0.healthChanges } }

    func countHealthChange() { self.state.withLock { $0.healthChanges &+= 1 } }

    /// nginx's `stub_status`.
    func stubStatus() -> ByteBuffer {
        let (open, accepted) = self.state.withLock { ($0.connections, $0.accepted) }
        return ByteBuffer(
            string: "Active connections: \(open) \nserver accepts handled requests\n \(accepted) \(accepted) "
                + "\(accepted) \nReading: 0 Writing: \(open) Waiting: 0 \n"
        )
    }

    // MARK: - Addresses that variables name

    /// The upstream of an address (`10.0.0.1:8080`); `nil` for anything else: names would have to be resolved.
    func dynamicUpstream(_ name: String) -> Upstream? {
        self.state.withLock { state in
            if let upstream = state.dynamic[name] { return upstream }
            guard let (host, port) = Self.address(name) else { return nil }
            let peer = PeerModel(host: host, port: port, name: name)
            var model = UpstreamModel(name: name, instances: .fixed([peer]))
            model.keepalive.connections = 0
            guard let upstream = try? Upstream(model, peers: [peer], index: -1) else { return nil }
            if state.dynamicOrder.count >= Self.maxDynamic { state.dynamic[state.dynamicOrder.removeFirst()] = nil }
            state.dynamic[name] = upstream
            state.dynamicOrder.append(name)
            return upstream
        }
    }

    func isDynamic(_ upstream: ObjectIdentifier) -> Bool {
        self.state.withLock { state in state.dynamic.values.contains { ObjectIdentifier($0) == upstream } }
    }

    private static func address(_ name: String) -> (String, Int)? {
        var host = Substring(name)
        var port = 80
        if let colon = name.lastIndex(of: ":"), !name.hasSuffix("]") {
            guard let number = Int(name[name.index(after: colon)...]), (1...65_535).contains(number) else { return nil }
            port = number
            host = name[..<colon]
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard IPAddress(String(host)) != nil || host == "localhost" else { return nil }
        return (host == "localhost" ? "127.0.0.1" : String(host), port)
    }
}
