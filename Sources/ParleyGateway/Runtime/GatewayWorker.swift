internal import Logging
internal import NIOCore
internal import NIOPosix
internal import ParleyCore

/// One event loop with everything that belongs to it alone: its connections, its pools, its ids. A request lives and
/// dies on one worker, so nothing here needs a lock.
final class GatewayWorker {
    let eventLoop: any EventLoop
    let index: Int
    let shared: GatewayShared
    var plan: GatewayPlan
    let regexes = RegexScratch()
    private var pools: [PoolKey: UpstreamPool] = [:]
    private var streams: [PoolKey: HTTP2Pool] = [:]
    private var ids: RequestIDs
    private var chances: UInt64
    private var free: [Exchange] = []
    /// All that there are, at work or free.
    private var exchanges: [Exchange] = []
    private(set) var active = 0
    var connections: [ObjectIdentifier: ClientConnection] = [:]
    private(set) var isDraining = false
    private var dateSecond: Int64 = -1
    private var dateBytes: [UInt8] = []
    var metrics: MetricsShard
    var logBuffer = AccessLogBuffer()
    private var isFlushScheduled = false

    /// What makes two connections to one instance different.
    struct PoolKey: Hashable {
        var upstream: ObjectIdentifier
        var scheme: ProxyTarget.Scheme
        var tls: UpstreamTLS
        var host: String
    }

    private struct InstanceKey: Hashable {
        var upstream: Int
        var peer: PeerID
    }

    private var instances: [InstanceKey: Int] = [:]
    private static let maxFreeExchanges = 1_024

    init(eventLoop: any EventLoop, index: Int, plan: GatewayPlan, shared: GatewayShared) {
        self.eventLoop = eventLoop
        self.index = index
        self.plan = plan
        self.shared = shared
        let random = shared.random
        self.ids = RequestIDs { random.next() }
        self.chances = shared.random.next()
        self.metrics = MetricsShard(plan.metricsShape)
    }

