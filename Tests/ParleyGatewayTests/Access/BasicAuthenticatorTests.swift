import NIOCore
import ParleyCore
import Testing

@testable import ParleyGateway

@Suite struct PasswordHashTests {
    /// Made by `openssl passwd`, by the C library and by hand.
    @Test(arguments: [
        ("secret", "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"),
        ("", "$apr1$x$tMwYqBfQwi3FYAr0aJc8M/"),
        ("a much longer password than sixteen bytes", "$apr1$12345678$RkSsHiO1RUdjaoav57ZaW/"),
        ("secret", "{PLAIN}secret"),
        ("secret", "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="),
        ("secret", "{SSHA}gVK8WC9YyFT1gMsQHTGCgT3sSv5zYWx0"),
        ("secret", "abNANd1rDfiNc"),
    ])
    func right(password: String, hash: String) {
        #expect(PasswordHash.matches(Array(password.utf8), Array(hash.utf8)))
        #expect(!PasswordHash.matches(Array((password + "x").utf8), Array(hash.utf8)) || hash.count == 13)
        #expect(!PasswordHash.matches(Array("other".utf8), Array(hash.utf8)))
    }

    #if os(Linux)
    @Test(arguments: [
        "$1$saltsalt$9xy1btjgzLYfb7hivXtC//", "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
        "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
    ])
    func system(hash: String) {
        #expect(PasswordHash.matches(Array("secret".utf8), Array(hash.utf8)))
        #expect(!PasswordHash.matches(Array("Secret".utf8), Array(hash.utf8)))
    }
    #endif

    @Test(arguments: ["", "*0", "*1", "$9$unknown$x", "{SSHA}", "{SSHA}!!!!", "{SHA}", "$apr1$", "{MD5}x", "x"])
    func whatIsNoHashMatchesNothing(hash: String) {
        for password in ["", "secret", hash] {
            #expect(!PasswordHash.matches(Array(password.utf8), Array(hash.utf8)), "\(password)")
        }
    }

    @Test func aPasswordIsNotCutAtANul() {
        #expect(!PasswordHash.matches(Array("secret\0x".utf8), Array("abNANd1rDfiNc".utf8)))
    }
}

