internal import Crypto
package import NIOSSL

/// What a client showed in the handshake, as nginx's variables say it. Read once, when the handshake is done.
package struct ClientCertificate: Sendable, Hashable {
    /// `$ssl_client_verify`: `SUCCESS`, `FAILED:…`, or `NONE` for a client without a certificate.
    package var verify: [UInt8]
    /// `$ssl_client_s_dn`, as RFC 2253 writes names.
    package var subject: [UInt8]
    /// `$ssl_client_fingerprint`: SHA-1, in hexadecimal.
    package var fingerprint: [UInt8]

    package static let none = ClientCertificate(verify: Array("NONE".utf8), subject: [], fingerprint: [])

    init(verify: [UInt8], subject: [UInt8], fingerprint: [UInt8]) {
        self.verify = verify
        self.subject = subject
        self.fingerprint = fingerprint
    }

    /// - Parameter handler: Of a connection whose handshake is done; on its event loop.
    package init(_ handler: NIOSSLHandler, mode: ServerTLS.ClientCertificate) {
        guard mode != .off, let certificate = handler.peerCertificate, let bytes = try? certificate.toDERBytes() else {
            self = .none
            return
        }
        // Without an authority nothing has been verified, so nothing else may be said.
        let verify = mode == .optionalNoCA ? "FAILED:unable to verify the first certificate" : "SUCCESS"
        let digits = Array("0123456789abcdef".utf8)
        self.verify = Array(verify.utf8)
        self.subject = Self.text(certificate.subjectName)
        self.fingerprint = Insecure.SHA1.hash(data: bytes).flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 0x0F)]] }
    }

    /// The last part first, as RFC 2253 has it.
    static func text(_ name: [SSLCertificateName]) -> [UInt8] {
        var text: [UInt8] = []
        for part in name.reversed() {
            if !text.isEmpty { text.append(UInt8(ascii: ",")) }
            text += Array(Self.label(part.type).utf8) + [UInt8(ascii: "=")] + Self.escaped(Array(part.value.utf8))
        }
        return text
    }

    private static func label(_ type: SSLCertificateNameType) -> String {
        switch type {
        case .commonName: "CN"
        case .organization: "O"
        case .organizationalUnit: "OU"
        case .country: "C"
        case .state: "ST"
        case .city: "L"
        case .emailAddress: "emailAddress"
        case .userId: "UID"
        default: "UNDEF"
        }
    }

    private static func escaped(_ value: [UInt8]) -> [UInt8] {
        let special = Array(",+\"\\<>;".utf8)
        let digits = Array("0123456789ABCDEF".utf8)
        var text: [UInt8] = []
        for (index, byte) in value.enumerated() {
            let isEdge = byte == 0x20 && (index == 0 || index == value.count - 1)
            if special.contains(byte) || isEdge || (byte == UInt8(ascii: "#") && index == 0) {
                text += [UInt8(ascii: "\\"), byte]
            } else if byte < 0x20 || byte >= 0x7F {
                text += [UInt8(ascii: "\\"), digits[Int(byte >> 4)], digits[Int(byte & 0x0F)]]
            } else {
                text.append(byte)
            }
        }
        return text
    }
}
