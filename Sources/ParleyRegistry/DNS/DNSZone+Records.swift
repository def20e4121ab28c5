internal import ParleyCore
internal import ParleyDiscovery

extension DNSZone {
    func startOfAuthority(at now: Timestamp) -> DNSRecord {
        let domain = self.settings.domain
        let soa = DNSStartOfAuthority(
            server: self.name(["ns"]) ?? domain,
            mailbox: self.name(["hostmaster"]) ?? domain,
            // It goes round (RFC 1982).
            serial: UInt32(truncatingIfNeeded: now.milliseconds / 1_000),
            refresh: 3_600,
            retry: 600,
            expire: 86_400,
            minimum: 0
        )
        return DNSRecord(domain, .soa(soa))
    }

    /// The domain's one server: the node on which this runs.
    func nameServers(_ source: any RegistryDNSSource) -> [Entry] {
        guard let target = self.nodeName(self.settings.nodeName) else { return [] }
        let address = source.node(named: self.settings.nodeName.lowercased()).flatMap { IPAddress($0.address) }
        return [
            Entry(
                record: DNSRecord(self.settings.domain, ttl: self.settings.nodeTTL, .ns(target)),
                companions: address.map { [DNSRecord(target, ttl: self.settings.nodeTTL, .address($0))] } ?? []
            )
        ]
    }

    func entries(_ question: DNSQuestion, at address: IPAddress) -> [Entry] {
        let data = DNSRecordData.address(address)
        guard question.asks(for: data.type) else { return [] }
        return [Entry(record: DNSRecord(question.name, ttl: self.settings.nodeTTL, data))]
    }

    /// An address, or the host name that stands in its place.
    func records(_ question: DNSQuestion, at text: String) -> [DNSRecord] {
        if let address = IPAddress(text) { return self.entries(question, at: address).map(\.record) }
        guard let host = try? DNSName(text), host != .root else { return [] }
        guard question.type == .a || question.type == .aaaa || question.asks(for: .cname) else { return [] }
        return [DNSRecord(question.name, ttl: self.settings.nodeTTL, .cname(host))]
    }

    func texts(_ name: DNSName, _ node: RegistryDNSNode) -> [DNSRecord] {
        node.meta.sorted { $0.key < $1.key }.map { key, value in
            DNSRecord(name, ttl: self.settings.nodeTTL, .text("\(key)=\(value)"))
        }
    }

    /// A and AAAA records of the instances; where none of them has an IP address, one CNAME, since two at a name are
    /// forbidden.
    func serviceAddresses(_ question: DNSQuestion, _ instances: [RegistryDNSInstance], most: Int) -> [Entry] {
        var seen: Set<IPAddress> = []
        var entries: [Entry] = []
        for instance in instances where entries.count < most {
            guard let address = IPAddress(instance.place), seen.insert(address).inserted else { continue }
            let data = DNSRecordData.address(address)
            guard question.asks(for: data.type) else { continue }
            entries.append(Entry(record: DNSRecord(question.name, ttl: self.settings.serviceTTL, data)))
        }
        guard seen.isEmpty else { return entries }
        for place in instances.map(\.place) {
            guard var record = self.records(question, at: place).first else { continue }
            record.ttl = self.settings.serviceTTL
            return [Entry(record: record)]
        }
        return []
    }

    /// SRV records of the instances, each with the addresses of its target.
    func locations(_ question: DNSQuestion, _ instances: [RegistryDNSInstance], most: Int) -> [Entry] {
        var seen: Set<DNSServiceLocation> = []
        var entries: [Entry] = []
        for instance in instances where entries.count < most {
            guard let (target, companions) = self.target(of: instance) else { continue }
            let weight = instance.status == .warning ? instance.weights.warning : instance.weights.passing
            var location = DNSServiceLocation(
                priority: 1,
                weight: 0,
                port: UInt16(clamping: instance.port),
                target: target
            )
            // The same place under two weights is still one place.
            guard seen.insert(location).inserted else { continue }
            location.weight = UInt16(clamping: weight)
            let record = DNSRecord(question.name, ttl: self.settings.serviceTTL, .srv(location))
            entries.append(Entry(record: record, companions: companions))
        }
        return entries
    }

    private func target(of instance: RegistryDNSInstance) -> (DNSName, [DNSRecord])? {
        let address = IPAddress(instance.place)
        if instance.address.isEmpty, let name = self.nodeName(instance.node.name) {
            let record = address.map { DNSRecord(name, ttl: self.settings.nodeTTL, .address($0)) }
            return (name, (record.map { [$0] } ?? []) + self.texts(name, instance.node))
        }
        guard let address else {
            guard let host = try? DNSName(instance.place), host != .root else { return nil }
            return (host, [])
        }
        guard let name = self.addressName(address) else { return nil }
        return (name, [DNSRecord(name, ttl: self.settings.nodeTTL, .address(address))])
    }
}

extension RegistryDNSInstance {
    /// Where it is: its own address, or else its node's.
    var place: String { self.address.isEmpty ? self.node.address : self.address }
}
