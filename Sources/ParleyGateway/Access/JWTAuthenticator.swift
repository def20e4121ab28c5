internal import NIOCore
package import NIOPosix
package import ParleyCore

/// `Authorization: Bearer` with a JSON Web Token of an issuer whose public keys are known.
///
/// What was found out about a token is kept until it expires, at most for ``Limits/rememberedFor``, and only under the
/// keys that were in force: ``decision(for:)`` answers that at once, and ``resolve(_:)`` checks the rest on a thread.
package final class JWTAuthenticator: Sendable {
    package struct Limits: Sendable {
        package var tokenBytes = 8_192
        package var remembered = 8_192
        package var rememberedRefusals = 1_024
        package var rememberedFor = Duration.seconds(300)
        /// A key set larger than this is not taken.
        package var keySetBytes = 1_048_576
        /// Between two fetches of keys, whatever asks for them.
        package var fetchInterval = Duration.seconds(10)

        package init() {}
    }

    private struct Known: Sendable {
        var identity: AccessIdentity
        var validUntil: Timestamp?
    }

    private let rules: JWTRules
    private let forwarded: [(claim: String, field: [UInt8])]
    private let keys: JWTKeySource
    private let time: any TimeSource
    private let digester: CredentialDigester
    private let threads: NIOThreadPool
    private let limits: Limits
    private let allowed: ResultCache<Known>
    private let refused: ResultCache<AccessRefusal>

    /// - Parameter fetch: Gets the document behind an address, within a time limit of its own, for who has no keys
    ///   waits for it. Its errors are taken for an issuer that is away.
    package init(
        rules: JWTRules,
        time: any TimeSource,
        random: any RandomSource,
        threads: NIOThreadPool = .singleton,
        limits: Limits = Limits(),
        fetch: @escaping @Sendable (String) async throws -> [UInt8]
    ) {
        self.rules = rules
        self.forwarded = rules.forwardedClaims.sorted { $0.value < $1.value }
            .map { (claim: $0.key, field: Array($0.value.utf8)) }
        switch rules.keys {
        case .file(let path):
            // A file is looked at as often as other files are.
            self.keys = JWTKeySource(
                refresh: .seconds(1),
                minInterval: .seconds(1),
                maxBytes: limits.keySetBytes,
                time: time
            ) {
                try await threads.runIfActive { try FileReading.read(path, limit: limits.keySetBytes).bytes }
            }
        case .url(let url, let milliseconds):
            self.keys = JWTKeySource(
                refresh: .milliseconds(milliseconds),
                minInterval: limits.fetchInterval,
                maxBytes: limits.keySetBytes,
                time: time
            ) { try await fetch(url) }
        }
        self.time = time
        self.digester = CredentialDigester(random: random)
        self.threads = threads
        self.limits = limits
        self.allowed = ResultCache(capacity: limits.remembered)
        self.refused = ResultCache(capacity: limits.rememberedRefusals)
    }

    /// The fields that only the gateway may set, in lower case: they are taken out of what the client sent.
    package var controlledFields: [[UInt8]] { self.forwarded.map { $0.field.map { AccessText.lowercased($0) } } }

    /// Does not block; for the event loop.
    package func decision(for fields: FieldBlock) -> AccessDecision {
        guard let token = self.token(of: fields) else { return .refused(Self.missing) }
        guard token.count <= self.limits.tokenBytes else { return .refused(JWTFailure.tooLong.refusal) }
        guard let keys = self.keys.current(self.time.now) else { return .pending }
        return self.known(token, keys.generation) ?? .pending
    }

    /// The answer to what was pending.
    package func resolve(_ fields: FieldBlock) async -> AccessDecision {
        guard let view = self.token(of: fields) else { return .refused(Self.missing) }
        guard view.count <= self.limits.tokenBytes else { return .refused(JWTFailure.tooLong.refusal) }
        let token: JWTToken
        do throws(JWTFailure) {
            token = try JWTToken(Array(view))
        } catch {
            return .refused(error.refusal)
        }
        guard var keys = await self.keys.keys(.due) else { return .refused(Self.noKeys) }
        if let known = self.known(view, keys.generation) { return known }
        if self.isUnknown(token, keys.set) {
            // Perhaps the issuer has changed its keys a moment ago.
            keys = await self.keys.keys(.unknownKey) ?? keys
            guard !self.isUnknown(token, keys.set) else { return .refused(JWTFailure.unknownKey.refusal) }
        }
        let present = keys
        let answer = try? await self.threads.runIfActive { self.checked(token, view, present) }
        return answer ?? .refused(AccessRefusal(status: 503, reason: "the gateway is shutting down"))
    }

    private func isUnknown(_ token: JWTToken, _ keys: JSONWebKeySet) -> Bool {
        if let id = token.keyID, keys.knows(id: id) { return false }
        return keys.candidates(id: token.keyID, algorithm: token.algorithm).isEmpty
    }

    /// On a thread of the pool.
    private func checked(_ token: JWTToken, _ view: ByteBufferView, _ keys: JWTKeySource.Keys) -> AccessDecision {
        let key = self.digester.digest(keys.generation, view)
        let now = self.time.now
        do throws(JWTFailure) {
            let candidates = keys.set.candidates(id: token.keyID, algorithm: token.algorithm)
            // The key is there, and it is not for this algorithm: that is what an attacker would try.
            guard !candidates.isEmpty else { throw JWTFailure.algorithm }
            guard candidates.contains(where: { $0.isSignature(token.signature, of: token.signed) }) else {
                throw JWTFailure.signature
            }
            let claims = try JWTClaims(token.payload)
            let validUntil = try claims.validUntil(self.rules, now: self.time.wallTime)
            let known = Known(identity: claims.identity(self.forwarded), validUntil: validUntil)
            self.allowed.insert(known, for: key, expires: now.advanced(by: self.limits.rememberedFor))
            return .allowed(identity: known.identity)
        } catch {
            // What becomes right with time is not kept; a wrong signature under the same keys stays wrong.
            if error == .signature || error == .algorithm {
                self.refused.insert(error.refusal, for: key, expires: now.advanced(by: self.limits.rememberedFor))
            }
            return .refused(error.refusal)
        }
    }

    private func known(_ token: ByteBufferView, _ generation: UInt64) -> AccessDecision? {
        let key = self.digester.digest(generation, token)
        let now = self.time.now
        if let known = self.allowed.value(key, now: now) {
            if let end = known.validUntil, end <= self.time.wallTime { return .refused(JWTFailure.expired.refusal) }
            return .allowed(identity: known.identity)
        }
        return self.refused.value(key, now: now).map { .refused($0) }
    }

    private func token(of fields: FieldBlock) -> ByteBufferView? {
        guard let field = fields.first(.authorization) else { return nil }
        return AuthorizationField.token(of: fields.view(field.value), scheme: Self.scheme)
    }

    private static let scheme = Array("bearer".utf8)
    private static let missing = AccessRefusal(
        status: 401,
        challenge: .fixed(Array("Bearer".utf8)),
        reason: "no token was sent"
    )
    private static let noKeys = AccessRefusal(status: 503, reason: "the keys of the issuer could not be read")
}
