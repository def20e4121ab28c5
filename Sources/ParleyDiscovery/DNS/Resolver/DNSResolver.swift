public import ParleyCore
internal import Synchronization

/// Finds services by DNS: by the SRV records of a registry or of Kubernetes, or by addresses and a port that is known.
///
/// ```swift
/// let resolver = try DNSResolver(
///     .init(nameServers: [Endpoint(host: "127.0.0.1", port: 8600)], lookup: .locations(domain: "service.consul"))
/// )
/// let instances = try await resolver.resolve("user-service")
/// ```
///
/// **What it answers.** Of SRV records those of the lowest priority, one instance for each address and port; their
/// weights are in the instance's `metadata` (`weight`), and choosing by them is the caller's. IPv6 addresses count
/// only for a host that has no IPv4 address. A name that does not exist, or has no such records, has no instances.
///
/// **What it keeps.** Answers, for as long as their TTL says within the configuration's limits. Afterwards one caller
/// asks anew and the others get the old answer meanwhile. When no name server answers, the last instances that are
/// known stay the answer, however old; with none known it is an error.
///
/// **What it trusts.** An answer must carry the question's random id and the question itself, and come from the name
/// server's address to the port that was chosen for it. That makes forging hard for who cannot see the question, and
/// stops nobody who can: use it in networks that you trust.
public final class DNSResolver: ServiceResolver {
    private let configuration: Configuration
    private let exchange: DNSQueryExchange
    private let time: any TimeSource
    private let cache: Mutex<DNSAnswerCache>
    private let changed = Signal()
    /// Which name server answered last.
    private let preferred = Atomic(0)

    /// - Throws: ``DiscoveryError/Code/invalidConfiguration``.
    public init(
        _ configuration: Configuration,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) throws(DiscoveryError) {
        let configuration = try configuration.validated()
        self.configuration = configuration
        self.time = time
        self.exchange = DNSQueryExchange(
            timeout: configuration.attemptTimeout,
            udpPayloadSize: configuration.udpPayloadSize,
            time: time,
            random: random
        )
        self.cache = Mutex(
            DNSAnswerCache(maximumServices: configuration.maximumServices, failureHold: configuration.failureHold)
        )
    }

