extension DNSMessage {
    /// Reads one message, strictly: every byte belongs to it and means what it must. Never traps; its work is bounded
    /// by the length, which a datagram and TCP bound to 65,535.
    package init(decoding bytes: [UInt8]) throws(DNSFormatError) {
        var reader = DNSReader(bytes)
        self.init(id: try reader.uint16())
        let flags = try reader.uint16()
        self.isResponse = flags & 0x8000 != 0
        self.opcode = DNSOpcode(rawValue: UInt8(truncatingIfNeeded: flags >> 11))
        self.isAuthoritative = flags & 0x0400 != 0
        self.isTruncated = flags & 0x0200 != 0
        self.recursionDesired = flags & 0x0100 != 0
        self.recursionAvailable = flags & 0x0080 != 0
        self.isAuthenticData = flags & 0x0020 != 0
        self.checkingDisabled = flags & 0x0010 != 0
        let questionCount = Int(try reader.uint16())
        let answerCount = Int(try reader.uint16())
        let authorityCount = Int(try reader.uint16())
        let additionalCount = Int(try reader.uint16())
        // A question has at least 5 bytes, a record 11: counts that lie are found before anything is read.
        guard questionCount * 5 + (answerCount + authorityCount + additionalCount) * 11 <= reader.remaining else {
            throw reader.failure(.endsEarly)
        }
        for _ in 0..<questionCount { self.questions.append(try Self.question(&reader)) }
        for _ in 0..<answerCount { self.answers.append(try Self.record(&reader)) }
        for _ in 0..<authorityCount { self.authorities.append(try Self.record(&reader)) }
        var highCode: UInt16 = 0
        for _ in 0..<additionalCount {
            switch try Self.entry(&reader) {
            case .record(let record): self.additionals.append(record)
            case .opt(let edns, let code):
                guard self.edns == nil else { throw reader.failure(.misplacedOPT) }
                self.edns = edns
                highCode = UInt16(code)
            }
        }
        self.responseCode = DNSResponseCode(rawValue: highCode << 4 | flags & 0xF)
        guard reader.remaining == 0 else { throw reader.failure(.trailingBytes) }
    }

    private enum Entry {
        case record(DNSRecord)
        case opt(DNSExtension, highCode: UInt8)
    }

    private static func question(_ reader: inout DNSReader) throws(DNSFormatError) -> DNSQuestion {
        let name = try reader.name()
        let type = DNSRecordType(rawValue: try reader.uint16())
        return DNSQuestion(name, type, recordClass: DNSClass(rawValue: try reader.uint16()))
    }

    private static func record(_ reader: inout DNSReader) throws(DNSFormatError) -> DNSRecord {
        guard case .record(let record) = try Self.entry(&reader) else { throw reader.failure(.misplacedOPT) }
        return record
    }

    private static func entry(_ reader: inout DNSReader) throws(DNSFormatError) -> Entry {
        let name = try reader.name()
        let type = DNSRecordType(rawValue: try reader.uint16())
        let recordClass = DNSClass(rawValue: try reader.uint16())
        let ttl = try reader.uint32()
        let length = Int(try reader.uint16())
        if type == .opt {
            // It uses the fields of a record for its own ends.
            guard name == .root else { throw reader.failure(.misplacedOPT) }
            let edns = DNSExtension(
                udpPayloadSize: recordClass.rawValue,
                version: UInt8(truncatingIfNeeded: ttl >> 16),
                dnssecOK: ttl & 0x8000 != 0,
                options: Array(try reader.bytes(length))
            )
            return .opt(edns, highCode: UInt8(truncatingIfNeeded: ttl >> 24))
        }
        let data = try reader.within(length) { reader throws(DNSFormatError) in
            try Self.data(&reader, type, recordClass, length: length)
        }
        return .record(DNSRecord(name, ttl: ttl, data, recordClass: recordClass))
    }

    private static func data(
        _ reader: inout DNSReader,
        _ type: DNSRecordType,
        _ recordClass: DNSClass,
        length: Int
    ) throws(DNSFormatError) -> DNSRecordData {
        switch (type, recordClass) {
        case (.a, .internet), (.aaaa, .internet):
            guard length == (type == .a ? 4 : 16), let address = IPAddress(bytes: try reader.bytes(length)) else {
                throw reader.failure(.badRecordData)
            }
            return .address(address)
        case (.srv, .internet):
            let (priority, weight, port) = (try reader.uint16(), try reader.uint16(), try reader.uint16())
            return .srv(
                DNSServiceLocation(priority: priority, weight: weight, port: port, target: try reader.name())
            )
        case (.ns, _): return .ns(try reader.name())
        case (.cname, _): return .cname(try reader.name())
        case (.ptr, _): return .ptr(try reader.name())
        case (.soa, _):
            return .soa(
                DNSStartOfAuthority(
                    server: try reader.name(),
                    mailbox: try reader.name(),
                    serial: try reader.uint32(),
                    refresh: try reader.uint32(),
                    retry: try reader.uint32(),
                    expire: try reader.uint32(),
                    minimum: try reader.uint32()
                )
            )
        case (.txt, _):
            var strings: [[UInt8]] = []
            repeat {
                let length = Int(try reader.uint8())
                strings.append(Array(try reader.bytes(length)))
            } while reader.remaining > 0
            return .txt(strings)
        default: return .opaque(type, Array(try reader.bytes(length)))
        }
    }
}
