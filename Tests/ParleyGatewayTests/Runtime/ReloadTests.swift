import AsyncHTTPClient
import Foundation
import HTTPTestSupport
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import ParleyCore
import ProcessTestSupport
import Synchronization
import Testing

@testable import ParleyGateway

@Suite(.timeLimit(.minutes(3))) struct ReloadTests {
    /// A client that keeps its connections: every answer must be whole and right.
    private static func load(_ gateway: Endpoint, until isOver: @escaping @Sendable () -> Bool) async throws -> Int {
        var answers = 0
        while !isOver() {
            answers += try await RawConnection.with(gateway) { client in
                for number in 1...20 {
                    try await client.send("GET /?n=\(number) HTTP/1.1\r\nHost: a.example\r\n\r\n")
                    // The last field of the head, and an end that only a whole answer has.
                    let text = try await client.read(until: "<\(number)>")
                    let count = text.components(separatedBy: "HTTP/1.1 200 OK\r\n").count - 1
                    guard count == number else { throw LoadFailure(text: String(text.suffix(600))) }
                }
                return 20
            }
        }
        return answers
    }

    private struct LoadFailure: Error { var text: String }

    /// The instance: answers with the argument of the path that it is asked for.
    private static let instance = "server { listen 127.0.0.1:1; location / { return 200 \"<$arg_n>\"; } }"

    private static func front(_ upstream: Endpoint, _ number: Int, log: String) throws -> GatewayModel {
        try model(
            """
            upstream u { server \(upstream); keepalive \(number % 3 + 1); }
            limit_req_zone $binary_remote_addr zone=z\(number % 2):1m rate=1000r/s;
            server {
                listen 127.0.0.1:1; server_name a.example; access_log \(log)-\(number % 4);
                location / {
                    proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection "";
                    limit_req zone=z\(number % 2) burst=10000 nodelay;
                }
                location /only-\(number) { return 204; }
            }
            """
        )
    }

    @Test func aHundredReloadsUnderLoadLoseNothing() async throws {
        let log = NSTemporaryDirectory() + "parley-reload-\(UUID().uuidString)"
        defer { for number in 0..<4 { try? FileManager.default.removeItem(atPath: "\(log)-\(number)") } }
        try await withRuntime(model(Self.instance)) { instance in
            try await withRuntime(Self.front(instance.endpoint, 0, log: log)) { gateway in
                let isOver = Mutex(false)
                let flag: @Sendable () -> Bool = { isOver.withLock { $0 } }
                let answers = try await withThrowingTaskGroup(of: Int.self) { tasks in
                    for _ in 0..<4 { tasks.addTask { try await Self.load(gateway.endpoint, until: flag) } }
                    for number in 1...100 {
                        try await gateway.runtime.reload(Self.front(instance.endpoint, number, log: log))
                    }
                    isOver.withLock { $0 = true }
                    return try await tasks.reduce(0, +)
                }
                #expect(answers >= 80)
                let metrics = await gateway.runtime.metrics()
                let status = await gateway.runtime.status()
                #expect(status.generation == 101)
                #expect(metrics.routes.first { $0.route == "/" }?.requests["5xx"] == 0)
                // The clients have gone; what is left rests in the pools of the last plan, at most two loops' worth.
                try await eventually { try connections(to: gateway.endpoint.port) == 0 }
                try await eventually { try connections(to: instance.endpoint.port) <= 2 * 2 * 3 }
                try await eventually { await gateway.runtime.metrics().upstreams.first?.connectionsActive == 0 }
                // Of four logs only the one that is named is open.
                try await eventually { try (0..<4).map { try descriptors(of: "\(log)-\($0)") } == [1, 0, 0, 0] }
                let lines = try (0..<4).map { try String(contentsOfFile: "\(log)-\($0)", encoding: .utf8) }
                try await eventually { await gateway.runtime.metrics().accessLog.writtenLines == UInt64(answers) }
                #expect(lines.allSatisfy { !$0.isEmpty })
            }
        }
    }

    @Test func reloadsAtOnceTakeTurns() async throws {
        let configuration = try model("server { listen 127.0.0.1:1; return 204; }")
        try await withRuntime(configuration) { gateway in
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for _ in 1...10 { tasks.addTask { try await gateway.runtime.reload(configuration) } }
                try await tasks.waitForAll()
            }
            let status = await gateway.runtime.status()
            #expect(status.generation == 11)
        }
    }

    @Test func certificatesChangeUnderOpenConnections() async throws {
        let folder = NSTemporaryDirectory() + "parley-reload-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await Self.makeCertificate(folder + "/one")
        try await Self.makeCertificate(folder + "/two")
        try Self.copy(folder + "/one", to: folder + "/now")
        let configuration = try model(
            """
            server {
                listen 127.0.0.1:1 ssl; ssl_certificate \(folder)/now.pem; ssl_certificate_key \(folder)/now.key;
                add_header X-Place "$connection:$connection_requests" always; return 200 ok;
            }
            """
        )
        try await withRuntime(configuration) { gateway in
            let url = "https://127.0.0.1:\(gateway.endpoint.port)/"
            let open = Self.client(trusting: folder + "/one.pem")
            let first = try await open.execute(HTTPClientRequest(url: url), timeout: .seconds(20))
            _ = try await first.body.collect(upTo: 1_024)
            let place = try #require(first.headers.first(name: "X-Place"))
            #expect(place.hasSuffix(":1"))
            try Self.copy(folder + "/two", to: folder + "/now")
            try await gateway.runtime.reload(configuration)
            // The same connection goes on.
            let second = try await open.execute(HTTPClientRequest(url: url), timeout: .seconds(20))
            _ = try await second.body.collect(upTo: 1_024)
            let next = second.headers.first(name: "X-Place")
            #expect(next == place.dropLast() + "2")
            // New ones see the new certificate, and only that.
            let new = Self.client(trusting: folder + "/two.pem")
            let third = try await new.execute(HTTPClientRequest(url: url), timeout: .seconds(20))
            #expect(third.status == .ok)
            _ = try await third.body.collect(upTo: 1_024)
            let old = Self.client(trusting: folder + "/one.pem")
            await #expect(throws: (any Error).self) {
                _ = try await old.execute(HTTPClientRequest(url: url), timeout: .seconds(20))
            }
            // One that is broken changes nothing.
            try "nothing".write(toFile: folder + "/now.pem", atomically: true, encoding: .utf8)
            await #expect(throws: GatewayError.self) { try await gateway.runtime.reload(configuration) }
            let fourth = try await new.execute(HTTPClientRequest(url: url), timeout: .seconds(20))
            _ = try await fourth.body.collect(upTo: 1_024)
            for client in [open, new, old] { try await client.shutdown() }
        }
    }

    /// One that signs itself, `name.pem` and `name.key`.
    private static func makeCertificate(_ name: String) async throws {
        let answer = try await Subprocess.run(
            "/usr/bin/env",
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                "30",
                "-subj", "/CN=localhost", "-keyout", "\(name).key", "-out", "\(name).pem",
            ]
        )
        guard answer.status == 0 else { throw TestSupportError("openssl: \(answer.error)") }
    }

    private static func copy(_ name: String, to other: String) throws {
        for ending in ["pem", "key"] {
            let text = try String(contentsOfFile: "\(name).\(ending)", encoding: .utf8)
            try text.write(toFile: "\(other).\(ending)", atomically: true, encoding: .utf8)
        }
    }

    private static func client(trusting authority: String) -> HTTPClient {
        var tls = TLSConfiguration.makeClientConfiguration()
        tls.trustRoots = .file(authority)
        tls.certificateVerification = .noHostnameVerification
        var configuration = HTTPClient.Configuration(tlsConfiguration: tls)
        configuration.httpVersion = .http1Only
        configuration.timeout.connect = .seconds(5)
        return HTTPClient(eventLoopGroup: MultiThreadedEventLoopGroup.singleton, configuration: configuration)
    }
}