@Suite(.timeLimit(.minutes(1))) struct BasicAuthenticatorTests {
    private let folder: AccessFolder
    private let clock = AccessClock()

    init() throws { self.folder = try AccessFolder() }

    private func authenticator(
        _ text: String?,
        configure: (inout BasicAuthenticator.Limits) -> Void = { _ in }
    ) throws -> BasicAuthenticator {
        var limits = BasicAuthenticator.Limits()
        configure(&limits)
        if let text { try self.folder.write(text, to: "users") }
        return BasicAuthenticator(
            userFile: self.folder.file("users"),
            time: self.clock,
            random: SeededRandomSource(seed: 7),
            limits: limits
        )
    }

    @Test func whatWasFoundOutIsAnsweredAtOnce() async throws {
        let auth = try self.authenticator(
            "# a comment\n\nann:{PLAIN}one:Ann\r\nbob:$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/"
        )
        #expect(auth.decision(for: basic("ann", "one")).isPending)
        #expect(await auth.resolve(basic("ann", "one")).name == "ann")
        #expect(auth.decision(for: basic("ann", "one")).name == "ann")
        #expect(await auth.resolve(basic("bob", "secret")).name == "bob")
        #expect(await auth.resolve(basic("ann", "two")).reason == "password mismatch")
        #expect(auth.decision(for: basic("ann", "two")).status == 401)
        #expect(await auth.resolve(basic("eve", "one")).reason == "the user was not found")
        // A password with colons in it; the name ends at the first.
        #expect(await auth.resolve(basic("ann", "one:two")).status == 401)
    }

    @Test(arguments: ["", "Basic", "Basic ", "Bearer abc", "Basic !!!", "Basic YW5u", "Basicx YW5uOm9uZQ=="])
    func unreadableCredentialsAreNone(value: String) async throws {
        let auth = try self.authenticator("ann:{PLAIN}one")
        let answer = await auth.resolve(authorization(value))
        #expect(answer.status == 401)
        #expect(answer.reason == "no user/password was provided for basic authentication")
        #expect(auth.decision(for: FieldBlock()).status == 401)
    }

    @Test func theSchemeMayBeInAnyCase() async throws {
        let auth = try self.authenticator("ann:{PLAIN}one")
        #expect(await auth.resolve(authorization("bASIC   YW5uOm9uZQ==")).name == "ann")
    }

    @Test func aChangedFileCountsWithinASecond() async throws {
        let auth = try self.authenticator("ann:{PLAIN}one")
        #expect(await auth.resolve(basic("ann", "one")).name == "ann")
        try self.folder.write("ann:{PLAIN}other", to: "users")
        #expect(auth.decision(for: basic("ann", "one")).name == "ann")
        self.clock.advance(by: .seconds(1))
        #expect(auth.decision(for: basic("ann", "one")).isPending)
        #expect(await auth.resolve(basic("ann", "one")).status == 401)
        #expect(await auth.resolve(basic("ann", "other")).name == "ann")
        // A look that finds nothing new leaves what was found out.
        self.clock.advance(by: .seconds(2))
        #expect(auth.decision(for: basic("ann", "other")).isPending)
        #expect(await auth.resolve(basic("ann", "other")).name == "ann")
    }

    @Test func aMissingFileIs403AndAnUnreadableOne500() async throws {
        let auth = try self.authenticator(nil)
        #expect(await auth.resolve(basic("ann", "one")).status == 403)
        #expect(auth.decision(for: basic("ann", "one")).status == 403)
        #expect(await auth.resolve(FieldBlock()).status == 401)
        let folder = BasicAuthenticator(
            userFile: self.folder.path,
            time: self.clock,
            random: SeededRandomSource(seed: 1)
        )
        #expect(await folder.resolve(basic("ann", "one")).status == 500)
        try self.folder.write("ann:{PLAIN}one", to: "users")
        self.clock.advance(by: .seconds(1))
        #expect(await auth.resolve(basic("ann", "one")).name == "ann")
    }

    @Test func memoryIsBounded() async throws {
        let auth = try self.authenticator("ann:{PLAIN}one\nbob:{PLAIN}two") { limits in
            limits.remembered = 1
            limits.rememberedRefusals = 2
            limits.credentialBytes = 100
            limits.pending = 0
        }
        #expect(await auth.resolve(basic("ann", "one")).status == 503)
        #expect(auth.decision(for: basic("ann", String(repeating: "x", count: 100))).status == 401)
        let cache = ResultCache<Int>(capacity: 3)
        let digester = CredentialDigester(random: SeededRandomSource(seed: 2))
        for number in 0..<100 {
            let key = digester.digest(0, ByteBuffer(integer: number).readableBytesView)
            cache.insert(number, for: key)
            #expect(cache.count <= 3)
            #expect(cache.value(key, now: self.clock.now) == number)
        }
        let key = digester.digest(0, ByteBuffer(integer: 99).readableBytesView)
        cache.insert(7, for: key, expires: self.clock.now)
        #expect(cache.value(key, now: self.clock.now) == nil)
    }
}

@Suite(.timeLimit(.minutes(1))) struct APIKeyAuthenticatorTests {
    private let one = "9b346041bc9a49574eb2665b2ad2a0a3f9f9cce4e42f5d1f26deb8a256b5966a"

    @Test func keys() async throws {
        let folder = try AccessFolder()
        let clock = AccessClock()
        let path = try folder.write("# keys\nprogram: \(self.one)\nbroken:12\n", to: "keys")
        let auth = APIKeyAuthenticator(keys: APIKeys(field: "X-API-Key", keyFile: path), time: clock)
        let right = block([("Accept", "*/*"), ("x-api-KEY", "key-one")])
        #expect(auth.decision(for: FieldBlock()).status == 401)
        #expect(auth.decision(for: right).isPending)
        #expect(await auth.resolve(right).name == "program")
        #expect(auth.decision(for: right).name == "program")
        #expect(auth.decision(for: block([("X-API-Key", "key-two")])).status == 401)
        #expect(auth.decision(for: block([("X-API-Key", String(repeating: "k", count: 2_000))])).status == 401)
        try folder.write("program:00\(self.one.dropFirst(2))\n", to: "keys")
        clock.advance(by: .seconds(1))
        #expect(await auth.resolve(right).status == 401)
        let missing = APIKeyAuthenticator(keys: APIKeys(field: "Authorization", keyFile: path + "-no"), time: clock)
        #expect(await missing.resolve(authorization("key-one")).status == 403)
    }
}
