/// What a record holds, or a question asks for.
package struct DNSRecordType: Sendable, Hashable, RawRepresentable {
    package var rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let a = DNSRecordType(rawValue: 1)
    package static let ns = DNSRecordType(rawValue: 2)
    package static let cname = DNSRecordType(rawValue: 5)
    package static let soa = DNSRecordType(rawValue: 6)
    package static let ptr = DNSRecordType(rawValue: 12)
    package static let txt = DNSRecordType(rawValue: 16)
    package static let aaaa = DNSRecordType(rawValue: 28)
    package static let srv = DNSRecordType(rawValue: 33)
    package static let opt = DNSRecordType(rawValue: 41)
    package static let ixfr = DNSRecordType(rawValue: 251)
    package static let axfr = DNSRecordType(rawValue: 252)
    package static let any = DNSRecordType(rawValue: 255)
}

/// Whose names they are; the internet's, but for curiosities.
package struct DNSClass: Sendable, Hashable, RawRepresentable {
    package var rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue }

    package static let internet = DNSClass(rawValue: 1)
    package static let chaos = DNSClass(rawValue: 3)
    package static let any = DNSClass(rawValue: 255)
}

/// What a record says.
package enum DNSRecordData: Sendable, Hashable {
    /// An A or an AAAA record, by the address's family.
    case address(IPAddress)
    case ns(DNSName)
    case cname(DNSName)
    case ptr(DNSName)
    case soa(DNSStartOfAuthority)
    /// Strings of up to 255 bytes; a longer one is written as several, and none as an empty one.
    case txt([[UInt8]])
    case srv(DNSServiceLocation)
    /// A type that is not known here, as it came (RFC 3597), up to 65,535 bytes. Names inside it that were compressed
    /// mean nothing in another message.
    case opaque(DNSRecordType, [UInt8])

    /// A TXT record of one text, which is cut where a string must end.
    package static func text(_ text: String) -> DNSRecordData {
        var rest = Array(text.utf8)[...]
        var strings: [[UInt8]] = []
        repeat {
            strings.append(Array(rest.prefix(255)))
            rest = rest.dropFirst(255)
        } while !rest.isEmpty
        return .txt(strings)
    }

    package var type: DNSRecordType {
        switch self {
        case .address(.v4): .a
        case .address(.v6): .aaaa
        case .ns: .ns
        case .cname: .cname
        case .ptr: .ptr
        case .soa: .soa
        case .txt: .txt
        case .srv: .srv
        case .opaque(let type, _): type
        }
    }
}

/// SOA: who answers for a zone. All times in seconds.
package struct DNSStartOfAuthority: Sendable, Hashable {
    package var server: DNSName
    package var mailbox: DNSName
    package var serial: UInt32
    package var refresh: UInt32
    package var retry: UInt32
    package var expire: UInt32
    /// For how long "there is no such name" may be kept (RFC 2308).
    package var minimum: UInt32

    package init(
        server: DNSName,
        mailbox: DNSName,
        serial: UInt32,
        refresh: UInt32,
        retry: UInt32,
        expire: UInt32,
        minimum: UInt32
    ) {
        self.server = server
        self.mailbox = mailbox
        self.serial = serial
        self.refresh = refresh
        self.retry = retry
        self.expire = expire
        self.minimum = minimum
    }
}

/// SRV (RFC 2782): where a service is. Clients take those of the lowest priority first, in proportion to their weights.
package struct DNSServiceLocation: Sendable, Hashable {
    package var priority: UInt16
    package var weight: UInt16
    package var port: UInt16
    /// The root stands for "not available here, decidedly".
    package var target: DNSName

    package init(priority: UInt16, weight: UInt16, port: UInt16, target: DNSName) {
        self.priority = priority
        self.weight = weight
        self.port = port
        self.target = target
    }
}

package struct DNSRecord: Sendable, Hashable {
    package var name: DNSName
    package var recordClass: DNSClass
    /// For how many seconds it may be kept; 0 is for this answer only.
    package var ttl: UInt32
    package var data: DNSRecordData

    package init(_ name: DNSName, ttl: UInt32 = 0, _ data: DNSRecordData, recordClass: DNSClass = .internet) {
        self.name = name
        self.recordClass = recordClass
        self.ttl = ttl
        self.data = data
    }

    package var type: DNSRecordType { self.data.type }
}

package struct DNSQuestion: Sendable, Hashable {
    package var name: DNSName
    package var type: DNSRecordType
    package var recordClass: DNSClass

    package init(_ name: DNSName, _ type: DNSRecordType, recordClass: DNSClass = .internet) {
        self.name = name
        self.type = type
        self.recordClass = recordClass
    }
}
