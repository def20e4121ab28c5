extension DNSMessage {
    /// A message as bytes, and what of it did not fit.
    package struct Encoded: Sendable, Hashable {
        package var bytes: [UInt8]
        /// Records of the answer and the authority section that were left out; with one, the TC bit is set.
        package var omitted: Int
        /// Additional records that were left out. They are a kindness, so TC says nothing of them (RFC 2181, 9).
        package var omittedAdditionals: Int

        /// Everything is in it.
        package var isWhole: Bool { self.omitted == 0 && self.omittedAdditionals == 0 }
    }

    /// The message in at most `limit` bytes. What does not fit is left out by whole records, from the end; the OPT
    /// record stays.
    ///
    /// - Parameters:
    ///   - limit: In bytes. Below 512 it counts as 512 (one question and OPT always fit), above 65,535 as that.
    ///   - marksTruncation: Whether TC is set when answers are missing; ``isTruncated`` sets it in any case.
    package func encoded(limit: Int = DNSMessage.maximumLength, marksTruncation: Bool = true) -> Encoded {
        let limit = min(max(limit, Self.smallestDatagramLimit), Self.maximumLength)
        var writer = DNSWriter(limit: limit)
        writer.write(self.id)
        writer.write(self.flags)
        for _ in 0..<4 { writer.write(0 as UInt16) }

        // Options that would crowd out everything else are not worth a message.
        let options = self.edns.map { $0.options.count <= limit / 4 ? $0.options : [] } ?? []
        let reserve = self.edns == nil ? 0 : 11 + options.count
        var questions = 0
        for question in self.questions {
            let fits = writer.whole(reserve: reserve) { writer in
                writer.write(question.name)
                writer.write(question.type.rawValue)
                writer.write(question.recordClass.rawValue)
                return true
            }
            guard fits else { break }
            questions += 1
        }
        let answers = Self.write(self.answers, to: &writer, reserve: reserve)
        let isComplete = answers == self.answers.count
        let authorities = isComplete ? Self.write(self.authorities, to: &writer, reserve: reserve) : 0
        let omitted = self.answers.count - answers + self.authorities.count - authorities
        let additionals = omitted == 0 ? Self.write(self.additionals, to: &writer, reserve: reserve) : 0
        if let edns = self.edns { self.write(edns, options: options, to: &writer) }

        if omitted > 0, marksTruncation { writer.set(self.flags | 0x0200, at: 2) }
        writer.set(UInt16(clamping: questions), at: 4)
        writer.set(UInt16(clamping: answers), at: 6)
        writer.set(UInt16(clamping: authorities), at: 8)
        writer.set(UInt16(clamping: additionals + (self.edns == nil ? 0 : 1)), at: 10)
        return Encoded(
            bytes: writer.bytes,
            omitted: omitted,
            omittedAdditionals: self.additionals.count - additionals
        )
    }

    private var flags: UInt16 {
        var flags = UInt16(self.opcode.rawValue & 0xF) << 11 | self.responseCode.rawValue & 0xF
        if self.isResponse { flags |= 0x8000 }
        if self.isAuthoritative { flags |= 0x0400 }
        if self.isTruncated { flags |= 0x0200 }
        if self.recursionDesired { flags |= 0x0100 }
        if self.recursionAvailable { flags |= 0x0080 }
        if self.isAuthenticData { flags |= 0x0020 }
        if self.checkingDisabled { flags |= 0x0010 }
        return flags
    }

    /// - Returns: How many of them fitted.
    private static func write(_ records: [DNSRecord], to writer: inout DNSWriter, reserve: Int) -> Int {
        for (index, record) in records.enumerated() {
            guard writer.whole(reserve: reserve, { Self.write(record, to: &$0) }) else { return index }
        }
        return records.count
    }

    /// - Returns: False when its data is longer than a record can say.
    private static func write(_ record: DNSRecord, to writer: inout DNSWriter) -> Bool {
        writer.write(record.name)
        writer.write(record.type.rawValue)
        writer.write(record.recordClass.rawValue)
        writer.write(record.ttl)
        let lengthOffset = writer.bytes.count
        writer.write(0 as UInt16)
        Self.write(record.data, to: &writer)
        guard let length = UInt16(exactly: writer.bytes.count - lengthOffset - 2) else { return false }
        writer.set(length, at: lengthOffset)
        return true
    }

    private static func write(_ data: DNSRecordData, to writer: inout DNSWriter) {
        switch data {
        case .address(let address): writer.write(address.bytes)
        case .ns(let name), .cname(let name), .ptr(let name): writer.write(name)
        case .soa(let soa):
            writer.write(soa.server)
            writer.write(soa.mailbox)
            for value in [soa.serial, soa.refresh, soa.retry, soa.expire, soa.minimum] { writer.write(value) }
        case .txt(let strings):
            for string in strings.isEmpty ? [[]] : strings {
                var rest = string[...]
                repeat {
                    let piece = rest.prefix(255)
                    writer.write(UInt8(truncatingIfNeeded: piece.count))
                    writer.write(piece)
                    rest = rest.dropFirst(255)
                } while !rest.isEmpty
            }
        case .srv(let location):
            writer.write(location.priority)
            writer.write(location.weight)
            writer.write(location.port)
            writer.write(location.target, compressed: false)
        case .opaque(_, let bytes): writer.write(bytes)
        }
    }

    private func write(_ edns: DNSExtension, options: [UInt8], to writer: inout DNSWriter) {
        writer.write(0 as UInt8)
        writer.write(DNSRecordType.opt.rawValue)
        writer.write(edns.udpPayloadSize)
        let highCode = UInt32(self.responseCode.rawValue >> 4) << 24
        writer.write(highCode | UInt32(edns.version) << 16 | (edns.dnssecOK ? 0x8000 : 0))
        writer.write(UInt16(clamping: options.count))
        writer.write(options)
    }
}