    /// - Throws: ``DiscoveryError/Code/registryUnavailable`` when no name server gave an answer and none is known from
    ///   before, ``DiscoveryError/Code/invalidConfiguration`` when the name is too long for DNS, `CancellationError`.
    public func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        while true {
            let generation = self.changed.generation
            switch self.cache.withLock({ $0.ask(service, now: self.time.now) }) {
            case .answer(let instances): return instances
            case .fail(let error): throw error
            case .lookUp(let hasAnswer): return try await self.lookUp(service, attempts: hasAnswer ? 1 : nil)
            case .wait:
                await self.changed.wait(after: generation, until: nil, on: self.time)
                try Task.checkCancellation()
            }
        }
    }

    private func lookUp(_ service: ServiceName, attempts: Int?) async throws -> [ServiceInstance] {
        let outcome: DNSAnswerCache.Outcome
        do {
            outcome = try await self.find(service, attempts: max(1, attempts ?? self.configuration.attempts))
        } catch let error as DiscoveryError {
            outcome = .failed(error)
        } catch {
            outcome = .abandoned
        }
        let answer = self.cache.withLock { $0.ended(service, outcome, now: self.time.now) }
        self.changed.ring()
        guard let answer else { throw CancellationError() }
        return try answer.get()
    }

    /// An instance before it has an address.
    private struct Host {
        var name: DNSName
        var port: UInt16
        var weight: UInt16?
    }

    /// Addresses, and the TTL in seconds.
    private typealias Addresses = (found: [IPAddress], ttl: UInt32)

    private func find(_ service: ServiceName, attempts: Int) async throws -> DNSAnswerCache.Outcome {
        let name: DNSName
        do throws(DNSFormatError) {
            name = try self.configuration.name(of: service)
        } catch {
            throw DiscoveryError(
                .invalidConfiguration,
                "\(service) cannot be looked up in \"\(self.configuration.lookup.domain)\": \(error).",
                retry: .permanent
            )
        }
        switch self.configuration.lookup.kind {
        case .addresses(let port):
            let addresses = try await self.addresses(of: name, attempts: attempts)
            let host = Host(name: name, port: UInt16(clamping: port))
            return self.outcome(service, addresses.found.map { (host, $0) }, ttl: addresses.ttl)
        case .locations: return try await self.findLocations(service, name, attempts: attempts)
        }
    }

    private func findLocations(
        _ service: ServiceName,
        _ name: DNSName,
        attempts: Int
    ) async throws -> DNSAnswerCache.Outcome {
        let (answer, message) = try await self.records(.srv, at: name, attempts: attempts)
        let locations = answer.records.compactMap { record in
            if case .srv(let location) = record.data { location } else { nil }
        }
        let first = locations.map(\.priority).min()
        let hosts =
            locations
            .filter { $0.priority == first && $0.port > 0 && $0.target != .root }
            .map { Host(name: $0.target, port: $0.port, weight: $0.weight) }
            .prefix(self.configuration.maximumInstances)
        guard !hosts.isEmpty else {
            let ttl = answer.records.isEmpty ? message.negativeTTL ?? 0 : answer.ttl
            return self.outcome(service, [], ttl: ttl)
        }
        // What the answer brought along.
        var known: [DNSName: [IPAddress]] = [:]
        var ttl = answer.ttl
        let targets = Set(hosts.map(\.name))
        for record in message.additionals where targets.contains(record.name) {
            guard case .address(let address) = record.data else { continue }
            known[record.name, default: []].append(address)
            ttl = min(ttl, record.ttl)
        }
        let others = try await self.addresses(
            ofAll: targets.filter { known[$0] == nil }.prefix(self.configuration.maximumHostQuestions),
            attempts: attempts,
            isAllThereIs: known.isEmpty
        )
        known.merge(others.found) { $1 }
        ttl = min(ttl, others.ttl)
        var pairs: [(Host, IPAddress)] = []
        for host in hosts {
            for address in Self.preferred(known[host.name] ?? []) { pairs.append((host, address)) }
        }
        return self.outcome(service, pairs, ttl: ttl)
    }

    /// IPv4 where there is any.
    private static func preferred(_ addresses: [IPAddress]) -> [IPAddress] {
        let old = addresses.filter { if case .v4 = $0 { true } else { false } }
        return old.isEmpty ? addresses : old
    }

    private func outcome(
        _ service: ServiceName,
        _ found: [(host: Host, address: IPAddress)],
        ttl: UInt32
    ) -> DNSAnswerCache.Outcome {
        var seen: Set<Endpoint> = []
        var instances: [ServiceInstance] = []
        for (host, address) in found where instances.count < self.configuration.maximumInstances {
            let endpoint = Endpoint(host: address.description, port: Int(host.port))
            guard seen.insert(endpoint).inserted else { continue }
            var metadata = ["dns.host": host.name.description]
            if let weight = host.weight { metadata[ServiceInstance.weight] = "\(weight)" }
            instances.append(
                ServiceInstance(id: "\(service)@\(endpoint)", service: service, endpoint: endpoint, metadata: metadata)
            )
        }
        let longest = instances.isEmpty ? self.configuration.maximumNegativeTTL : self.configuration.maximumTTL
        let wanted = Duration.seconds(Int64(ttl))
        return .found(instances, validFor: max(min(wanted, longest), self.configuration.minimumTTL))
    }

    // MARK: Questions

    /// The addresses of hosts, a few at a time. A host that cannot be asked for is left out.
    ///
    /// - Throws: When none could be asked for, and these are all the hosts that there are.
    private func addresses(
        ofAll hosts: some Sequence<DNSName> & Sendable,
        attempts: Int,
        isAllThereIs: Bool
    ) async throws -> (found: [DNSName: [IPAddress]], ttl: UInt32) {
        var found: [DNSName: [IPAddress]] = [:]
        var ttl = UInt32.max
        var failure: (any Error)?
        await withTaskGroup(of: (DNSName, Result<Addresses, any Error>).self) { group in
            var running = 0
            for host in hosts {
                if running >= Self.questionsAtOnce, let (host, result) = await group.next() {
                    Self.take(host, result, &found, &ttl, &failure)
                }
                running += 1
                group.addTask {
                    do {
                        return (host, .success(try await self.addresses(of: host, attempts: attempts)))
                    } catch {
                        return (host, .failure(error))
                    }
                }
            }
            for await (host, result) in group { Self.take(host, result, &found, &ttl, &failure) }
        }
        try Task.checkCancellation()
        if let failure, found.isEmpty, isAllThereIs { throw failure }
        return (found, ttl)
    }

    private static let questionsAtOnce = 8

    private static func take(
        _ host: DNSName,
        _ result: Result<Addresses, any Error>,
        _ found: inout [DNSName: [IPAddress]],
        _ ttl: inout UInt32,
        _ failure: inout (any Error)?
    ) {
        switch result {
        case .success(let addresses):
            found[host] = addresses.found
            ttl = min(ttl, addresses.ttl)
        case .failure(let error): failure = error
        }
    }

    private func addresses(of name: DNSName, attempts: Int) async throws -> Addresses {
        var ttl: UInt32 = 0
        for type in [DNSRecordType.a, .aaaa] {
            let (answer, message) = try await self.records(type, at: name, attempts: attempts)
            let addresses = answer.records.compactMap { record in
                if case .address(let address) = record.data { address } else { nil }
            }
            guard addresses.isEmpty else { return (addresses, answer.ttl) }
            ttl = message.negativeTTL ?? 0
            // There is no such name: nor has it another type.
            if message.responseCode == .nameError { break }
        }
        return ([], ttl)
    }

    /// The records of one type at a name, through CNAMEs, also through those whose end another answer has.
    private func records(
        _ type: DNSRecordType,
        at name: DNSName,
        attempts: Int
    ) async throws -> (DNSResolved, DNSMessage) {
        var resolved = DNSResolved(name: name)
        var message = try await self.ask(DNSQuestion(name, type), attempts: attempts)
        for _ in 0..<DNSResolved.maximumAliases {
            let next = message.resolved(resolved.name, type)
            let isEnd = !next.records.isEmpty || next.name == resolved.name
            let aliasTTL = min(resolved.aliasTTL, next.aliasTTL)
            resolved = next
            resolved.aliasTTL = aliasTTL
            if isEnd || message.responseCode == .nameError || message.negativeTTL != nil { break }
            message = try await self.ask(DNSQuestion(next.name, type), attempts: attempts)
        }
        return (resolved, message)
    }

    /// Asks one name server after the other until one answers that the name exists or that it does not.
    private func ask(_ question: DNSQuestion, attempts: Int) async throws -> DNSMessage {
        let servers = self.configuration.nameServers
        var failures: [String] = []
        let first = self.preferred.load(ordering: .relaxed)
        for attempt in 0..<attempts {
            let index = (first + attempt) % servers.count
            do {
                var answer = try await self.exchange.ask(question, of: servers[index], usesEDNS: true)
                if answer.responseCode == .formatError || answer.responseCode == .notImplemented {
                    // It may be older than EDNS (RFC 6891, section 7).
                    answer = try await self.exchange.ask(question, of: servers[index], usesEDNS: false)
                }
                if answer.isReferral {
                    failures.append("\(servers[index]): refers to other servers, so it is no resolver")
                } else if answer.responseCode == .noError || answer.responseCode == .nameError {
                    self.preferred.store(index, ordering: .relaxed)
                    return answer
                } else {
                    failures.append("\(servers[index]): \(answer.responseCode)")
                }
            } catch let failure as DNSQueryExchange.Failure {
                failures.append("\(servers[index]): \(failure)")
            }
        }
        throw DiscoveryError(
            .registryUnavailable,
            "\(question.name) could not be looked up: \(failures.joined(separator: "; ")). Is the name server running, "
                + "and does it answer for that domain?",
            retry: .notSent
        )
    }
}
