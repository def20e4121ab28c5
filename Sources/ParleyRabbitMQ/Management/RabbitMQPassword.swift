internal import Crypto
public import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A password that no description, dump or log shows.
public struct RabbitMQPassword: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    package let text: String

    public init(_ text: String) {
        self.text = text
    }

    public var description: String { "(hidden)" }
    public var debugDescription: String { "(hidden)" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// How RabbitMQ stores a password: base64 of a salt of four bytes and the hash of salt and password.
public struct RabbitMQPasswordHash: Sendable, Hashable {
    public static let sha256 = "rabbit_password_hashing_sha256"
    public static let sha512 = "rabbit_password_hashing_sha512"

    /// Base64; empty for a user that cannot log in with a password.
    public var value: String
    /// RabbitMQ's name of the algorithm.
    public var algorithm: String

    public init(value: String, algorithm: String = Self.sha256) {
        self.value = value
        self.algorithm = algorithm
    }

    /// The hash that is stored for `password`, with a salt drawn from `random`.
    public init(of password: RabbitMQPassword, random: any RandomSource) {
        let bits = random.next()
        let salt = (0..<4).map { UInt8(truncatingIfNeeded: bits >> ($0 * 8)) }
        self.init(value: Data(salt + Self.digest(salt, password, isLong: false)).base64EncodedString())
    }

    /// Whether this is the hash of `password`; `nil` when the algorithm is not one of RabbitMQ's salted SHA-2.
    public func matches(_ password: RabbitMQPassword) -> Bool? {
        let isLong: Bool
        switch self.algorithm {
        case Self.sha256: isLong = false
        case Self.sha512: isLong = true
        default: return nil
        }
        // A user without a password has an empty hash.
        guard let stored = Data(base64Encoded: self.value), stored.count > 4 else { return false }
        let salt = Array(stored.prefix(4))
        return Array(stored.dropFirst(4)) == Self.digest(salt, password, isLong: isLong)
    }

    private static func digest(_ salt: [UInt8], _ password: RabbitMQPassword, isLong: Bool) -> [UInt8] {
        let bytes = salt + Array(password.text.utf8)
        return isLong ? Array(SHA512.hash(data: bytes)) : Array(SHA256.hash(data: bytes))
    }
}
