package import ParleyCore
package import ParleyDiscovery

/// Answers questions from what a registry knows: a function of the question, the registry, the time and chance.
///
/// Its names: `[tag.]service.service[.dc].domain` and `_service._tag.service[.dc].domain`, `node.node[.dc].domain`,
/// `<address in hexadecimal digits>.addr[.dc].domain`, and the way back from addresses. The words are Consul's, and so
/// are the answers, but for what ``DNSZone/answer(_:from:at:random:most:)`` says.
package struct DNSZone: Sendable {
    package struct Settings: Sendable {
        package var domain: DNSName
        package var datacenter: String
        /// This server's own node, which answers for the domain.
        package var nodeName: String
        /// In seconds.
        package var serviceTTL: UInt32 = 0
        /// In seconds. Also that of addresses.
        package var nodeTTL: UInt32 = 0
        /// Leaves out instances that are `warning`.
        package var onlyPassing = false

        package init(domain: DNSName, datacenter: String, nodeName: String) {
            self.domain = domain
            self.datacenter = datacenter.lowercased()
            self.nodeName = nodeName
        }
    }

    /// A response, before it is made to fit.
    package struct Answer: Sendable {
        package var message: DNSMessage
        /// What goes into the additional section with each answer, as long as that answer is sent.
        package var companions: [[DNSRecord]] = []
    }

    package let settings: Settings

    package init(settings: Settings) { self.settings = settings }

    /// Answers one question of class IN.
    ///
    /// Different from Consul on purpose: the names between the domain and the services (`service.consul`,
    /// `dc1.consul`) exist and are empty, because a resolver may take NXDOMAIN for one as the end of all that is below
    /// (RFC 8020); and every empty answer carries the SOA, as in Consul's later versions.
    ///
    /// - Parameter most: As many answers are made at most: one more than can be sent shows that there are more.
    package func answer(
        _ query: DNSMessage,
        from source: any RegistryDNSSource,
        at now: Timestamp,
        random: any RandomSource,
        most: Int = .max
    ) -> Answer {
        var message = DNSMessage(answering: query)
        guard let question = query.questions.first, query.questions.count == 1 else {
            message.responseCode = .formatError
            return Answer(message: message)
        }
        guard question.type != .axfr, question.type != .ixfr else {
            message.responseCode = .notImplemented
            return Answer(message: message)
        }
        let subject = self.subject(of: question.name)
        guard question.recordClass == .internet || question.recordClass == .any, subject != .outside else {
            message.responseCode = .refused
            return Answer(message: message)
        }
        if case .reverse(let address) = subject { return self.reverse(message, question, address, source) }
        message.isAuthoritative = true
        let material = Material(source: source, random: random, most: most)
        switch self.find(subject, question, material, depth: 0) {
        case .nothing:
            message.responseCode = .nameError
            message.authorities = [self.startOfAuthority(at: now)]
            return Answer(message: message)
        case .records(let entries) where entries.isEmpty && question.asks(for: .soa) && subject == .apex:
            message.answers = [self.startOfAuthority(at: now)]
            let servers = self.nameServers(source)
            if question.type == .any {
                message.answers += servers.map(\.record)
            } else {
                message.authorities = servers.map(\.record)
            }
            message.additionals = servers.flatMap(\.companions)
            return Answer(message: message)
        case .records(let entries):
            if entries.isEmpty { message.authorities = [self.startOfAuthority(at: now)] }
            message.answers = entries.map(\.record)
            return Answer(message: message, companions: entries.map(\.companions))
        }
    }

    /// A record of the answer, and what should come along.
    struct Entry {
        var record: DNSRecord
        var companions: [DNSRecord] = []
    }

    enum Found {
        /// There is no such name.
        case nothing
        /// The name exists; perhaps it has no record of the type.
        case records([Entry])
    }

    /// What an answer is made from.
    private struct Material {
        var source: any RegistryDNSSource
        var random: any RandomSource
        var most: Int
    }

    /// How many CNAMEs within the domain are followed.
    private static let maximumDepth = 8

    private func find(_ subject: Subject, _ question: DNSQuestion, _ material: Material, depth: Int) -> Found {
        switch subject {
        case .outside, .reverse, .nothing: return .nothing
        case .empty: return .records([])
        case .apex: return .records(question.type == .ns ? self.nameServers(material.source) : [])
        case .address(let address): return .records(self.entries(question, at: address))
        case .node(let name):
            guard let node = material.source.node(named: name) else { return .nothing }
            var entries = self.records(question, at: node.address).map { Entry(record: $0) }
            if question.asks(for: .txt) { entries += self.texts(question.name, node).map { Entry(record: $0) } }
            return .records(self.following(entries, question, material, depth: depth))
        case .service(let name, let tag):
            let tag = tag?.lowercased()
            let instances = material.source.instances(ofService: name).filter { self.isAnswered($0, tag: tag) }
            guard !instances.isEmpty else { return .nothing }
            let shuffled = instances.shuffled(by: material.random)
            if question.type == .srv { return .records(self.locations(question, shuffled, most: material.most)) }
            var entries = self.serviceAddresses(question, shuffled, most: material.most)
            if question.type == .any { entries += self.locations(question, shuffled, most: material.most) }
            return .records(self.following(entries, question, material, depth: depth))
        }
    }

    private func isAnswered(_ instance: RegistryDNSInstance, tag: String?) -> Bool {
        guard instance.status < .critical, !self.settings.onlyPassing || instance.status == .passing else {
            return false
        }
        guard let tag else { return true }
        return instance.tags.contains { $0.lowercased() == tag }
    }

    /// Behind a CNAME that leads into the domain, what is there (RFC 1034, section 4.3.2).
    private func following(
        _ entries: [Entry],
        _ question: DNSQuestion,
        _ material: Material,
        depth: Int
    ) -> [Entry] {
        guard depth < Self.maximumDepth, entries.count == 1, question.type != .cname,
            case .cname(let target)? = entries.first?.record.data
        else { return entries }
        let next = DNSQuestion(target, question.type, recordClass: question.recordClass)
        guard case .records(let more) = self.find(self.subject(of: target), next, material, depth: depth + 1) else {
            return entries
        }
        return entries + more
    }

    private func reverse(
        _ message: DNSMessage,
        _ question: DNSQuestion,
        _ address: IPAddress,
        _ source: any RegistryDNSSource
    ) -> Answer {
        var message = message
        let known = source.names(at: address.description)
        let names =
            known.nodes.isEmpty
            ? known.services.compactMap { self.name([$0, "service", self.settings.datacenter]) }
            : known.nodes.compactMap { self.nodeName($0) }
        // For everybody else's addresses this server has no authority.
        guard !names.isEmpty, question.asks(for: .ptr) else {
            message.responseCode = .refused
            return Answer(message: message)
        }
        message.isAuthoritative = true
        message.answers = names.uniqued().map {
            DNSRecord(question.name, ttl: self.settings.nodeTTL, .ptr($0))
        }
        return Answer(message: message)
    }
}

extension DNSQuestion {
    func asks(for type: DNSRecordType) -> Bool { self.type == type || self.type == .any }
}

extension Array {
    /// Every order is equally likely (Fisher and Yates).
    func shuffled(by random: any RandomSource) -> [Element] {
        var shuffled = self
        for index in shuffled.indices.dropFirst().reversed() {
            let other = Int(random.next() % UInt64(index + 1))
            shuffled.swapAt(index, other)
        }
        return shuffled
    }
}

extension Sequence where Element: Hashable {
    /// Each once, where it came first.
    func uniqued() -> [Element] {
        var seen: Set<Element> = []
        return self.filter { seen.insert($0).inserted }
    }
}
