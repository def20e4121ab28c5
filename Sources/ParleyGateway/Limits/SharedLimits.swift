internal import Crypto
internal import Logging
internal import NIOCore
internal import ParleyCore
internal import ParleyRESP
internal import Synchronization

/// What several gateways have counted together of one request's limits.
enum SharedVerdict: Sendable, Hashable {
    /// How far each key is ahead of its rate, in thousandths of a request. The request counts.
    case within([Int64])
    /// The limit at this place is exceeded; nothing was counted.
    case exceeded(index: Int, excess: Int64)
    /// The server has not answered in time.
    case unavailable
}

/// One limit of a request, for the script.
struct SharedLimitUse: Sendable, Hashable {
    var zone: String
    /// Thousandths of a request in a second.
    var rate: Int
    /// Thousandths.
    var burst: Int64
}

/// A server of Redis or Valkey that holds the counters of several gateways. Lives as long as a plan names it.
///
/// The arithmetic is that of ``RequestZoneState``, with the server's clock, which all gateways share. All limits of a
/// location are looked at and counted in one step; a request that one of them turns away counts in none.
final class SharedLimitServer: Sendable {
    private struct State {
        var client: RESPClient?
        var isAway = false
        var failures: UInt64 = 0
    }

    let url: String
    private let logger: Logger
    private let time: any TimeSource
    private let random: any RandomSource
    private let configuration: RESPConfiguration
    private let state = Mutex(State())
    private let connected = Signal()

    /// - Throws: ``GatewayError`` when the address is none.
    init(url: String, logger: Logger, time: any TimeSource, random: any RandomSource) throws {
        guard var configuration = try? RESPConfiguration(url: url) else {
            throw GatewayError(
                .invalidConfiguration,
                "a shared limit's server must be written as redis://user:password@host:port/database"
            )
        }
        configuration.clientName = "parley-gateway"
        configuration.sharedConnections = 1
        configuration.connectTimeout = .seconds(2)
        configuration.commandTimeout = .seconds(2)
        self.url = url
        self.configuration = configuration
        self.logger = logger
        self.time = time
        self.random = random
    }

    /// Keeps the connection while it is wanted; `changed` rings when that may be otherwise.
    func run(while isWanted: @escaping @Sendable () -> Bool, _ changed: Signal) async {
        let client = RESPClient(self.configuration, logger: self.logger, time: self.time, random: self.random)
        self.state.withLock { $0.client = client }
        self.connected.ring()
        await withTaskGroup(of: Void.self) { group in
            // It says itself why there is no connection.
            group.addTask { try? await client.runUntilCancelled() }
            group.addTask { [time = self.time] in
                while !Task.isCancelled {
                    let generation = changed.generation
                    guard isWanted() else { return }
                    await changed.wait(after: generation, until: nil, on: time)
                }
            }
            await group.next()
            group.cancelAll()
        }
        self.state.withLock { state in
            if state.client === client { state.client = nil }
        }
    }

    /// How many requests could not be counted together.
    var failures: UInt64 { self.state.withLock { $0.failures } }

    func check(_ uses: [SharedLimitUse], keys: [[UInt8]], milliseconds: Int) async -> SharedVerdict {
        let end = self.time.now.advanced(by: .milliseconds(max(1, milliseconds)))
        guard let client = await self.client(until: end) else { return self.noteFailure(nil) }
        let names = zip(uses, keys).map { use, key in Self.name(zone: use.zone, key: key) }
        let arguments = uses.flatMap { [RESPArgument($0.rate), RESPArgument($0.burst)] }
        do {
            let reply = try await client.eval(Self.script, keys: names, arguments: arguments, deadline: Deadline(end))
            guard let verdict = Self.verdict(reply, count: uses.count) else {
                return self.noteFailure(reply.unexpected("EVALSHA"))
            }
            self.noteSuccess()
            return verdict
        } catch {
            return self.noteFailure(error)
        }
    }

