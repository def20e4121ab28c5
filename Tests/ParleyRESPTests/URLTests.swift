import Logging
import ParleyCore
import RedisTestSupport
import Synchronization
import Testing

@testable import ParleyRESP

@Suite struct URLTests {
    private typealias Endpoint = RESPConfiguration.Endpoint

    @Test(
        arguments: [
            ("redis://", .host("127.0.0.1", port: 6379)),
            ("redis:///", .host("127.0.0.1", port: 6379)),
            ("redis://h", .host("h", port: 6379)),
            ("redis://h:1", .host("h", port: 1)),
            ("redis://h:65535/", .host("h", port: 65_535)),
            ("redis://:7", .host("127.0.0.1", port: 7)),
            ("redis://[::1]", .host("::1", port: 6379)),
            ("redis://[2001:db8::1]:7/3", .host("2001:db8::1", port: 7)),
            ("redis://[fe80::1%25eth0]:7", .host("fe80::1%eth0", port: 7)),
            ("redis://a%2Db:7", .host("a-b", port: 7)),
            ("redis+sentinel://h/m", .sentinel(master: "m", [.host("h", port: 26_379)])),
            (
                "redis+sentinel://a:1,b,[::1]:3/m/4",
                .sentinel(master: "m", [.host("a", port: 1), .host("b", port: 26_379), .host("::1", port: 3)])
            ),
            ("redis+sentinel://h/m%2Fn/0", .sentinel(master: "m/n", [.host("h", port: 26_379)])),
        ] as [(String, RESPConfiguration.Endpoint)]
    )
    func places(_ url: String, _ endpoint: RESPConfiguration.Endpoint) throws {
        #expect(try RESPConfiguration(url: url).endpoint == endpoint)
    }

    @Test(arguments: ["redis", "valkey"], [("", false), ("s", true)])
    func schemes(_ product: String, _ suffix: (String, Bool)) throws {
        #expect(try (RESPConfiguration(url: "\(product)\(suffix.0)://h").tls != nil) == suffix.1)
        #expect(try (RESPConfiguration(url: "\(product)\(suffix.0)+sentinel://h/m").tls != nil) == suffix.1)
    }

    @Test(
        arguments: [
            ("h", nil, nil), (":p@h", nil, "p"), ("u:p@h", "u", "p"), ("u:@h", "u", ""), (":@h", nil, ""),
            ("u:a:b@h", "u", "a:b"), ("u:a@b@h", "u", "a@b"), ("%75%3A:p%2F%40%25%3f%23@h", "u:", "p/@%?#"),
            ("%C3%BC:%E2%82%AC@h", "ü", "€"),
        ] as [(String, String?, String?)]
    )
    func secrets(_ place: String, _ user: String?, _ password: String?) throws {
        for url in ["redis://\(place):1/2", "redis+sentinel://\(place):1,b/m/2"] {
            let configuration = try RESPConfiguration(url: url)
            #expect(configuration.username == user)
            #expect(configuration.password == password)
            #expect(configuration.database == 2)
        }
    }

    @Test(arguments: [
        "", "redis", "redis:", "redis:/h", "http://h", "REDIS://h", "redis+sentinels://h/m", "rediss+://h",
        " redis://h",
        "redis://h:", "redis://h:0", "redis://h:65536", "redis://h:+1", "redis://h:-1", "redis://h:x", "redis://h:1:2",
        "redis://h/x", "redis://h/-1", "redis://h/+1", "redis://h/65536", "redis://h/1/2", "redis://h/1/",
        "redis://[::1", "redis://::1", "redis://[]", "redis://[h]", "redis://[::1]x", "redis://[::1]:", "redis://h]",
        "redis://u@h", "redis://u:%@h", "redis://u:%4@h", "redis://u:%zz@h", "redis://u:%FF@h", "redis://%ff:p@h",
        "redis://h?x", "redis://h#x", "redis://a,b", "redis://a b", "redis://a%20b", "redis://a%00b", "redis://a\nb",
        "redis://%", "redis+sentinel://", "redis+sentinel://h", "redis+sentinel://h/", "redis+sentinel:///m",
        "redis+sentinel://h//0", "redis+sentinel://h,/m", "redis+sentinel://,h/m", "redis+sentinel://h/m/x",
        "redis+sentinel://h/m/0/0", "redis+sentinel://h/%/0", "redis+sentinel://h:1:1/m",
    ])
    func whatIsNoneIsSaid(_ url: String) {
        let error = #expect(throws: RESPError.self) { try RESPConfiguration(url: url) }
        #expect(error?.code == .invalidURL && error?.retry == .permanent)
        #expect(error?.message.contains("redis://") == true)
    }

