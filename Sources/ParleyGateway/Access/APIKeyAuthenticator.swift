internal import Crypto
internal import NIOCore
package import NIOPosix
package import ParleyCore

/// Keys of programs: a file of `name:SHA-256 of the key in hexadecimal`, which is read anew when it changes.
///
/// The file never has the keys themselves, and the digest of what a client sends is compared as a whole. Everything is
/// answered by ``decision(for:)`` at once, except in the moment when the file is looked at again.
package final class APIKeyAuthenticator: Sendable {
    package struct Limits: Sendable {
        package var fileBytes = 16 * 1_048_576
        package var keyBytes = 1_024

        package init() {}
    }

    private struct Keys: Sendable {
        var names: [Digest256: [UInt8]]
    }

    private let file: WatchedFile<Keys>
    private let field: [UInt8]
    private let known: KnownField
    private let time: any TimeSource
    private let threads: NIOThreadPool
    private let limits: Limits

    package init(
        keys: APIKeys,
        time: any TimeSource,
        threads: NIOThreadPool = .singleton,
        limits: Limits = Limits()
    ) {
        self.file = WatchedFile(path: keys.keyFile, limit: limits.fileBytes) { Self.parse($0) }
        let field = AccessText.lowercased(keys.field)
        self.known = KnownField(field.span)
        self.field = field
        self.time = time
        self.threads = threads
        self.limits = limits
    }

    /// Does not block; for the event loop.
    package func decision(for fields: FieldBlock) -> AccessDecision {
        guard let key = self.key(of: fields) else { return .refused(Self.missing) }
        guard let version = self.file.current(self.time.now) else { return .pending }
        return self.decision(key, version)
    }

    /// The answer to what was pending.
    package func resolve(_ fields: FieldBlock) async -> AccessDecision {
        guard let key = self.key(of: fields) else { return .refused(Self.missing) }
        let now = self.time.now
        guard let version = try? await self.threads.runIfActive({ self.file.look(now) }) else {
            return .refused(AccessRefusal(status: 503, reason: "the gateway is shutting down"))
        }
        return self.decision(key, version)
    }

    private func decision(_ key: ByteBufferView, _ version: WatchedFile<Keys>.Version) -> AccessDecision {
        guard key.count <= self.limits.keyBytes else { return .refused(Self.unknown) }
        switch version.content {
        case .failure(let problem):
            return .refused(BasicAuthenticator.fileRefusal(problem))
        case .success(let keys):
            var hash = SHA256()
            key.withUnsafeBytes { hash.update(bufferPointer: $0) }
            guard let name = keys.names[Digest256(hash.finalize())] else { return .refused(Self.unknown) }
            return .allowed(identity: AccessIdentity(name: name))
        }
    }

    private func key(of fields: FieldBlock) -> ByteBufferView? {
        let field = self.known == .other ? fields.firstField(named: self.field) : fields.first(self.known)
        guard let field, !field.value.isEmpty else { return nil }
        return fields.view(field.value)
    }

    private static func parse(_ bytes: [UInt8]) -> Keys {
        var names: [Digest256: [UInt8]] = [:]
        for line in bytes.split(whereSeparator: { $0 == UInt8(ascii: "\n") || $0 == UInt8(ascii: "\r") }) {
            guard line.first != UInt8(ascii: "#"), let colon = line.lastIndex(of: UInt8(ascii: ":")),
                let digest = Digest256(hexadecimal: AccessText.trimmed(line[line.index(after: colon)...]))
            else { continue }
            names[digest] = Array(AccessText.trimmed(line[..<colon]))
        }
        return Keys(names: names)
    }

    private static let challenge = AccessChallenge.fixed(Array("ApiKey".utf8))
    private static let missing = AccessRefusal(
        status: 401,
        challenge: APIKeyAuthenticator.challenge,
        reason: "no API key was sent"
    )
    private static let unknown = AccessRefusal(
        status: 401,
        challenge: APIKeyAuthenticator.challenge,
        reason: "the API key is unknown"
    )
}