    /// A plan may have named it a moment ago.
    private func client(until end: ContinuousClock.Instant) async -> RESPClient? {
        while true {
            let generation = self.connected.generation
            if let client = self.state.withLock({ $0.client }) { return client }
            guard self.time.now < end, !Task.isCancelled else { return nil }
            await self.connected.wait(after: generation, until: end, on: self.time)
        }
    }

    /// All keys are in one slot of a cluster: a location's limits are one step, whatever their zones are.
    private static func name(zone: String, key: [UInt8]) -> String {
        var hash = SHA256()
        key.withUnsafeBytes { hash.update(bufferPointer: $0) }
        let digest = hash.finalize()
        var text = "{parley:limit}:\(zone):"
        for byte in digest.prefix(16) {
            let digits = String(byte, radix: 16)
            text += digits.utf8.count == 1 ? "0\(digits)" : digits
        }
        return text
    }

    private static func verdict(_ reply: RESPValue, count: Int) -> SharedVerdict? {
        guard let numbers = reply.elements?.map(\.integer), let first = numbers.first, let index = first else {
            return nil
        }
        let excesses = numbers.dropFirst().compactMap { $0 }
        guard index == 0 else {
            guard (1...Int64(count)).contains(index), let excess = excesses.first else { return nil }
            return .exceeded(index: Int(index) - 1, excess: excess)
        }
        return excesses.count == count ? .within(Array(excesses)) : nil
    }

    // MARK: - Whether it is there

    private func noteSuccess() {
        let isBack = self.state.withLock { state in
            defer { state.isAway = false }
            return state.isAway
        }
        if isBack { self.logger.notice("limits are counted together again", metadata: ["server": "\(self.place)"]) }
    }

    private func noteFailure(_ error: RESPError?) -> SharedVerdict {
        let isNews = self.state.withLock { state in
            defer { state.isAway = true }
            state.failures &+= 1
            return !state.isAway
        }
        if isNews {
            self.logger.error(
                "limits cannot be counted together; each gateway does as its configuration says",
                metadata: ["server": "\(self.place)", "error": "\(error?.message ?? "no connection yet")"]
            )
        }
        return .unavailable
    }

    /// Without the password.
    private var place: String { "\(self.configuration.endpoint)" }

    private static let script = RESPScript(
        """
        local clock = redis.call('TIME')
        local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
        local reply, states = {0}, {}
        for index, key in ipairs(KEYS) do
          local rate, burst = tonumber(ARGV[index * 2 - 1]), tonumber(ARGV[index * 2])
          local state = redis.call('HMGET', key, 'last', 'excess')
          local last, excess = now, 0
          if state[1] and state[2] then
            last = tonumber(state[1])
            local elapsed = now - last
            if elapsed < -60000 then elapsed = 1 elseif elapsed < 0 then elapsed = 0 end
            excess = tonumber(state[2]) - math.floor(rate * elapsed / 1000) + 1000
            if excess < 0 then excess = 0 end
            if excess > burst then return {index, excess} end
            if elapsed ~= 0 then last = now end
          end
          reply[index + 1] = excess
          states[index] = {key, last, excess, rate}
        end
        local function whole(number) return string.format('%.0f', number) end
        for _, state in ipairs(states) do
          local key, last, excess, rate = state[1], state[2], state[3], state[4]
          redis.call('HSET', key, 'last', whole(last), 'excess', whole(excess))
          -- When all has drained, there is nothing to remember.
          redis.call('PEXPIRE', key, whole(math.min(math.ceil(excess * 1000 / rate), 86400000) + 60000))
        end
        return reply
        """
    )
}

/// The limits of one location that are counted together with other gateways.
struct SharedLimits: Sendable {
    let server: SharedLimitServer
    let onFailure: SharedCounter.OnFailure
    let milliseconds: Int
    /// Their places among the location's limits.
    let indices: [Int]
    let uses: [SharedLimitUse]

    static let maxBurst: Int64 = 1_000_000_000