    /// Pieces of URLs in any order: each makes a configuration or the error, and never ends the process.
    @Test func garbageNeverTrapsAndPasswordsAreNotRepeated() {
        let pieces = [
            "redis", "+sentinel", "s", "://", "/", ":", "@", "[", "]", "%", "%2", "%41", ",", "h", "s3cret", "0",
            "65536",
            "\u{0}", "ü", "👩‍👩‍👧", "\r\n", "?", "#", "",
        ]
        var seed: UInt64 = 42
        var (accepted, hidden) = (0, 0)
        for _ in 0..<20_000 {
            var url = seed % 3 == 0 ? "" : "redis" + (seed % 3 == 1 ? "://" : "+sentinel://")
            for _ in 0..<8 {
                seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                url += pieces[Int(seed >> 33) % pieces.count]
            }
            do throws(RESPError) {
                let configuration = try RESPConfiguration(url: url)
                accepted += 1
                let shown = (configuration.username ?? "") + "\(configuration.endpoint)"
                if configuration.password?.contains("s3cret") == true, !shown.contains("s3cret") {
                    hidden += 1
                    #expect(!"\(configuration)".contains("s3cret"))
                }
            } catch {
                #expect(error.code == .invalidURL && !"\(error)".contains("s3cret"))
            }
        }
        #expect(accepted > 100 && accepted < 19_900 && hidden > 0)
    }

    @Test func configurationsDoNotShowTheirPasswords() throws {
        let plain = try RESPConfiguration(url: "rediss://app:s3cret@h/3")
        #expect("\(plain)" == "app at h:6379, database 3, TLS")
        let behind = RESPConfiguration(
            endpoint: .sentinel(master: "m", [.host("a")], username: "x", password: "s3cret"),
            password: "s3cret"
        )
        struct Holder { var configuration: RESPConfiguration }
        for configuration in [plain, behind] {
            var dumped = ""
            dump(configuration, to: &dumped)
            dump(configuration.endpoint, to: &dumped)
            dumped += "\(configuration) \(configuration.endpoint) \(Holder(configuration: configuration))"
            dumped += String(reflecting: configuration) + String(reflecting: configuration.endpoint)
            #expect(!dumped.contains("s3cret"))
        }
    }

    /// Servers repeat the arguments of what they do not know, and a password is an argument.
    @Test(.timeLimit(.minutes(1)), arguments: [true, false])
    func thePasswordIsInNoErrorAndNoLog(_ prefersRESP3: Bool) async throws {
        try await FakeServer.with { command, _ in
            let words = command.dropFirst().map { "'\($0)'" }.joined(separator: " ")
            return .bytes("-ERR unknown command '\(command[0])', with args beginning with: \(words)\r\n")
        } _: { server in
            let log = Recorder()
            var configuration = server.configuration
            configuration.username = "app"
            configuration.password = "s3cret"
            configuration.prefersRESP3 = prefersRESP3
            let client = RESPClient(configuration, logger: Logger(label: "test") { _ in log })
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await client.run() }
                let error = try await failure { try await client.ping() }
                #expect(error.code == .unknownCommand && error.retry == .permanent)
                #expect("\(error) \(error.message)".contains("AUTH"))
                #expect(!"\(error) \(String(reflecting: error))".contains("s3cret"))
                try await eventually("it is logged") { log.text.contains("cannot connect") }
                group.cancelAll()
                while (try? await group.next()) != nil {}
            }
            #expect(server.commands.contains(["AUTH", "app", "s3cret"]))
            #expect(!log.text.contains("s3cret"))
        }
    }

    /// A password that is a part of the server's words is no reason to misread them.
    @Test(.timeLimit(.minutes(1)), arguments: ["S", "WRONGPASS", " ", "invalid"])
    func aShortPasswordDoesNotHideTheRefusal(_ password: String) async throws {
        try await FakeServer.with { _, _ in
            .bytes("-WRONGPASS invalid username-password pair\r\n")
        } _: { server in
            var configuration = server.configuration
            configuration.password = password
            let error = try await failure { [configuration] in
                try await RESPConnection.withConnection(configuration) { _ in }
            }
            #expect(error.code == .wrongPassword && error.retry == .permanent)
        }
    }
}

/// Keeps everything that is logged, at every level.
private final class Recorder: LogHandler, Sendable {
    private let lines = Mutex("")
    var text: String { self.lines.withLock { $0 } }

    var logLevel: Logger.Level {
        get { .trace }
        set { _ = newValue }
    }

    var metadata: Logger.Metadata {
        get { [:] }
        set { _ = newValue }
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set { _ = newValue }
    }

    func log(event: LogEvent) { self.lines.withLock { $0 += "\(event.message) \(event.metadata ?? [:])\n" } }
}
