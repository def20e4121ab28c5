internal import NIOCore

/// Which pseudo-header field a name is (RFC 9113, section 8.3).
enum PseudoField: UInt8, Sendable {
    /// A field without a colon in front.
    case none
    case method, scheme, path, authority, status
    /// With a colon in front, but none that this gateway allows.
    case unknown

    init(_ name: Span<UInt8>) {
        guard name.count > 0, name[0] == 0x3A else {
            self = .none
            return
        }
        self = .unknown
        for (index, candidate) in HPACKStaticTable.shared.pseudoNames.enumerated() where candidate.count == name.count {
            var same = true
            for position in 0..<candidate.count where candidate[position] != name[position] { same = false }
            if same { self = PseudoField(rawValue: UInt8(index) + 1) ?? .unknown }
        }
    }
}

/// An entry of either table: where its bytes are, and what has been found out about it once for all of its uses.
struct HPACKEntry: Sendable {
    /// From the beginning of all the bytes that the table has ever held.
    var start: Int
    var nameCount: Int
    var valueCount: Int
    var known: KnownField
    var pseudo: PseudoField
    var name: FieldNameKind
    var isValueMalformed: Bool

    /// What an entry counts against the limits (RFC 7541, section 4.1).
    var size: Int { self.nameCount &+ self.valueCount &+ HPACKDynamicTable.overhead }
}

/// The 61 fields that both sides know from the start (RFC 7541, appendix A).
final class HPACKStaticTable: Sendable {
    static let shared = HPACKStaticTable()

    /// The names and values, one behind the other.
    let bytes: ByteBuffer
    /// Without the entry 0, which does not exist: the first has the index 1.
    let entries: [HPACKEntry]
    /// By the raw value of ``KnownField``: the index of the first entry with this name, or 0.
    let nameIndexes: [UInt8]
    /// In the order of ``PseudoField``.
    let pseudoNames: [[UInt8]] = [":method", ":scheme", ":path", ":authority", ":status"].map { Array($0.utf8) }

    enum Index {
        static let authority = 1
        static let methodGet = 2
        static let methodPost = 3
        static let pathRoot = 4
        static let schemeHTTP = 6
        static let schemeHTTPS = 7
        static let status200 = 8
    }

    static let count = 61

    private init() {
        var bytes = ByteBuffer()
        var entries: [HPACKEntry] = []
        var nameIndexes = [UInt8](repeating: 0, count: KnownField.allCases.count)
        for (index, (name, value)) in Self.fields.enumerated() {
            let nameBytes = Array(name.utf8)
            let known = KnownField(nameBytes.span)
            var pseudo = PseudoField.none
            for (position, candidate) in self.pseudoNames.enumerated() where candidate == nameBytes {
                pseudo = PseudoField(rawValue: UInt8(position) + 1) ?? .unknown
            }
            entries.append(
                HPACKEntry(
                    start: bytes.writerIndex,
                    nameCount: nameBytes.count,
                    valueCount: value.utf8.count,
                    known: known,
                    pseudo: pseudo,
                    name: .plain,
                    isValueMalformed: false
                )
            )
            bytes.writeBytes(nameBytes)
            bytes.writeString(value)
            if known != .other, nameIndexes[Int(known.rawValue)] == 0 {
                nameIndexes[Int(known.rawValue)] = UInt8(index + 1)
            }
        }
        self.bytes = bytes
        self.entries = entries
        self.nameIndexes = nameIndexes
    }

    private static let fields: [(name: String, value: String)] = [
        (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
        (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
        (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
        ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
        ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""),
        ("cache-control", ""), ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""),
        ("content-length", ""), ("content-location", ""), ("content-range", ""), ("content-type", ""),
        ("cookie", ""), ("date", ""), ("etag", ""), ("expect", ""), ("expires", ""), ("from", ""), ("host", ""),
        ("if-match", ""), ("if-modified-since", ""), ("if-none-match", ""), ("if-range", ""),
        ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""), ("location", ""), ("max-forwards", ""),
        ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""), ("referer", ""), ("refresh", ""),
        ("retry-after", ""), ("server", ""), ("set-cookie", ""), ("strict-transport-security", ""),
        ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""), ("www-authenticate", ""),
    ]
}