    /// `nil` when all limits of the location are the gateway's own.
    ///
    /// - Throws: ``GatewayError`` when they are on several servers: they could not be counted in one step.
    init?(_ settings: LocationSettings, parts: PlanParts) throws {
        var counter: SharedCounter?
        var indices: [Int] = []
        var uses: [SharedLimitUse] = []
        for (index, use) in settings.requestLimits.enumerated() {
            guard let zone = parts.model.requestZones.first(where: { $0.name == use.zone }), let shared = zone.shared
            else { continue }
            guard counter == nil || counter == shared else {
                throw GatewayError(
                    .invalidConfiguration,
                    "the limits of one location must be shared in the same way; zone \"\(use.zone)\" is not"
                )
            }
            counter = shared
            indices.append(index)
            let burst = min(max(Int64(use.burst), 0), Self.maxBurst) * 1_000
            uses.append(SharedLimitUse(zone: use.zone, rate: max(1, zone.rate), burst: burst))
        }
        guard let counter else { return nil }
        guard let server = parts.sharedServers[counter.url] else {
            throw GatewayError(.invalidConfiguration, "the server of a shared limit is not known")
        }
        self.server = server
        self.onFailure = counter.onFailure
        self.milliseconds = counter.timeoutMilliseconds
        self.indices = indices
        self.uses = uses
    }
}

extension Exchange {
    /// Asks the server that counts for all gateways. The limits of this gateway alone come after it.
    func limitTogether(_ shared: SharedLimits, _ location: CompiledLocation) {
        var uses: [SharedLimitUse] = []
        var places: [Int] = []
        var keys: [[UInt8]] = []
        for (use, index) in zip(shared.uses, shared.indices) {
            let key = location.requestKeys[index].evaluated(in: self)
            // As with the gateway's own: no key, no limit.
            guard (1...RequestLimiter.maxKeyBytes).contains(key.readableBytes) else { continue }
            uses.append(use)
            places.append(index)
            keys.append(Array(key.readableBytesView))
        }
        guard !uses.isEmpty else { return self.limitAlone(except: shared.indices) }
        self.phase = .delayed
        let token = self.generation
        let exchange = NIOLoopBound(self, eventLoop: self.loop)
        self.loop.makeFutureWithTask { [uses, keys] in
            await shared.server.check(uses, keys: keys, milliseconds: shared.milliseconds)
        }.whenSuccess { [places] verdict in
            let exchange = exchange.value
            guard exchange.generation == token, exchange.phase == .delayed else { return }
            exchange.phase = .routing
            exchange.limitedTogether(verdict, shared, places)
        }
    }

    private func limitedTogether(_ verdict: SharedVerdict, _ shared: SharedLimits, _ places: [Int]) {
        guard let location = self.location else { return }
        switch verdict {
        case .within(let excesses):
            let waits = zip(places, excesses).map { place, excess in
                location.requestLimiter.wait(at: place, excess: excess, rate: self.rate(of: place, location))
            }
            self.limitAlone(except: shared.indices, waiting: waits.max() ?? 0)
        case .exceeded(let index, let excess):
            self.decide(
                RequestVerdict(
                    outcome: .rejected,
                    limit: places[index],
                    excess: excess,
                    isDryRun: location.settings.isRequestLimitDry
                )
            )
        case .unavailable:
            switch shared.onFailure {
            case .local: self.limitAlone()
            case .open: self.limitAlone(except: shared.indices)
            case .closed where location.settings.isRequestLimitDry: self.limitAlone(except: shared.indices)
            case .closed:
                self.fail(
                    UInt16(clamping: location.settings.requestLimitStatus),
                    .rateLimited,
                    "the counters of the shared limit cannot be asked"
                )
            }
        }
    }

    private func rate(of place: Int, _ location: CompiledLocation) -> Int64 {
        let zone = location.settings.requestLimits[place].zone
        return Int64(max(1, self.plan.model.requestZones.first { $0.name == zone }?.rate ?? 1))
    }
}
