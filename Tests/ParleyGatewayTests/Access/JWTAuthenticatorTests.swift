import Foundation
import JWTKit
import NIOCore
import ParleyCore
import Synchronization
import Testing

@testable import ParleyGateway

/// An issuer with a key of each kind, its clock the test's.
struct Issuer {
    struct Claims: JWTPayload {
        var values: [String: Value]

        enum Value: Codable, Sendable {
            case text(String)
            case number(Double)
            case list([String])

            init(from decoder: any Decoder) throws { self = .text("") }

            func encode(to encoder: any Encoder) throws {
                var container = encoder.singleValueContainer()
                switch self {
                case .text(let text): try container.encode(text)
                case .number(let number): try container.encode(number)
                case .list(let list): try container.encode(list)
                }
            }
        }

        init(_ values: [String: Value]) { self.values = values }
        init(from decoder: any Decoder) throws { self.values = [:] }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            try container.encode(self.values)
        }

        func verify(using algorithm: some JWTAlgorithm) async throws {}
    }

    let keys = JWTKeyCollection()
    let es256 = ES256PrivateKey()
    let es384 = ES384PrivateKey()
    let es512 = ES512PrivateKey()
    let eddsa: EdDSA.PrivateKey
    let id: String

    init(id: String = "one") async throws {
        self.id = id
        self.eddsa = try EdDSA.PrivateKey(curve: .ed25519)
        await self.keys.add(ecdsa: self.es256, kid: JWKIdentifier(string: "\(id)-ES256"))
        await self.keys.add(ecdsa: self.es384, kid: JWKIdentifier(string: "\(id)-ES384"))
        await self.keys.add(ecdsa: self.es512, kid: JWKIdentifier(string: "\(id)-ES512"))
        await self.keys.add(eddsa: self.eddsa, kid: JWKIdentifier(string: "\(id)-EdDSA"))
    }

    func sign(_ values: [String: Claims.Value], _ algorithm: String = "ES256") async throws -> String {
        try await self.keys.sign(Claims(values), kid: JWKIdentifier(string: "\(self.id)-\(algorithm)"))
    }

    var jwks: String {
        get throws {
            func ec(_ algorithm: String, _ curve: String, _ parameters: ECDSAParameters?) throws -> String {
                let point = try #require(parameters)
                return #"{"kty":"EC","use":"sig","kid":"\#(self.id)-\#(algorithm)","crv":"\#(curve)","#
                    + #""x":"\#(url(point.x))","y":"\#(url(point.y))"}"#
            }
            let x = url(self.eddsa.publicKey.rawRepresentation.base64EncodedString())
            let okp = #"{"kty":"OKP","crv":"Ed25519","alg":"EdDSA","kid":"\#(self.id)-EdDSA","x":"\#(x)"}"#
            let keys = [
                try ec("ES256", "P-256", self.es256.parameters), try ec("ES384", "P-384", self.es384.parameters),
                try ec("ES512", "P-521", self.es512.parameters), okp,
                #"{"kty":"oct","k":"c2VjcmV0","alg":"HS256","kid":"shared"}"#, #"{"kty":"new"}"#, #"{"kty":"EC"}"#,
            ]
            return #"{"keys":[\#(keys.joined(separator: ","))]}"#
        }
    }
}

private func url(_ base64: String) -> String {
    base64.replacingOccurrences(of: "+", with: "-").replacingOccurrences(of: "/", with: "_")
        .replacingOccurrences(of: "=", with: "")
}

private func url(_ text: Substring) -> String { url(Data(text.utf8).base64EncodedString()) }

private func bearer(_ token: String) -> FieldBlock { authorization("Bearer \(token)") }

/// What is behind the address of the keys.
private final class Keys: Sendable {
    private let state = Mutex((document: nil as String?, fetches: 0))

    init(_ document: String?) { self.set(document) }

    func set(_ document: String?) { self.state.withLock { $0.document = document } }
    var fetches: Int { self.state.withLock { $0.fetches } }

    func fetch(_ url: String) throws -> [UInt8] {
        let document = self.state.withLock { state in
            state.fetches += 1
            return state.document
        }
        guard let document else { throw CancellationError() }
        return Array(document.utf8)
    }
}

