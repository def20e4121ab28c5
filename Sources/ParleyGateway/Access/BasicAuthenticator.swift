package import NIOCore
package import NIOPosix
package import ParleyCore
internal import Synchronization

/// What a client says with `Authorization: Basic` (RFC 7617).
package struct BasicCredentials: Sendable, Hashable {
    package var user: [UInt8]
    package var password: [UInt8]

    /// The value of the field; `nil` when it is of another scheme or not readable, which counts as none.
    package init?(_ value: ByteBufferView) {
        guard let text = AuthorizationField.token(of: value, scheme: Self.scheme),
            let bytes = AccessBase64.decode(text),
            let colon = bytes.firstIndex(of: UInt8(ascii: ":"))
        else { return nil }
        self.user = Array(bytes[..<colon])
        self.password = Array(bytes[bytes.index(after: colon)...])
    }

    private static let scheme = Array("basic".utf8)
}

enum AuthorizationField {
    /// What stands behind the scheme, which is given in lower case; `nil` for another scheme or nothing.
    static func token(of value: ByteBufferView, scheme: [UInt8]) -> ByteBufferView? {
        guard value.count > scheme.count else { return nil }
        let (head, rest) = (value.prefix(scheme.count), value.dropFirst(scheme.count))
        guard AccessText.isEqualIgnoringCase(head, scheme), rest.first == 0x20 else { return nil }
        let token = AccessText.trimmed(rest)
        return token.isEmpty ? nil : token
    }
}

