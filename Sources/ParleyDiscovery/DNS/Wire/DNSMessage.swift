/// What is asked of a server.
package struct DNSOpcode: Sendable, Hashable, RawRepresentable {
    /// 4 bits.
    package var rawValue: UInt8

    package init(rawValue: UInt8) { self.rawValue = rawValue & 0xF }

    package static let query = DNSOpcode(rawValue: 0)
    package static let notify = DNSOpcode(rawValue: 4)
    package static let update = DNSOpcode(rawValue: 5)
}

/// How it went.
package struct DNSResponseCode: Sendable, Hashable, RawRepresentable, CustomStringConvertible {
    /// 12 bits; those above the lowest four travel in the OPT record, and are lost without one.
    package var rawValue: UInt16

    package init(rawValue: UInt16) { self.rawValue = rawValue & 0xFFF }

    package static let noError = DNSResponseCode(rawValue: 0)
    package static let formatError = DNSResponseCode(rawValue: 1)
    package static let serverFailure = DNSResponseCode(rawValue: 2)
    /// There is no such name, whatever type is asked for.
    package static let nameError = DNSResponseCode(rawValue: 3)
    package static let notImplemented = DNSResponseCode(rawValue: 4)
    package static let refused = DNSResponseCode(rawValue: 5)
    /// EDNS of a version that the server does not speak.
    package static let badVersion = DNSResponseCode(rawValue: 16)

    /// As `dig` writes it.
    package var description: String {
        switch self {
        case .noError: "NOERROR"
        case .formatError: "FORMERR"
        case .serverFailure: "SERVFAIL"
        case .nameError: "NXDOMAIN"
        case .notImplemented: "NOTIMP"
        case .refused: "REFUSED"
        case .badVersion: "BADVERS"
        default: "RCODE\(self.rawValue)"
        }
    }
}

/// EDNS (RFC 6891): what the OPT record of a message says.
package struct DNSExtension: Sendable, Hashable {
    /// The largest datagram that the sender takes, in bytes. What is below 512 counts as 512.
    package var udpPayloadSize: UInt16
    package var version: UInt8
    /// The sender wants DNSSEC records.
    package var dnssecOK: Bool
    /// Options as they came, up to 65,535 bytes.
    package var options: [UInt8]

    package init(udpPayloadSize: UInt16, version: UInt8 = 0, dnssecOK: Bool = false, options: [UInt8] = []) {
        self.udpPayloadSize = udpPayloadSize
        self.version = version
        self.dnssecOK = dnssecOK
        self.options = options
    }
}

/// A DNS message (RFC 1035), query or response.
package struct DNSMessage: Sendable, Hashable {
    package static let headerLength = 12
    /// What every resolver takes in a datagram (RFC 1035, section 4.2.1).
    package static let smallestDatagramLimit = 512
    /// Where the length field of TCP ends.
    package static let maximumLength = 65_535

    package var id: UInt16
    package var isResponse = false
    package var opcode = DNSOpcode.query
    /// AA
    package var isAuthoritative = false
    /// TC: there is more than fitted; ask again over TCP.
    package var isTruncated = false
    /// RD
    package var recursionDesired = false
    /// RA
    package var recursionAvailable = false
    /// AD
    package var isAuthenticData = false
    /// CD
    package var checkingDisabled = false
    package var responseCode = DNSResponseCode.noError
    package var questions: [DNSQuestion] = []
    package var answers: [DNSRecord] = []
    package var authorities: [DNSRecord] = []
    /// Without the OPT record, which is ``edns``.
    package var additionals: [DNSRecord] = []
    package var edns: DNSExtension?

    package init(id: UInt16) { self.id = id }

    /// A query with one question.
    package init(id: UInt16, asking question: DNSQuestion, recursionDesired: Bool = true, edns: DNSExtension? = nil) {
        self.id = id
        self.questions = [question]
        self.recursionDesired = recursionDesired
        self.edns = edns
    }

    /// The beginnings of the response to `query`: its id, its opcode, its questions, and what a server copies besides.
    package init(answering query: DNSMessage) {
        self.id = query.id
        self.isResponse = true
        self.opcode = query.opcode
        self.recursionDesired = query.recursionDesired
        self.checkingDisabled = query.checkingDisabled
        self.questions = query.questions
    }
}
