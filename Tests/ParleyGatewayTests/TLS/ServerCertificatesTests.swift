import NIOCore
import NIOSSL
import ParleyCore
import Testing

@testable import ParleyGateway

@Suite(.timeLimit(.minutes(2))) struct ServerCertificatesTests {
    private let time = SystemTimeSource()

    private func certificates(_ tls: ServerTLS..., http2: Bool = false) throws -> ServerCertificates {
        try ServerCertificates(entries: tls.map { .init(tls: $0, hasHTTP2: http2) }, time: self.time)
    }

    private func problem(_ tls: ServerTLS) throws -> TLSProblem.Code? {
        do throws(TLSProblem) {
            _ = try ServerCertificates(entries: [.init(tls: tls, hasHTTP2: false)], time: self.time)
            return nil
        } catch {
            #expect(!"\(error)".isEmpty)
            return error.code
        }
    }

    @Test func theNameChoosesTheCertificate() async throws {
        let files = try await CertificateFolder()
        for name in ["one", "two"] {
            try await files.certificate(name, subject: "/CN=\(name).example", host: "\(name).example")
        }
        var strict = files.tls("two")
        strict.versions = [.v13]
        let certificates = try self.certificates(files.tls("one"), strict)
        let choose: @Sendable (String) -> Int? = { $0 == "two.example" ? 1 : $0 == "one.example" ? 0 : nil }
        try await TLSEcho.with(certificates, choose: choose) { echo in
            let one = try await echo.handshake(host: "one.example")
            #expect(one == Handshake(server: "one.example", alpn: nil, version: .tlsv13, told: "NONE||0|0|one.example"))
            let two = try await echo.handshake(host: "TWO.example")
            #expect(two == Handshake(server: "two.example", alpn: nil, version: .tlsv13, told: "NONE||0|1|two.example"))
            #expect(try await echo.handshake(host: "other.example").server == "one.example")
            #expect(try await echo.handshake().told == "NONE||0|0|-")
            // The rules are the chosen server's as well: the second takes TLS 1.3 only.
            let old: (inout TLSConfiguration) -> Void = { $0.maximumTLSVersion = .tlsv12 }
            #expect(try await echo.handshake(host: "one.example", old).version == .tlsv12)
            await #expect(throws: (any Error).self) { try await echo.handshake(host: "two.example", old) }
            // Below TLS 1.2 there is none.
            await #expect(throws: (any Error).self) {
                try await echo.handshake(host: "one.example") {
                    $0.minimumTLSVersion = .tlsv1
                    $0.maximumTLSVersion = .tlsv11
                }
            }
        }
    }

    @Test func applicationProtocols() async throws {
        let files = try await CertificateFolder()
        try await files.certificate("one", subject: "/CN=one", host: "one.example")
        let both: (inout TLSConfiguration) -> Void = { $0.applicationProtocols = ["h2", "http/1.1"] }
        try await TLSEcho.with(try self.certificates(files.tls("one"), http2: true)) { echo in
            #expect(try await echo.handshake(both).alpn == "h2")
            let first = try await echo.handshake { $0.applicationProtocols = ["http/1.1"] }
            #expect(first.alpn == "http/1.1")
            let other = try await echo.handshake { $0.applicationProtocols = ["other"] }
            #expect(other.alpn == nil)
        }
        try await TLSEcho.with(try self.certificates(files.tls("one"))) { echo in
            let both = try await echo.handshake(both)
            #expect(both.alpn == "http/1.1")
        }
    }

    @Test func clientCertificates() async throws {
        let files = try await CertificateFolder()
        try await files.authority("other-ca")
        try await files.certificate("one", subject: "/CN=one", host: "one.example")
        try await files.certificate("client", subject: "/C=DE/O=A, B/CN=cl\"ient", host: "client")
        try await files.certificate("stranger", subject: "/CN=stranger", host: "stranger", authority: "other-ca")
        func shows(_ name: String) throws -> (inout TLSConfiguration) -> Void {
            let chain = try NIOSSLCertificate.fromPEMFile(files.path("\(name).pem"))
            let key = try NIOSSLPrivateKey(file: files.path("\(name).key"), format: .pem)
            return { configuration in
                configuration.certificateChain = chain.map { .certificate($0) }
                configuration.privateKey = .privateKey(key)
            }
        }
        let client = #"CN=cl\"ient,O=A\, B,C=DE|40|0|-"#
        var tls = files.tls("one")
        tls.clientAuthorities = files.path("ca.pem")
        tls.clientCertificate = .on
        try await TLSEcho.with(try self.certificates(tls)) { echo in
            let shown = try await echo.handshake(try shows("client"))
            #expect(shown.told == "SUCCESS|" + client)
            await #expect(throws: (any Error).self) { try await echo.handshake() }
            await #expect(throws: (any Error).self) { try await echo.handshake(try shows("stranger")) }
        }
        tls.clientCertificate = .optional
        try await TLSEcho.with(try self.certificates(tls)) { echo in
            let shown = try await echo.handshake(try shows("client"))
            #expect(shown.told == "SUCCESS|" + client)
            #expect(try await echo.handshake().told == "NONE||0|0|-")
            await #expect(throws: (any Error).self) { try await echo.handshake(try shows("stranger")) }
        }
        tls.clientCertificate = .optionalNoCA
        tls.clientAuthorities = nil
        try await TLSEcho.with(try self.certificates(tls)) { echo in
            let shown = try await echo.handshake(try shows("stranger"))
            #expect(shown.told.hasPrefix("FAILED:") && shown.told.hasSuffix("|CN=stranger|40|0|-"))
            #expect(try await echo.handshake().told == "NONE||0|0|-")
        }
        tls.clientCertificate = .on
        #expect(try self.problem(tls) == .noAuthorities)
    }

    @Test func aReloadTakesEffectForNewConnections() async throws {
        let files = try await CertificateFolder()
        try await files.certificate("one", subject: "/CN=first", host: "one.example")
        try await files.certificate("next", subject: "/CN=second", host: "one.example")
        let certificates = try self.certificates(files.tls("one"))
        #expect(!certificates.changed())
        try await TLSEcho.with(certificates) { echo in
            try await echo.connect { open in
                #expect(try await open.handshake().server == "first")
                try files.replace("one", with: "next")
                #expect(certificates.changed())
                #expect(try await echo.handshake().server == "first")
                #expect(try certificates.reload() == [])
                #expect(!certificates.changed())
                #expect(try await echo.handshake().server == "second")
                // The one that was open goes on.
                try await open.send("still here")
                #expect(try await open.line() == "still here")
            }
            // A broken version changes nothing, and is not tried twice.
            try files.folder.write("nonsense", to: "one.pem")
            #expect(certificates.changed())
            #expect(throws: TLSProblem.self) { try certificates.reload() }
            #expect(!certificates.changed())
            #expect(try await echo.handshake().server == "second")
            try files.replace("one", with: "next")
            #expect(certificates.changed())
            #expect(try certificates.reload() == [])
        }
    }

    @Test func plainHTTPIsSeenForWhatItIs() async throws {
        let files = try await CertificateFolder()
        try await files.certificate("one", subject: "/CN=one", host: "one.example")
        try await TLSEcho.with(try self.certificates(files.tls("one")), choose: { _ in nil }) { echo in
            let answer = try await echo.connect({ nil }) { client in
                try await client.send("GET / HTTP/1.1")
                return try await client.line()
            }
            #expect(answer == "plain: GET / HTTP/1.1")
            // Almost TLS: the connection ends, nothing else does.
            await #expect(throws: (any Error).self) {
                try await echo.connect({ nil }) { client in
                    try await client.channel.writeAndFlush(ByteBuffer(bytes: [0x16, 3, 1, 0, 4, 1, 2, 3, 4, 10]))
                    return try await client.line()
                }
            }
            #expect(try await echo.handshake(host: "one.example").server == "one")
        }
        #expect(TLSDetector.kind(ofFirstByte: 0x80) == .tls)
        #expect(TLSDetector.kind(ofFirstByte: UInt8(ascii: "P")) == .plain)
    }

    @Test func whatIsWrongWithTheFiles() async throws {
        let files = try await CertificateFolder()
        try await files.certificate("one", subject: "/CN=one", host: "one.example")
        try await files.certificate("two", subject: "/CN=two", host: "two.example")
        try files.folder.write("no PEM\n", to: "text")
        let good = files.tls("one")
        #expect(try self.problem(good) == nil)
        func changed(_ change: (inout ServerTLS) -> Void) -> ServerTLS {
            var tls = good
            change(&tls)
            return tls
        }
        #expect(try self.problem(changed { $0.certificate = files.path("none") }) == .notFound)
        #expect(try self.problem(changed { $0.key = files.path("none") }) == .notFound)
        #expect(try self.problem(changed { $0.certificate = files.folder.path }) == .unreadable)
        #expect(try self.problem(changed { $0.certificate = files.path("text") }) == .noCertificate)
        #expect(try self.problem(changed { $0.key = files.path("text") }) == .noKey)
        #expect(try self.problem(changed { $0.key = good.certificate }) == .noKey)
        #expect(try self.problem(changed { $0.key = files.path("two.key") }) == .keyMismatch)
        #expect(try self.problem(changed { $0.ciphers = "RC4:!aNULL" }) == .ciphers)
        let late = AccessClock()
        late.advance(by: .seconds(86_400 * 36_500))
        let warned = try ServerCertificates(entries: [.init(tls: good, hasHTTP2: false)], time: late)
        #expect(warned.warnings.map(\.code) == [.expired])
        #expect(warned.warnings.allSatisfy { "\($0)".contains("expired on 20") })
    }

    @Test(arguments: [
        ("HIGH:!aNULL:!MD5", 14), ("ALL", 14), ("DEFAULT", 14), ("ECDHE+AESGCM:ECDHE+CHACHA20", 6), ("HIGH:!kRSA", 10),
        ("HIGH:-SHA1:!RSA", 6), ("ECDHE-RSA-AES128-GCM-SHA256", 1), ("EECDH+AESGCM:EDH+AESGCM", 4),
    ])
    func cipherLists(list: String, count: Int) async throws {
        let names = try #require(CipherList.names(of: list))
        #expect(names.split(separator: ":").count == count)
        var configuration = TLSConfiguration.makeClientConfiguration()
        // The library takes each of the names: a list that it cannot read would end the process.
        configuration.cipherSuites = names
        _ = try NIOSSLContext(configuration: configuration)
    }

    @Test func theOrderOfCiphersIsTheWriters() {
        #expect(CipherList.names(of: "AES256-SHA:AES128-SHA") == "AES256-SHA:AES128-SHA")
        #expect(CipherList.names(of: "AES256-SHA AES128-SHA:+AES256@STRENGTH:+AES256") == "AES128-SHA:AES256-SHA")
        #expect(CipherList.names(of: "!ALL:AES128-SHA") == nil)
        #expect(CipherList.names(of: "::+:!:-") == nil)
    }

    @Test func upstreams() async throws {
        let files = try await CertificateFolder()
        try await files.authority("other-ca")
        try await files.certificate("one", subject: "/CN=one", host: "one.example")
        try await files.certificate("gateway", subject: "/CN=gateway", host: "gateway")
        var server = files.tls("one")
        server.clientCertificate = .optional
        server.clientAuthorities = files.path("ca.pem")
        let upstreams = UpstreamCertificates(time: self.time)
        try await TLSEcho.with(try self.certificates(server, http2: true), choose: { _ in 0 }) { echo in
            func told(_ tls: UpstreamTLS, _ protocols: [String] = []) async throws -> Handshake {
                _ = try upstreams.prepare(tls, protocols: protocols)
                return try await echo.connect({
                    try upstreams.makeHandler(tls, protocols: protocols, host: "one.example")
                }) { try await $0.handshake() }
            }
            var tls = UpstreamTLS()
            #expect(try await told(tls).told == "NONE||0|0|-")
            tls.sendsServerName = true
            #expect(try await told(tls).told == "NONE||0|0|one.example")
            #expect(try await told(tls, ["h2"]).alpn == "h2")
            tls.verifies = true
            tls.authorities = files.path("ca.pem")
            tls.certificate = files.path("gateway.pem")
            tls.key = files.path("gateway.key")
            #expect(try await told(tls).told == "SUCCESS|CN=gateway|40|0|one.example")
            tls.name = "two.example"
            await #expect(throws: (any Error).self) { try await told(tls) }
            tls.name = nil
            tls.authorities = files.path("other-ca.pem")
            await #expect(throws: (any Error).self) { try await told(tls) }
            #expect(!upstreams.changed())
            try files.folder.write("nonsense", to: "other-ca.pem")
            #expect(upstreams.changed())
            #expect(throws: TLSProblem.self) { try upstreams.reload() }
            #expect(!upstreams.changed())
            tls.name = String(repeating: "a", count: 300)
            tls.authorities = files.path("ca.pem")
            _ = try upstreams.prepare(tls)
            #expect(throws: TLSProblem.self) { try upstreams.makeHandler(tls, host: "x") }
            tls.name = "unprepared"
            #expect(throws: TLSProblem.self) { try upstreams.makeHandler(tls, host: "x") }
        }
    }
}
