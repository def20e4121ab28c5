package import ParleyCore
internal import ParleyDiscovery

/// The whole server without its sockets: bytes of a query in, bytes of the response out. Never traps.
package struct DNSResponder: Sendable {
    package enum Transport: Sendable, Hashable {
        case udp
        case tcp
    }

    package struct Limits: Sendable {
        /// How many answers a datagram holds at most for one who has not said that it takes more than 512 bytes.
        package var udpAnswers = 3
        /// The largest datagram that is sent, and that is asked for, in bytes.
        package var datagram = 4_096
        /// Sets TC when answers were left out.
        package var marksTruncation = true

        package init() {}
    }

    private let zone: DNSZone
    private let source: any RegistryDNSSource
    private let limits: Limits
    private let time: any TimeSource
    private let random: any RandomSource

    package init(
        zone: DNSZone,
        source: any RegistryDNSSource,
        limits: Limits = Limits(),
        time: any TimeSource,
        random: any RandomSource
    ) {
        self.zone = zone
        self.source = source
        self.limits = limits
        self.time = time
        self.random = random
    }

    /// - Returns: `nil` for what is not to be answered: less than a header, and responses, lest two servers answer each
    ///   other for ever.
    package func respond(to bytes: [UInt8], over transport: Transport) -> [UInt8]? {
        guard bytes.count >= DNSMessage.headerLength, bytes[2] & 0x80 == 0 else { return nil }
        let query: DNSMessage
        do throws(DNSFormatError) {
            query = try DNSMessage(decoding: bytes)
        } catch {
            return Self.formatError(bytes)
        }
        var limit = transport == .tcp ? DNSMessage.maximumLength : DNSMessage.smallestDatagramLimit
        var answers = transport == .tcp ? Int.max : max(1, self.limits.udpAnswers)
        if transport == .udp, let edns = query.edns, Int(edns.udpPayloadSize) > limit {
            limit = max(limit, min(Int(edns.udpPayloadSize), self.limits.datagram))
            answers = .max
        }
        var answer = self.answer(query, limit: limit)
        if query.edns != nil {
            answer.message.edns = DNSExtension(
                udpPayloadSize: UInt16(clamping: self.limits.datagram),
                dnssecOK: query.edns?.dnssecOK ?? false
            )
        }
        return self.fit(answer, over: transport, limit: limit, answers: answers)
    }

    /// The shortest record there is: a pointer for its name, ten bytes, and an IPv4 address.
    private static let shortestRecord = 16

    private func answer(_ query: DNSMessage, limit: Int) -> DNSZone.Answer {
        var refusal = DNSMessage(answering: query)
        if query.opcode != .query {
            refusal.responseCode = .notImplemented
        } else if let edns = query.edns, edns.version > 0 {
            refusal.responseCode = .badVersion
        } else {
            return self.zone.answer(
                query,
                from: self.source,
                at: self.time.wallTime,
                random: self.random,
                most: limit / Self.shortestRecord + 1
            )
        }
        return DNSZone.Answer(message: refusal)
    }

    /// Only the header, since nobody knows what the rest was.
    private static func formatError(_ bytes: [UInt8]) -> [UInt8] {
        var message = DNSMessage(id: UInt16(bytes[0]) << 8 | UInt16(bytes[1]))
        message.isResponse = true
        message.opcode = DNSOpcode(rawValue: bytes[2] >> 3)
        message.recursionDesired = bytes[2] & 1 != 0
        message.responseCode = .formatError
        return message.encoded().bytes
    }

    /// In a datagram as many answers as fit together with what belongs to them: an SRV record without the address of
    /// its target costs its reader another question. Over TCP, behind which there is nothing, answers come first.
    private func fit(_ answer: DNSZone.Answer, over transport: Transport, limit: Int, answers: Int) -> [UInt8] {
        let most = min(answer.message.answers.count, answers)
        let all = self.encode(answer, first: most, limit: limit)
        guard transport == .udp, !all.isWhole, most > 1 else { return all.bytes }
        // The most that fits lies between one and less than all.
        var (fits, tooMany) = (1, most)
        while tooMany - fits > 1 {
            let middle = (fits + tooMany) / 2
            if self.encode(answer, first: middle, limit: limit).isWhole { fits = middle } else { tooMany = middle }
        }
        return self.encode(answer, first: fits, limit: limit).bytes
    }

    private func encode(_ answer: DNSZone.Answer, first count: Int, limit: Int) -> DNSMessage.Encoded {
        var message = answer.message
        message.answers = Array(message.answers.prefix(count))
        message.additionals += answer.companions.prefix(count).joined().uniqued()
        message.isTruncated = self.limits.marksTruncation && count < answer.message.answers.count
        return message.encoded(limit: limit, marksTruncation: self.limits.marksTruncation)
    }
}
