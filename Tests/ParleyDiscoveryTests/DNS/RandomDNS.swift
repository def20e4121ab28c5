internal import ParleyCore
internal import ParleyDiscovery

/// Messages made by lot: every section, every type, names that share their ends.
struct RandomDNS {
    private let random: SeededRandomSource
    private var names: [DNSName] = []

    init(seed: UInt64) {
        self.random = SeededRandomSource(seed: seed)
    }

    func number(below limit: Int) -> Int { Int(self.random.next() % UInt64(max(1, limit))) }

    func bytes(upTo limit: Int) -> [UInt8] {
        (0..<self.number(below: limit + 1)).map { _ in UInt8(truncatingIfNeeded: self.random.next()) }
    }

    mutating func name() -> DNSName {
        if !self.names.isEmpty, self.number(below: 3) == 0 { return self.names[self.number(below: self.names.count)] }
        if self.number(below: 20) == 0 { return .root }
        var labels: [[UInt8]] = (0...self.number(below: 3)).map { _ in
            let label = self.number(below: 4) == 0 ? self.bytes(upTo: 63) : Array("Label\(self.number(below: 9))".utf8)
            return label.isEmpty ? [0] : label
        }
        if let other = self.names.last, self.number(below: 2) == 0 {
            labels += other.labels.dropFirst().map { Array($0) }
        }
        guard let name = try? DNSName(labels: labels) else { return .root }
        self.names.append(name)
        return name
    }

    mutating func data() -> DNSRecordData {
        switch self.number(below: 9) {
        case 0: .address(.v4(UInt32(truncatingIfNeeded: self.random.next())))
        case 1: .address(.v6(high: self.random.next(), low: self.random.next()))
        case 2: .ns(self.name())
        case 3: .cname(self.name())
        case 4: .ptr(self.name())
        case 5:
            .soa(
                DNSStartOfAuthority(
                    server: self.name(),
                    mailbox: self.name(),
                    serial: UInt32(truncatingIfNeeded: self.random.next()),
                    refresh: 1,
                    retry: 2,
                    expire: 3,
                    minimum: UInt32(truncatingIfNeeded: self.random.next())
                )
            )
        case 6: .txt((0...self.number(below: 3)).map { _ in self.bytes(upTo: 255) })
        case 7:
            .srv(
                DNSServiceLocation(
                    priority: UInt16(self.number(below: 65_536)),
                    weight: UInt16(self.number(below: 65_536)),
                    port: UInt16(self.number(below: 65_536)),
                    target: self.name()
                )
            )
        default: .opaque(DNSRecordType(rawValue: 1_000 + UInt16(self.number(below: 60_000))), self.bytes(upTo: 300))
        }
    }

    mutating func records(upTo limit: Int) -> [DNSRecord] {
        (0..<self.number(below: limit + 1)).map { _ in
            DNSRecord(self.name(), ttl: UInt32(truncatingIfNeeded: self.random.next()), self.data())
        }
    }

    mutating func message() -> DNSMessage {
        var message = DNSMessage(id: UInt16(truncatingIfNeeded: self.random.next()))
        let flags = self.random.next()
        message.isResponse = flags & 1 != 0
        message.isAuthoritative = flags & 2 != 0
        message.isTruncated = flags & 4 != 0
        message.recursionDesired = flags & 8 != 0
        message.recursionAvailable = flags & 16 != 0
        message.isAuthenticData = flags & 32 != 0
        message.checkingDisabled = flags & 64 != 0
        message.opcode = DNSOpcode(rawValue: UInt8(self.number(below: 16)))
        message.questions = (0..<self.number(below: 3)).map { _ in
            DNSQuestion(self.name(), DNSRecordType(rawValue: UInt16(self.number(below: 300))))
        }
        message.answers = self.records(upTo: 12)
        message.authorities = self.records(upTo: 3)
        message.additionals = self.records(upTo: 6)
        var codes = 16
        if flags & 128 != 0 {
            codes = 4_096
            message.edns = DNSExtension(
                udpPayloadSize: UInt16(self.number(below: 65_536)),
                version: UInt8(self.number(below: 256)),
                dnssecOK: flags & 256 != 0,
                options: self.bytes(upTo: 40)
            )
        }
        message.responseCode = DNSResponseCode(rawValue: UInt16(self.number(below: codes)))
        return message
    }
}