@Suite(.timeLimit(.minutes(1))) struct JWTAuthenticatorTests {
    private let clock = AccessClock()

    private func authenticator(
        _ keys: Keys,
        _ configure: (inout JWTRules) -> Void = { _ in },
        limits: JWTAuthenticator.Limits = .init()
    ) -> JWTAuthenticator {
        var rules = JWTRules(keys: .url("https://issuer/keys", refreshMilliseconds: 600_000))
        configure(&rules)
        return JWTAuthenticator(
            rules: rules,
            time: self.clock,
            random: SeededRandomSource(seed: 3),
            limits: limits,
            fetch: { try keys.fetch($0) }
        )
    }

    private var soon: Issuer.Claims.Value { .number(Double(self.clock.seconds + 60)) }

    @Test(arguments: ["ES256", "ES384", "ES512", "EdDSA"]) func aGoodTokenIsLetIn(algorithm: String) async throws {
        let issuer = try await Issuer()
        let auth = self.authenticator(Keys(try issuer.jwks))
        let token = try await issuer.sign(["sub": .text("ann"), "exp": self.soon], algorithm)
        #expect(auth.decision(for: bearer(token)).isPending)
        #expect(await auth.resolve(bearer(token)).name == "ann")
        #expect(auth.decision(for: bearer(token)).name == "ann")
        // One bit of the signature is another.
        var broken = Array(token.utf8)
        broken[broken.count - 5] = broken[broken.count - 5] == UInt8(ascii: "A") ? UInt8(ascii: "B") : UInt8(ascii: "A")
        let answer = await auth.resolve(bearer(String(decoding: broken, as: UTF8.self)))
        #expect(answer.reason == "the signature is wrong")
        #expect(auth.decision(for: bearer(String(decoding: broken, as: UTF8.self))).status == 401)
    }

    @Test(arguments: ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]) func rsa(algorithm: String) async throws {
        let pem = try await rsaKey()
        let key = try Insecure.RSA.PrivateKey(pem: pem)
        let primitives = try key.publicKey.getKeyPrimitives()
        let n = url(primitives.modulus.base64EncodedString())
        let e = url(primitives.publicExponent.base64EncodedString())
        let keys = JWTKeyCollection()
        let digest: DigestAlgorithm =
            algorithm.hasSuffix("256") ? .sha256 : algorithm.hasSuffix("384") ? .sha384 : .sha512
        if algorithm.hasPrefix("RS") {
            await keys.add(rsa: key, digestAlgorithm: digest, kid: "r")
        } else {
            await keys.add(pss: key, digestAlgorithm: digest, kid: "r")
        }
        let token = try await keys.sign(Issuer.Claims(["sub": .text("ann"), "exp": self.soon]), kid: "r")
        let auth = self.authenticator(Keys(#"{"keys":[{"kty":"RSA","kid":"r","n":"\#(n)","e":"\#(e)"}]}"#))
        #expect(await auth.resolve(bearer(token)).name == "ann")
        // The key says what it is for; another algorithm of the same key is refused.
        let other = algorithm == "RS256" ? "RS384" : "RS256"
        let fixed = self.authenticator(
            Keys(#"{"keys":[{"kty":"RSA","kid":"r","alg":"\#(other)","n":"\#(n)","e":"\#(e)"}]}"#)
        )
        #expect(await fixed.resolve(bearer(token)).reason == "the algorithm is not allowed")
    }

    @Test func unsignedAndSharedSecretsAreRefused() async throws {
        let issuer = try await Issuer()
        let auth = self.authenticator(Keys(try issuer.jwks))
        let payload = url(#"{"sub":"ann"}"#[...])
        for header in [#"{"alg":"none"}"#, #"{"alg":"HS256","kid":"shared"}"#, #"{"alg":"NONE"}"#] {
            let token = "\(url(header[...])).\(payload)."
            #expect(await auth.resolve(bearer(token)).reason == "the algorithm is not allowed", "\(header)")
        }
        // Signed with the public key as if it were a secret.
        let secret = JWTKeyCollection()
        await secret.add(
            hmac: HMACKey(from: try #require(issuer.es256.parameters).x),
            digestAlgorithm: .sha256,
            kid: "s"
        )
        let forged = try await secret.sign(Issuer.Claims(["sub": .text("ann")]), kid: "s")
        #expect(await auth.resolve(bearer(forged)).status == 401)
        // An algorithm that is not the key's.
        let mixed = "\(url(#"{"alg":"RS256","kid":"one-ES256"}"#[...])).\(payload).AAAA"
        #expect(await auth.resolve(bearer(mixed)).reason == "the algorithm is not allowed")
        let critical = "\(url(#"{"alg":"ES256","kid":"one-ES256","crit":["x"]}"#[...])).\(payload).AAAA"
        #expect(await auth.resolve(bearer(critical)).reason == "the token asks for an extension that is not supported")
        for depth in [100, 500, 2_000] {
            let nested = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
            let deep = "\(url(#"{"alg":"ES256","crit":\#(nested)}"#[...])).\(payload).AAAA"
            #expect(await auth.resolve(bearer(deep)).status == 401)
        }
    }

    @Test(arguments: ["", "a", "a.b", "a.b.c", "..", "a.b.c.d", "e30.e30.AA", "=.=.=", "\u{1F600}.e30.AA"])
    func malformed(token: String) async throws {
        let auth = self.authenticator(Keys(nil))
        #expect(await auth.resolve(bearer(token)).status == 401)
    }

    @Test func timeIssuerAndAudience() async throws {
        let issuer = try await Issuer()
        let now = Double(self.clock.seconds)
        let auth = self.authenticator(Keys(try issuer.jwks)) { rules in
            rules.issuer = "https://issuer"
            rules.audiences = ["shop", "admin"]
        }
        func reason(_ changes: [String: Issuer.Claims.Value?]) async throws -> String? {
            var claims: [String: Issuer.Claims.Value] = [
                "sub": .text("ann"), "iss": .text("https://issuer"), "aud": .text("shop"), "exp": .number(now + 60),
            ]
            for (name, value) in changes { claims[name] = value }
            return await auth.resolve(bearer(try await issuer.sign(claims))).reason
        }
        #expect(try await reason([:]) == nil)
        #expect(try await reason(["aud": .list(["other", "admin"])]) == nil)
        #expect(try await reason(["aud": .list(["other"])]) == "the audience is wrong")
        #expect(try await reason(["aud": nil]) == "the audience is wrong")
        #expect(try await reason(["iss": .text("https://other")]) == "the issuer is wrong")
        #expect(try await reason(["iss": nil]) == "the issuer is wrong")
        #expect(try await reason(["exp": .number(now - 29)]) == nil)
        #expect(try await reason(["exp": .number(now - 30)]) == "the token has expired")
        #expect(try await reason(["exp": .text("tomorrow")]) == "the token is malformed")
        #expect(try await reason(["exp": .number(1e300)]) == nil)
        #expect(try await reason(["exp": .number(-1e300)]) == "the token has expired")
        #expect(try await reason(["nbf": .number(now + 30)]) == nil)
        #expect(try await reason(["nbf": .number(now + 31)]) == "the token is not valid yet")
        #expect(try await reason(["iat": .number(now + 31)]) == "the token was issued in the future")
    }

    @Test func whatIsRememberedEndsWithTheToken() async throws {
        let issuer = try await Issuer()
        let auth = self.authenticator(Keys(try issuer.jwks))
        let token = try await issuer.sign(["sub": .text("ann"), "exp": self.soon])
        #expect(await auth.resolve(bearer(token)).name == "ann")
        self.clock.advance(by: .seconds(89))
        #expect(auth.decision(for: bearer(token)).name == "ann")
        self.clock.advance(by: .seconds(1))
        #expect(auth.decision(for: bearer(token)).reason == "the token has expired")
        #expect(await auth.resolve(bearer(token)).reason == "the token has expired")
    }

    @Test func claimsAreForwarded() async throws {
        let issuer = try await Issuer()
        let auth = self.authenticator(Keys(try issuer.jwks)) { rules in
            rules.forwardedClaims = ["sub": "X-User", "roles": "X-Roles", "level": "X-Level", "evil": "X-Evil"]
        }
        let token = try await issuer.sign([
            "sub": .text("ann"), "roles": .list(["a", "b"]), "level": .number(3), "evil": .text("a\r\nX: y"),
        ])
        guard case .allowed(let identity?) = await auth.resolve(bearer(token)) else {
            Issue.record("refused")
            return
        }
        let fields = identity.fields.map { String(decoding: $0.name + [61] + $0.value, as: UTF8.self) }
        #expect(fields == ["X-Level=3", "X-Roles=a,b", "X-User=ann"])
        #expect(auth.controlledFields.contains(Array("x-evil".utf8)))
    }

    @Test func keysAreFetchedAnewForOneThatIsNotKnown() async throws {
        let (old, new) = (try await Issuer(id: "old"), try await Issuer(id: "new"))
        let keys = Keys(try old.jwks)
        let auth = self.authenticator(keys)
        let first = try await old.sign(["sub": .text("ann")])
        let second = try await new.sign(["sub": .text("bob")])
        #expect(await auth.resolve(bearer(first)).name == "ann")
        #expect(keys.fetches == 1)
        keys.set(try new.jwks)
        // Not more often than every ten seconds, however many unknown keys come.
        #expect(await auth.resolve(bearer(second)).reason == "the key is unknown")
        #expect(keys.fetches == 1)
        self.clock.advance(by: .seconds(10))
        #expect(await auth.resolve(bearer(second)).name == "bob")
        #expect(keys.fetches == 2)
        // What the old keys had signed is not remembered any more.
        #expect(auth.decision(for: bearer(first)).isPending)
        #expect(await auth.resolve(bearer(first)).reason == "the key is unknown")
        // A fetch that fails, and one that brings no keys, leave those that there are.
        for document in [nil, "<html>", #"{"keys":[]}"#] {
            keys.set(document)
            self.clock.advance(by: .seconds(600))
            #expect(await auth.resolve(bearer(second)).name == "bob")
        }
        #expect(keys.fetches == 5)
    }

    @Test func withoutKeysNobodyIsLetIn() async throws {
        let issuer = try await Issuer()
        let keys = Keys(nil)
        let auth = self.authenticator(keys)
        let token = try await issuer.sign(["sub": .text("ann")])
        #expect(await auth.resolve(bearer(token)).status == 503)
        keys.set(try issuer.jwks)
        #expect(await auth.resolve(bearer(token)).status == 503)
        self.clock.advance(by: .seconds(10))
        #expect(await auth.resolve(bearer(token)).name == "ann")
    }

    @Test func manyAtOnceFetchOnce() async throws {
        let issuer = try await Issuer()
        let keys = Keys(try issuer.jwks)
        let auth = self.authenticator(keys)
        let token = try await issuer.sign(["sub": .text("ann")])
        await withTaskGroup(of: String?.self) { group in
            for _ in 0..<50 { group.addTask { await auth.resolve(bearer(token)).name } }
            for await name in group { #expect(name == "ann") }
        }
        #expect(keys.fetches == 1)
    }

    @Test func keysOfAFileAreReadAnew() async throws {
        let folder = try AccessFolder()
        let (old, new) = (try await Issuer(id: "old"), try await Issuer(id: "new"))
        let path = try folder.write(try old.jwks, to: "keys.json")
        let auth = self.authenticator(Keys(nil)) { $0.keys = .file(path) }
        #expect(try await auth.resolve(bearer(old.sign(["sub": .text("ann")]))).name == "ann")
        try folder.write(try new.jwks, to: "keys.json")
        self.clock.advance(by: .seconds(1))
        #expect(try await auth.resolve(bearer(new.sign(["sub": .text("bob")]))).name == "bob")
        #expect(try await auth.resolve(bearer(old.sign(["sub": .text("ann")]))).status == 401)
    }

    @Test func refusalsSayWhy() async throws {
        let auth = self.authenticator(Keys(nil), limits: .init())
        guard case .refused(let none) = auth.decision(for: FieldBlock()),
            case .refused(let long) = auth.decision(for: bearer(String(repeating: "a", count: 9_000)))
        else {
            Issue.record("not refused")
            return
        }
        #expect(none.challenge == .fixed(Array("Bearer".utf8)))
        let expected = #"Bearer error="invalid_token", error_description="the token is too long""#
        #expect(long.challenge == .fixed(Array(expected.utf8)))
    }
}
