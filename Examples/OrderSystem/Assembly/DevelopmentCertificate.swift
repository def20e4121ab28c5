internal import Crypto
internal import Foundation
internal import ParleyCore
internal import SwiftASN1
internal import X509

/// A certificate that the system makes for itself, so that TLS can be tried: nobody trusts it who has not been told to.
///
/// It is kept in the data folder beside its key, and made anew when it is missing or its time is nearly over.
struct DevelopmentCertificate {
    struct Failure: RetryClassifiedError, CustomStringConvertible {
        var message: String
        var retry: RetrySafety { .permanent }
        var description: String { self.message }
    }

    private static let lifetime: TimeInterval = 365 * 86_400
    private static let renewal: TimeInterval = 30 * 86_400

    let path: String
    let keyPath: String

    /// - Parameter hosts: Names and addresses beside those of this machine.
    init(folder: String, hosts: [String]) throws {
        self.path = folder + "/gateway-certificate.pem"
        self.keyPath = folder + "/gateway-key.pem"
        if Self.isUsable(self.path), FileManager.default.fileExists(atPath: self.keyPath) { return }
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try self.make(hosts)
        } catch {
            throw Failure(
                message: "The gateway's certificate cannot be made at \(self.path): \(error). Is the folder writable?"
            )
        }
    }

    private static func isUsable(_ path: String) -> Bool {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8),
            let certificate = try? Certificate(pemEncoded: text)
        else { return false }
        return certificate.notValidAfter.timeIntervalSinceNow > Self.renewal
    }

    private func make(_ hosts: [String]) throws {
        let key = P256.Signing.PrivateKey()
        let now = Date()
        let name = try DistinguishedName { CommonName("order-system gateway") }
        let signer = Certificate.PrivateKey(key)
        let certificate = try Certificate(
            version: .v3,
            serialNumber: Certificate.SerialNumber(),
            publicKey: signer.publicKey,
            notValidBefore: now.addingTimeInterval(-3_600),
            notValidAfter: now.addingTimeInterval(Self.lifetime),
            issuer: name,
            subject: name,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(digitalSignature: true, keyCertSign: true))
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames(Self.names(hosts))
            },
            issuerPrivateKey: signer
        )
        // The key first, for nobody but its owner: a certificate without a key would be taken for usable.
        let secret = Data(key.pemRepresentation.utf8)
        guard
            FileManager.default.createFile(
                atPath: self.keyPath,
                contents: secret,
                attributes: [.posixPermissions: 0o600]
            )
        else { throw Failure(message: "\(self.keyPath) cannot be written") }
        try Data(certificate.serializeAsPEM().pemString.utf8).write(
            to: URL(fileURLWithPath: self.path),
            options: .atomic
        )
    }

    private static func names(_ hosts: [String]) -> [GeneralName] {
        var names: [GeneralName] = [.dnsName("localhost")]
        for address in [[127, 0, 0, 1], Array(repeating: 0, count: 15) + [1]] as [[UInt8]] {
            names.append(.ipAddress(ASN1OctetString(contentBytes: address[...])))
        }
        for host in hosts where host != "localhost" && !host.contains(":") && host.contains(where: \.isLetter) {
            names.append(.dnsName(host))
        }
        return names
    }
}