/// `auth_basic`: users and the hashes of their passwords in a file, which is read anew when it changes.
///
/// ``decision(for:)`` answers at once what it has answered before; what it does not know is ``AccessDecision/pending``,
/// and ``resolve(_:)`` finds out on a thread, for hashes are slow on purpose. As nginx: no user file is 403, one that
/// cannot be read 500; a wrong password and an unknown user are 401.
package final class BasicAuthenticator: Sendable {
    package struct Limits: Sendable {
        /// Credentials that were right, kept until the file changes.
        package var remembered = 4_096
        /// Those that were wrong; on their own, so that guesses do not push out what is right.
        package var rememberedRefusals = 1_024
        /// Hashes that wait for a thread or are being computed; what comes above is answered 503.
        package var pending = 256
        package var fileBytes = 16 * 1_048_576
        /// The value of `Authorization`. Longer is refused unread.
        package var credentialBytes = 4_096

        package init() {}
    }

    private struct Users: Sendable {
        var hashes: [[UInt8]: [UInt8]]
    }

    private let file: WatchedFile<Users>
    private let time: any TimeSource
    private let digester: CredentialDigester
    private let threads: NIOThreadPool
    private let limits: Limits
    private let allowed: ResultCache<AccessIdentity>
    private let refused: ResultCache<AccessRefusal>
    private let pending = Mutex(0)

    package init(
        userFile: String,
        time: any TimeSource,
        random: any RandomSource,
        threads: NIOThreadPool = .singleton,
        limits: Limits = Limits()
    ) {
        self.file = WatchedFile(path: userFile, limit: limits.fileBytes) { Self.parse($0) }
        self.time = time
        self.digester = CredentialDigester(random: random)
        self.threads = threads
        self.limits = limits
        self.allowed = ResultCache(capacity: limits.remembered)
        self.refused = ResultCache(capacity: limits.rememberedRefusals)
    }

    /// Does not block; for the event loop.
    package func decision(for fields: FieldBlock) -> AccessDecision {
        guard let value = self.credentials(of: fields) else { return .refused(Self.missing) }
        guard value.count <= self.limits.credentialBytes else { return .refused(Self.tooLong) }
        let now = self.time.now
        guard let version = self.file.current(now) else { return .pending }
        return self.known(value, version, now) ?? .pending
    }

    /// The answer to what was pending: reads the file when it is time, computes the hash on a thread.
    package func resolve(_ fields: FieldBlock) async -> AccessDecision {
        let first = self.decision(for: fields)
        guard case .pending = first else { return first }
        guard self.begin() else { return .refused(Self.overloaded) }
        defer { self.pending.withLock { $0 -= 1 } }
        let answer = try? await self.threads.runIfActive { self.computed(fields) }
        return answer ?? .refused(Self.overloaded)
    }

    private func begin() -> Bool {
        self.pending.withLock { pending in
            guard pending < self.limits.pending else { return false }
            pending += 1
            return true
        }
    }

    /// On a thread of the pool.
    private func computed(_ fields: FieldBlock) -> AccessDecision {
        guard let value = self.credentials(of: fields) else { return .refused(Self.missing) }
        let now = self.time.now
        let version = self.file.look(now)
        if let known = self.known(value, version, now) { return known }
        guard case .success(let users) = version.content, let credentials = BasicCredentials(value) else {
            return .refused(Self.missing)
        }
        let key = self.digester.digest(version.generation, value)
        guard let hash = users.hashes[credentials.user] else { return self.keep(Self.unknownUser, key) }
        guard PasswordHash.matches(credentials.password, hash) else { return self.keep(Self.mismatch, key) }
        let identity = AccessIdentity(name: credentials.user)
        self.allowed.insert(identity, for: key)
        return .allowed(identity: identity)
    }

    private func keep(_ refusal: AccessRefusal, _ key: Digest256) -> AccessDecision {
        self.refused.insert(refusal, for: key)
        return .refused(refusal)
    }

    private func known(
        _ value: ByteBufferView,
        _ version: WatchedFile<Users>.Version,
        _ now: ContinuousClock.Instant
    ) -> AccessDecision? {
        if case .failure(let problem) = version.content {
            // Credentials that cannot be read are none, and none are asked for before the file is looked at.
            guard BasicCredentials(value) != nil else { return .refused(Self.missing) }
            return .refused(Self.fileRefusal(problem))
        }
        let key = self.digester.digest(version.generation, value)
        if let identity = self.allowed.value(key, now: now) { return .allowed(identity: identity) }
        if let refusal = self.refused.value(key, now: now) { return .refused(refusal) }
        return BasicCredentials(value) == nil ? .refused(Self.missing) : nil
    }

    private func credentials(of fields: FieldBlock) -> ByteBufferView? {
        guard let field = fields.first(.authorization), !field.value.isEmpty else { return nil }
        return fields.view(field.value)
    }

    static func fileRefusal(_ problem: FileProblem) -> AccessRefusal {
        AccessRefusal(status: problem.kind == .notFound ? 403 : 500, reason: "cannot read \(problem)")
    }

    /// Lines of `user:hash`, and what may follow a second colon is a comment. Of a user's lines the first counts.
    private static func parse(_ bytes: [UInt8]) -> Users {
        var hashes: [[UInt8]: [UInt8]] = [:]
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            guard let first = line.first, first != UInt8(ascii: "#"), first != UInt8(ascii: "\r"),
                let colon = line.firstIndex(of: UInt8(ascii: ":"))
            else { continue }
            let rest = line[line.index(after: colon)...]
            let user = Array(line[..<colon])
            guard hashes[user] == nil else { continue }
            hashes[user] = Array(rest.prefix { $0 != UInt8(ascii: ":") && $0 != UInt8(ascii: "\r") })
        }
        return Users(hashes: hashes)
    }

    private static let missing = AccessRefusal(
        status: 401,
        challenge: .basic,
        reason: "no user/password was provided for basic authentication"
    )
    private static let tooLong = AccessRefusal(status: 401, challenge: .basic, reason: "the credentials are too long")
    private static let unknownUser = AccessRefusal(status: 401, challenge: .basic, reason: "the user was not found")
    private static let mismatch = AccessRefusal(status: 401, challenge: .basic, reason: "password mismatch")
    private static let overloaded = AccessRefusal(status: 503, reason: "too many passwords are being checked at once")
}
