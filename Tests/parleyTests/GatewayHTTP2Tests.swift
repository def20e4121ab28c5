import Foundation
import ProcessTestSupport
import Testing

/// Clients of HTTP/2 that others wrote: curl, nghttp and h2load, in the clear and over TLS.
@Suite(.timeLimit(.minutes(5)), .serialized) struct GatewayHTTP2Tests {
    private func withGateway(_ body: (ServingGateway) async throws -> Void) async throws {
        let (server, port) = try await GatewayPeer.serving("http")
        let parts = """
            max_body_size: 0
            keepalive_requests: 100000
            upstreams: {web: ["127.0.0.1:\(port)"]}
            routes:
              - {path: /none, return: 404}
              - {path: /text, return: {status: 200, text: "some text"}}
              - {path: /full, max_body_size: 10, upstream: web}
              - {path: /, upstream: web, proxy: {request_buffering: false}}
            """
        try await ServingGateway.with(.yaml, parts, body)
        await server.killNow()
    }

    private func bytes(_ count: Int, in gateway: ServingGateway) throws -> String {
        let path = gateway.folder + "/bytes-\(count)"
        // Every place has a value of its own, so that pieces in another order are seen.
        var data = Data(capacity: count)
        for number in 0..<UInt32(count / 4) { withUnsafeBytes(of: number) { data.append(contentsOf: $0) } }
        try data.write(to: URL(fileURLWithPath: path))
        return path
    }

    private func urls(_ gateway: ServingGateway) -> [(url: String, curl: [String])] {
        [
            ("http://127.0.0.1:\(gateway.plain)", ["--http2-prior-knowledge"]),
            ("https://localhost:\(gateway.secure)", ["--http2", "--cacert", gateway.folder + "/ca.pem"]),
            ("https://localhost:\(gateway.secure)", ["--http2", "--tlsv1.2", "--tls-max", "1.2", "--insecure"]),
        ]
    }

    private func curl(_ arguments: [String]) async throws -> Subprocess.Answer {
        try await Subprocess.run("curl", ["--disable", "--silent", "--show-error", "--max-time", "60"] + arguments)
    }

    // MARK: - curl

    @Test func largeBodiesBothWays() async throws {
        try await self.withGateway { gateway in
            let sent = try self.bytes(20_000_000, in: gateway)
            let got = gateway.folder + "/got"
            for (url, options) in self.urls(gateway) {
                let post = options + ["--data-binary", "@" + sent, "-o", got, "-w", "%{http_version} %{http_code}"]
                let answer = try await self.curl(post + [url + "/echo"])
                #expect(answer.output == "2 200", "\(answer.error)")
                #expect(FileManager.default.contentsEqual(atPath: sent, andPath: got))
                // Of a length that is not known before.
                let upload = options + ["-X", "POST", "-T", "-", "-o", got, "-w", "%{http_version} %{http_code}"]
                let piped = try await Subprocess.run(
                    "/bin/sh",
                    ["-c", "exec curl --disable --silent --show-error --max-time 60 \"$@\" <\(sent)", "curl"]
                        + upload + [url + "/echo"]
                )
                #expect(piped.output == "2 200", "\(piped.error)")
                #expect(FileManager.default.contentsEqual(atPath: sent, andPath: got))
                let get = try await self.curl(options + ["-o", got, "-w", "%{size_download}", url + "/bytes/30000000"])
                #expect(get.output == "30000000", "\(get.error)")
            }
        }
    }

    @Test func trailersOfAnUpstream() async throws {
        try await self.withGateway { gateway in
            for (url, options) in self.urls(gateway) {
                let answer = try await self.curl(options + ["-i", "-H", "TE: trailers", url + "/trailers"])
                let lines = answer.output.split(whereSeparator: \.isNewline).map(String.init)
                #expect(lines.first == "HTTP/2 200 ")
                #expect(lines.contains { $0.contains("hello") })
                #expect(lines.contains { $0.hasSuffix("x-sum: 42") }, "\(answer.output)")
            }
        }
    }

    @Test func namesThatHTTP1DropsAreDropped() async throws {
        try await self.withGateway { gateway in
            let fields = ["X-Fine: a", "X_Under: b", "X.Dot: c"].flatMap { ["-H", $0] }
            for (url, options) in self.urls(gateway) {
                let answer = try await self.curl(options + fields + [url + "/names"])
                #expect(answer.output.contains("x-fine"))
                #expect(!answer.output.contains("under"))
                #expect(!answer.output.contains("dot"))
            }
        }
    }

    /// The answer is there before the body: a reset that comes with it makes curl call the answer broken.
    @Test(arguments: ["none", "text"])
    func answersBeforeTheBody(path: String) async throws {
        try await self.withGateway { gateway in
            let count = 2_000
            let request = """
                url = "https://localhost:\(gateway.secure)/\(path)"
                http2
                insecure
                silent
                show-error
                data-binary = "the body"
                output = "/dev/null"
                write-out = "%{http_code} %{errormsg}\\n"
                """
            let file = gateway.folder + "/requests"
            try Array(repeating: request, count: count).joined(separator: "\nnext\n")
                .write(toFile: file, atomically: true, encoding: .utf8)
            // It says much between the two, which makes it slower at it.
            let answer = try await Subprocess.run("curl", ["--disable", "--config", file])
            let lines = answer.output.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
            #expect(lines.count == count)
            #expect(Set(lines) == [path == "none" ? "404" : "200"])
        }
    }

    @Test func aBodyThatIsTooLargeIsRefusedWithAnAnswer() async throws {
        try await self.withGateway { gateway in
            let sent = try self.bytes(4_000_000, in: gateway)
            for (url, options) in self.urls(gateway) {
                let post = options + ["--data-binary", "@" + sent, "-o", "/dev/null", "-w", "%{http_code}"]
                for _ in 0..<20 {
                    let answer = try await self.curl(post + [url + "/full"])
                    #expect(answer.output == "413", "\(answer.error)")
                }
            }
        }
    }

    // MARK: - nghttp and h2load

    @Test func manyStreamsAtOnce() async throws {
        try await self.withGateway { gateway in
            // More than may be open at once.
            for (url, _) in self.urls(gateway).prefix(2) {
                let answer = try await Subprocess.run("nghttp", ["-n", "-s", "-m", "300", url + "/bytes/20000"])
                let rows = answer.output.split(separator: "\n").filter { $0.hasSuffix("/bytes/20000") }
                #expect(rows.count == 300, "\(answer.output) \(answer.error)")
                #expect(rows.allSatisfy { $0.contains(" 200  19K ") }, "\(rows.first ?? "")")
            }
        }
    }

    @Test func trailersOfAClient() async throws {
        try await self.withGateway { gateway in
            let sent = try self.bytes(100_000, in: gateway)
            for (url, _) in self.urls(gateway).prefix(2) {
                let options = ["--no-content-length", "--trailer", "x-end: 1", "-d", sent, url + "/echo"]
                let answer = try await Subprocess.run("nghttp", ["-n", "-s"] + options)
                let rows = answer.output.split(separator: "\n").filter { $0.hasSuffix("/echo") }
                #expect(rows.count == 1)
                #expect(rows.allSatisfy { $0.contains(" 200  97K ") }, "\(answer.output)")
            }
        }
    }

    private struct Load {
        var path: String
        var requests = 4_000
        var connections = 10
        var streams = 20
        var options: [String] = []
        var status = "2xx"
    }

    @Test func load() async throws {
        try await self.withGateway { gateway in
            let small = try self.bytes(1_000, in: gateway)
            let large = try self.bytes(300_000, in: gateway)
            let loads = [
                Load(path: "/text", requests: 20_000, streams: 100), Load(path: "/bytes/100"),
                Load(path: "/bytes/200000", requests: 500), Load(path: "/echo", options: ["-d", small]),
                Load(path: "/echo", requests: 200, connections: 4, options: ["-d", large]),
                Load(path: "/none", options: ["-d", small], status: "4xx"),
                Load(path: "/none", requests: 400, options: ["-d", large], status: "4xx"),
            ]
            for (url, _) in self.urls(gateway).prefix(2) {
                for load in loads {
                    let counts = ["-n", "\(load.requests)", "-c", "\(load.connections)", "-m", "\(load.streams)"]
                    let answer = try await Subprocess.run("h2load", counts + load.options + [url + load.path])
                    let text = answer.output
                    #expect(text.contains("requests: \(load.requests) total"), "\(text) \(answer.error)")
                    #expect(text.contains(" 0 errored, 0 timeout"), "\(load) \(text)")
                    #expect(text.contains("\(load.requests) \(load.status)"), "\(load) \(text)")
                }
            }
        }
    }
}
