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
    /// Of ``pools``, found without comparing names. A plan's locations live as long as it does, so they go with it.
    private var poolsOfLocations: [ObjectIdentifier: UpstreamPool] = [:]
    private var streams: [PoolKey: HTTP2Pool] = [:]
    /// Of the plans before, until their last connection has ended.
    private var leavingStreams: [HTTP2Pool] = []
    private var upstreamCounters: [String: UpstreamCounters] = [:]
    private var ids: RequestIDs
    private var chances: UInt64
    private var free: [Exchange] = []
    private var underWay: [Exchange] = []
    private var alone = 0
    private static let maxAlone = 256
    var connections: [ObjectIdentifier: ClientConnection] = [:]
    private(set) var isDraining = false
    private var isClosed = false
    private var dateSecond: Int64 = -1
    private var dateBytes: [UInt8] = []
    var metrics: MetricsShard
    /// Of bodies that are held until they are complete.
    var heldBytes = 0

    /// nginx puts what is larger than a buffer into a file; here it stays in memory up to this size, and all bodies
    /// together up to the other. Beyond that a body flows through as it comes.
    static let maxHeldBody = 1_048_576
    static let maxHeldBodies = 67_108_864
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
    var milliseconds: Int64 { MonotonicTime.milliseconds }

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
        self.free.popLast() ?? Exchange(worker: self)
    }

    func began(_ exchange: Exchange) {
        exchange.place = self.underWay.count
        self.underWay.append(exchange)
    }

    func ended(_ exchange: Exchange) {
        // The last one takes its place.
        if let last = self.underWay.popLast(), last !== exchange {
            last.place = exchange.place
            self.underWay[exchange.place] = last
        }
        self.record(exchange)
    }

    /// A place among the requests that go on without their clients. The drain waits for them.
    func takeAlone() -> Bool {
        guard self.alone < Self.maxAlone else { return false }
        self.alone += 1
        self.shared.aloneChanged(by: 1)
        return true
    }

    func giveAlone() {
        self.alone -= 1
        self.shared.aloneChanged(by: -1)
    }

    func takeBack(_ exchange: Exchange) {
        guard !self.isClosed, self.free.count < Self.maxFreeExchanges, exchange.plan === self.plan else { return }
        self.free.append(exchange)
    }

    /// What is under way is not waited for any longer.
    func giveUp() {
        for exchange in self.underWay { exchange.shutDown() }
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
        // One that a variable has named is another one each time.
        let isOwn = upstream === location.upstream
        if isOwn, let pool = self.poolsOfLocations[ObjectIdentifier(location)] { return pool }
        let pool = self.pool(for: self.key(upstream, location), upstream)
        if isOwn { self.poolsOfLocations[ObjectIdentifier(location)] = pool }
        return pool
    }

    private func pool(for key: PoolKey, _ upstream: Upstream) -> UpstreamPool {
        if let pool = self.pools[key] { return pool }
        let pool = UpstreamPool(
            eventLoop: self.eventLoop,
            keepalive: upstream.model.keepalive,
            upstream: upstream,
            counters: self.counters(of: upstream)
        )
        self.pools[key] = pool
        return pool
    }

    func streamPool(_ upstream: Upstream, _ location: CompiledLocation) -> HTTP2Pool {
        let key = self.key(upstream, location)
        if let pool = self.streams[key] { return pool }
        let pool = HTTP2Pool(worker: self, upstream: upstream, counters: self.counters(of: upstream))
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

    /// Not on the path of a request that goes well: a pool keeps its own.
    func counters(of upstream: Upstream) -> UpstreamCounters {
        // What variables name is not in the metrics: clients may choose it.
        guard upstream.index >= 0 else { return UpstreamCounters() }
        if let counters = self.upstreamCounters[upstream.model.name] { return counters }
        let counters = UpstreamCounters()
        self.upstreamCounters[upstream.model.name] = counters
        return counters
    }

    /// The counters as they are now, those of the pools among them.
    func snapshot() -> MetricsShard {
        self.dropEmptyPools()
        var shard = self.metrics
        var resting: [String: Int] = [:]
        for pool in self.streams.values { resting[pool.upstream.model.name, default: 0] += pool.resting }
        for (index, name) in shard.shape.upstreams.enumerated() {
            guard let counters = self.upstreamCounters[name] else { continue }
            shard.upstreams[index] = counters.snapshot(resting: resting[name] ?? 0)
        }
        return shard
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
        // Each holds the plan of its last request.
        self.free = []
        self.poolsOfLocations = [:]
        let names = Set(plan.metricsShape.upstreams)
        self.upstreamCounters = self.upstreamCounters.filter { names.contains($0.key) }
        let kept = Set(plan.upstreams.values.map { ObjectIdentifier($0) })
        for (key, pool) in self.pools where !kept.contains(key.upstream) && !self.shared.isDynamic(key.upstream) {
            pool.close()
            self.pools[key] = nil
        }
        for (key, pool) in self.streams where !kept.contains(key.upstream) && !self.shared.isDynamic(key.upstream) {
            pool.close()
            self.streams[key] = nil
            self.leavingStreams.append(pool)
        }
        self.dropEmptyPools()
    }

    private func dropEmptyPools() {
        self.leavingStreams.removeAll { $0.isEmpty }
    }

    func drain() {
        self.isDraining = true
        for connection in self.connections.values { connection.drain() }
    }

    func close() {
        self.isClosed = true
        self.free = []
        self.logBuffer.flush(to: self.shared.log)
        for pool in self.pools.values { pool.close() }
        for pool in self.streams.values { pool.close() }
        for connection in self.connections.values { connection.close() }
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
    func streamReset() { self.metrics.connections.streamsReset &+= 1 }
    func ruleBroken() { self.metrics.connections.violations &+= 1 }

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
