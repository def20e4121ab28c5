extension DNSMessage {
    /// What bytes are to the one who has sent a query.
    package enum Reply: Sendable, Hashable {
        case answer(DNSMessage)
        /// The answer to it, but only a part.
        case truncated
        /// Something else: damaged, forged, or late for another query.
        case stranger
    }

    /// Judges what came from the name server after this query: id, direction, and question must be its own.
    package func reply(in bytes: [UInt8]) -> Reply {
        guard bytes.count >= Self.headerLength, UInt16(bytes[0]) << 8 | UInt16(bytes[1]) == self.id,
            bytes[2] & 0x80 != 0
        else { return .stranger }
        let message: DNSMessage
        do throws(DNSFormatError) {
            message = try DNSMessage(decoding: bytes)
        } catch {
            // Some servers cut an answer in the middle of a record; TCP brings the whole of it.
            return bytes[2] & 0x02 != 0 ? .truncated : .stranger
        }
        guard message.opcode == self.opcode else { return .stranger }
        if message.questions != self.questions {
            // Who cannot read a query, or does not want to, may leave the question out.
            let isRefusal = message.responseCode != .noError && message.responseCode != .nameError
            guard isRefusal, message.questions.isEmpty else { return .stranger }
        }
        return message.isTruncated ? .truncated : .answer(message)
    }

    /// For how long the absence of what was asked for may be kept, in seconds (RFC 2308); `nil` when the answer does
    /// not say.
    package var negativeTTL: UInt32? {
        for record in self.authorities {
            if case .soa(let soa) = record.data { return min(record.ttl, soa.minimum) }
        }
        return nil
    }

    /// It answers nothing and names somebody else to ask.
    package var isReferral: Bool {
        self.responseCode == .noError && !self.isAuthoritative && self.answers.isEmpty && self.negativeTTL == nil
            && self.authorities.contains { $0.type == .ns }
    }

    /// The records of `type` at `name` in the answer section, through the CNAMEs there.
    package func resolved(_ name: DNSName, _ type: DNSRecordType) -> DNSResolved {
        var resolved = DNSResolved(name: name)
        for _ in 0...DNSResolved.maximumAliases {
            resolved.records = self.answers.filter { $0.name == resolved.name && $0.type == type }
            guard resolved.records.isEmpty else { break }
            var next: DNSName?
            for record in self.answers where record.name == resolved.name {
                guard case .cname(let target) = record.data else { continue }
                next = target
                resolved.aliasTTL = min(resolved.aliasTTL, record.ttl)
                break
            }
            guard let next else { return resolved }
            resolved.name = next
        }
        return resolved
    }
}

/// Where a chain of CNAMEs leads, and what is there.
package struct DNSResolved: Sendable, Hashable {
    /// How many CNAMEs are followed.
    package static let maximumAliases = 8

    package var name: DNSName
    package var records: [DNSRecord] = []
    /// The shortest of the CNAMEs', in seconds.
    package var aliasTTL: UInt32 = .max

    package init(name: DNSName) { self.name = name }

    /// For how long all of it may be kept, in seconds. With the highest bit set it is 0 (RFC 2181, section 8).
    package var ttl: UInt32 {
        let shortest = self.records.reduce(self.aliasTTL) { min($0, $1.ttl > UInt32(Int32.max) ? 0 : $1.ttl) }
        return shortest > UInt32(Int32.max) ? 0 : shortest
    }
}
