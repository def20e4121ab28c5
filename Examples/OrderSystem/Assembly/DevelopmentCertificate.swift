internal import Crypto
internal import Foundation
internal import ParleyCore
internal import SwiftASN1
internal import X509

/// A certificate that the system makes for itself, so that TLS can be tried: nobody trusts it who has not been told to.
///
/// It is kept in the data folder beside its key, and made anew when it is missing, when its key is another one, or when
/// its time is nearly over. Files that somebody else has put there stay as they are.
struct DevelopmentCertificate {
    struct Failure: RetryClassifiedError, CustomStringConvertible {
        var message: String
        var retry: RetrySafety { .permanent }
        var description: String { self.message }
    }

    private static let lifetime: TimeInterval = 365 * 86_400
    private static let renewal: TimeInterval = 30 * 86_400
    private static let commonName = "order-system gateway"

    let path: String
    let keyPath: String

    /// - Parameter hosts: Names and addresses beside those of this machine.
    init(folder: String, hosts: [String]) throws {
        self.path = folder + "/gateway-certificate.pem"
        self.keyPath = folder + "/gateway-key.pem"
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            let lock = try FolderLock(folder + "/gateway-certificate.lock")
            defer { lock.release() }
            if self.isToBeMade { try self.make(hosts) }
        } catch {
            throw Failure(
                message: "The gateway's certificate cannot be made at \(self.path): \(error). Is the folder writable?"
            )
        }
    }

    private var isToBeMade: Bool {
        let files = FileManager.default
        guard let text = try? String(contentsOfFile: self.path, encoding: .utf8) else {
            return !files.fileExists(atPath: self.path)
        }
        guard let name = try? Self.name(),
            let certificate = try? Certificate(pemEncoded: text), certificate.subject == name
        else { return false }
        guard let secret = try? String(contentsOfFile: self.keyPath, encoding: .utf8),
            let key = try? Certificate.PrivateKey(pemEncoded: secret), key.publicKey == certificate.publicKey
        else { return true }
        return certificate.notValidAfter.timeIntervalSinceNow <= Self.renewal
    }

    private func make(_ hosts: [String]) throws {
        let key = P256.Signing.PrivateKey()
        let now = Date()
        let name = try Self.name()
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
                // Some programs trust authorities only. This one could sign for this server's names and no others.
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(digitalSignature: true, keyCertSign: true))
                Critical(Self.constraints(hosts))
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames(Self.names(hosts))
            },
            issuerPrivateKey: signer
        )
        try Self.write(key.pemRepresentation, to: self.keyPath, mode: 0o600)
        try Self.write(certificate.serializeAsPEM().pemString, to: self.path, mode: 0o644)
    }

    /// As a whole or not at all, and never readable for more than `mode` says.
    private static func write(_ text: String, to path: String, mode: mode_t) throws {
        let aside = path + ".new"
        unlink(aside)
        let descriptor = open(aside, O_WRONLY | O_CREAT | O_EXCL, mode)
        guard descriptor >= 0 else { throw Failure(message: "\(aside): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 else { throw Failure(message: "\(aside): \(String(cString: strerror(errno)))") }
            rest = rest.dropFirst(count)
        }
        guard fsync(descriptor) == 0, rename(aside, path) == 0 else {
            throw Failure(message: "\(path): \(String(cString: strerror(errno)))")
        }
    }

    private static func name() throws -> DistinguishedName {
        try DistinguishedName { CommonName(Self.commonName) }
    }

    /// The bytes of an address as text; `nil` for a name.
    private static func address(_ text: String) -> [UInt8]? {
        for (family, count) in [(AF_INET, 4), (AF_INET6, 16)] {
            var bytes = [UInt8](repeating: 0, count: count)
            if inet_pton(family, text, &bytes) == 1 { return bytes }
        }
        return nil
    }

    private static func names(_ hosts: [String]) -> [GeneralName] {
        var names: [GeneralName] = [.dnsName("localhost")]
        for address in [[127, 0, 0, 1], Array(repeating: 0, count: 15) + [1]] as [[UInt8]] {
            names.append(.ipAddress(ASN1OctetString(contentBytes: address[...])))
        }
        for host in hosts where host != "localhost" && host != "127.0.0.1" && host != "::1" {
            if let address = Self.address(host) {
                names.append(.ipAddress(ASN1OctetString(contentBytes: address[...])))
            } else {
                names.append(.dnsName(host))
            }
        }
        return names
    }

    private static func constraints(_ hosts: [String]) -> NameConstraints {
        var (domains, ranges): ([String], [ASN1OctetString]) = ([], [])
        for name in Self.names(hosts) {
            switch name {
            case .dnsName(let name): domains.append(name)
            case .ipAddress(let address):
                let mask = [UInt8](repeating: 255, count: address.bytes.count)
                ranges.append(ASN1OctetString(contentBytes: (Array(address.bytes) + mask)[...]))
            default: break
            }
        }
        return NameConstraints(permittedDNSDomains: domains, permittedIPRanges: ranges)
    }
}

/// One process at a time; the system releases it when the process ends.
private struct FolderLock {
    private let descriptor: Int32

    init(_ path: String) throws {
        self.descriptor = open(path, O_RDWR | O_CREAT, 0o600)
        guard self.descriptor >= 0, flock(self.descriptor, LOCK_EX) == 0 else {
            throw DevelopmentCertificate.Failure(message: "\(path): \(String(cString: strerror(errno)))")
        }
    }

    func release() { close(self.descriptor) }
}