    /// Of a clock that only goes forward, the same for all workers.
    var milliseconds: Int64 { Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000) }

    func nextRequestID() -> RequestID { self.ids.next() }

    /// 64 bits for lots; fast, and of no use to an attacker who can only see which instance answered.
    func chance() -> UInt64 {
        self.chances &+= 0x9e37_79b9_7f4a_7c15
        var value = self.chances
        value = (value ^ (value &>> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value &>> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value &>> 31)
    }

    // MARK: - Exchanges

    func exchange() -> Exchange {
        if let exchange = self.free.popLast() { return exchange }
        let exchange = Exchange(worker: self)
        exchange.place = self.exchanges.count
        self.exchanges.append(exchange)
        return exchange
    }

    func began(_ exchange: Exchange) { self.active += 1 }

    func ended(_ exchange: Exchange) {
        self.active -= 1
        self.record(exchange)
    }

    func takeBack(_ exchange: Exchange) {
        if self.free.count < Self.maxFreeExchanges { return self.free.append(exchange) }
        // The last one takes its place.
        guard let last = self.exchanges.popLast(), last !== exchange else { return }
        last.place = exchange.place
        self.exchanges[exchange.place] = last
    }

    /// What is under way is not waited for any longer.
    func giveUp() {
        for exchange in self.exchanges { exchange.shutDown() }
    }

    // MARK: - Upstreams

    private func key(_ upstream: Upstream, _ location: CompiledLocation) -> PoolKey {
        PoolKey(
            upstream: ObjectIdentifier(upstream),
            scheme: location.target?.scheme ?? .http,
            tls: location.proxy.tls,
            host: location.target?.host ?? ""
        )
    }

    func pool(_ upstream: Upstream, _ location: CompiledLocation) -> UpstreamPool {
        let key = self.key(upstream, location)
        if let pool = self.pools[key] { return pool }
        let pool = UpstreamPool(eventLoop: self.eventLoop, keepalive: upstream.model.keepalive, upstream: upstream)
        self.pools[key] = pool
        return pool
    }

    func streamPool(_ upstream: Upstream, _ location: CompiledLocation) -> HTTP2Pool {
        let key = self.key(upstream, location)
        if let pool = self.streams[key] { return pool }
        let pool = HTTP2Pool(worker: self, upstream: upstream)
        self.streams[key] = pool
        return pool
    }

    /// Instances have left: connections that rest would never be used again.
    func closeIdle(of upstream: Upstream) {
        let members = Set(upstream.group.states(now: self.milliseconds).map(\.id))
        let identity = ObjectIdentifier(upstream)
        for (key, pool) in self.pools where key.upstream == identity {
            pool.closeIdle { !members.contains($0) }
        }
        for (key, pool) in self.streams where key.upstream == identity {
            pool.close { !members.contains($0) }
        }
    }

    /// What a variable in `proxy_pass` names: an upstream of the configuration, or an address.
    func upstream(named name: String, in plan: GatewayPlan) -> Upstream? {
        if let upstream = plan.upstreams[name] { return upstream }
        return self.shared.dynamicUpstream(name)
    }

    /// Another plan takes effect, for the requests that begin from now on.
    func adopt(_ plan: GatewayPlan) {
        self.plan = plan
        self.metrics = MetricsShard(plan.metricsShape, continuing: self.metrics)
        self.instances = [:]
        let kept = Set(plan.upstreams.values.map { ObjectIdentifier($0) })
        for (key, pool) in self.pools where !kept.contains(key.upstream) && !self.shared.isDynamic(key.upstream) {
            pool.close()
            self.pools[key] = nil
        }
        for (key, pool) in self.streams where !kept.contains(key.upstream) && !self.shared.isDynamic(key.upstream) {
            pool.close()
            self.streams[key] = nil
        }
    }

    func drain() {
        self.isDraining = true
        for connection in self.connections.values { connection.drain() }
    }

    func close() {
        self.logBuffer.flush(to: self.shared.log)
        for pool in self.pools.values { pool.close() }
        for pool in self.streams.values { pool.close() }
        for connection in self.connections.values { connection.close() }
    }

    var poolCounts: UpstreamPool.Counts {
        var counts = UpstreamPool.Counts()
        for pool in self.pools.values {
            counts.idle += pool.counts.idle
            counts.open += pool.counts.open
            counts.created += pool.counts.created
        }
        return counts
    }

    // MARK: - Time as text

    /// `Sun, 06 Nov 1994 08:49:37 GMT`, written once a second.
    var date: [UInt8] {
        let now = self.shared.time.wallTime
        let second = now.microseconds / 1_000_000
        if second != self.dateSecond {
            self.dateSecond = second
            self.dateBytes = Array(HTTPDate.text(now).utf8)
        }
        return self.dateBytes
    }

    func writeMilliseconds(into buffer: inout ByteBuffer) {
        let milliseconds = self.shared.time.wallTime.microseconds / 1_000
        let rest = "\(milliseconds % 1_000)"
        buffer.writeString("\(milliseconds / 1_000).\(String(repeating: "0", count: 3 - rest.utf8.count))\(rest)")
    }

    var timeISO8601: String { LogTime.iso8601(self.shared.time.wallTime) }
    var timeLocal: String { LogTime.local(self.shared.time.wallTime) }

    func stubStatus() -> ByteBuffer { self.shared.stubStatus() }

    func handshakeFailed() { self.metrics.connections.handshakesFailed &+= 1 }

    func instanceNumber(_ peer: PeerID, _ upstream: Upstream) -> Int {
        let key = InstanceKey(upstream: upstream.index, peer: peer)
        if let number = self.instances[key] { return number }
        let name = upstream.group.model(of: peer)?.name ?? "-"
        let number = self.metrics.instance(name, of: upstream.index)
        self.instances[key] = number
        return number
    }

    /// A quiet gateway's lines are handed over within a second.
    func scheduleLogFlush() {
        guard !self.isFlushScheduled else { return }
        self.isFlushScheduled = true
        let worker = NIOLoopBound(self, eventLoop: self.eventLoop)
        self.eventLoop.scheduleTask(in: .milliseconds(200)) {
            worker.value.isFlushScheduled = false
            worker.value.logBuffer.flush(to: worker.value.shared.log)
        }
    }
}
