package import ParleyDiscovery

extension DNSZone {
    /// What a name stands for.
    package enum Subject: Sendable, Hashable {
        /// The domain itself.
        case apex
        /// A name in small letters, and the tag that instances must have.
        case service(String, tag: String?)
        case node(String)
        case address(IPAddress)
        /// An address turned round: `4.3.2.1.in-addr.arpa`.
        case reverse(IPAddress)
        /// Between the domain and what is in it.
        case empty
        /// In the domain, and nothing.
        case nothing
        /// Not in the domain.
        case outside
    }

    package func subject(of name: DNSName) -> Subject {
        guard name.isWithin(self.settings.domain) else {
            return Self.reversed(name.words).map { .reverse($0) } ?? .outside
        }
        let words = Array(name.words.dropLast(self.settings.domain.labels.count))
        guard !words.isEmpty else { return .apex }
        guard let index = words.lastIndex(where: { $0 == "service" || $0 == "node" || $0 == "addr" }) else {
            return words == [self.settings.datacenter] ? .empty : .nothing
        }
        // Behind the kind only the datacenter may stand, and there is but one.
        let rest = words[(index + 1)...]
        guard rest.isEmpty || rest.elementsEqual([self.settings.datacenter]) else { return .nothing }
        let own = words[..<index]
        guard !own.isEmpty else { return .empty }
        switch words[index] {
        case "service": return Self.service(Array(own))
        case "node": return .node(own.joined(separator: "."))
        default: return own.count == 1 ? Self.hexadecimal(own[0]).map { .address($0) } ?? .nothing : .nothing
        }
    }

    private static func service(_ words: [String]) -> Subject {
        guard let last = words.last else { return .nothing }
        if words.count == 2, words[0].hasPrefix("_"), last.hasPrefix("_") {
            let tag = String(last.dropFirst())
            return .service(String(words[0].dropFirst()), tag: tag == "tcp" ? nil : tag)
        }
        // A tag may have dots in it.
        return .service(last, tag: words.count == 1 ? nil : words.dropLast().joined(separator: "."))
    }

    /// `0a000001` is 10.0.0.1.
    private static func hexadecimal(_ word: String) -> IPAddress? {
        let digits = word.utf8.map { Self.digit($0) }
        guard digits.count == 8 || digits.count == 32 else { return nil }
        var bytes: [UInt8] = []
        for index in stride(from: 0, to: digits.count, by: 2) {
            guard let high = digits[index], let low = digits[index + 1] else { return nil }
            bytes.append(high << 4 | low)
        }
        return IPAddress(bytes: bytes)
    }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 97...102: byte - 87
        default: nil
        }
    }

    private static func reversed(_ words: [String]) -> IPAddress? {
        if words.count == 6, words.suffix(2) == ["in-addr", "arpa"] {
            let text = words.prefix(4).reversed().joined(separator: ".")
            return IPAddress(text)
        }
        guard words.count == 34, words.suffix(2) == ["ip6", "arpa"] else { return nil }
        let nibbles = words.prefix(32).reversed()
        guard nibbles.allSatisfy({ $0.utf8.count == 1 }) else { return nil }
        return Self.hexadecimal(nibbles.joined())
    }

    /// A name in the domain; `nil` when the words cannot be labels.
    func name(_ words: [String]) -> DNSName? {
        try? DNSName(labels: words.map { Array($0.utf8)[...] } + self.settings.domain.labels)
    }

    /// Dots in a node's name divide it into labels.
    func nodeName(_ node: String) -> DNSName? {
        self.name(
            node.split(separator: ".", omittingEmptySubsequences: false).map(String.init) + [
                "node", self.settings.datacenter,
            ]
        )
    }

    func addressName(_ address: IPAddress) -> DNSName? {
        let digits = address.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        return self.name([digits, "addr", self.settings.datacenter])
    }
}
