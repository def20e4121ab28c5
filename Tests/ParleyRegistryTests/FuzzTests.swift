import HTTPTestSupport
import NIOCore
import ParleyCore
import ParleyDiscovery
import Testing

@testable import ParleyRegistry

/// Whatever is sent: an answer or a closed connection, and the registry goes on.
@Suite(.timeLimit(.minutes(3))) struct FuzzTests {
    private let paths = [
        "/v1/agent/service/register", "/v1/agent/service/deregister/", "/v1/agent/service/maintenance/",
        "/v1/agent/service/",
        "/v1/agent/services", "/v1/agent/checks", "/v1/agent/check/register", "/v1/agent/check/deregister/",
        "/v1/agent/check/pass/", "/v1/agent/check/update/", "/v1/agent/maintenance", "/v1/agent/self",
        "/v1/agent/health/service/id/", "/v1/agent/health/service/name/", "/v1/catalog/services",
        "/v1/catalog/service/",
        "/v1/catalog/node/", "/v1/catalog/register", "/v1/catalog/deregister", "/v1/health/service/",
        "/v1/health/checks/",
        "/v1/health/node/", "/v1/health/state/", "/v1/kv/", "/v1/status/leader", "/v1/", "/", "/v1/session/list",
    ]
    private let pieces = [
        "Name", "ID", "Port", "Tags", "Meta", "Check", "Checks", "TTL", "Interval", "HTTP", "Weights", "Passing",
        "Node",
        "Address", "Service", "Status", "TaggedAddresses", "Output", "AliasService", "OutputMaxSize",
    ]
    private let values = [
        "1", "-1", "99999999999999999999", "1.5", "\"10s\"", "\"x\"", "\"\"", "null", "true", "[]", "{}", "[1]",
        "{\"a\":1}",
        "\"9223372036s\"", "[\"a\",null]", "\"\\u0000\"", "\"0.0.0.0\"", "9223372036854775807", "\"passing\"",
    ]

    @Test(arguments: 0..<4) func requestsOfAnyShape(_ seed: Int) async throws {
        let random = SeededRandomSource(seed: UInt64(seed))
        func pick<Element>(_ elements: [Element]) -> Element { elements[Int(random.next() % UInt64(elements.count))] }
        try await withRegistry({ $0.limits.maximumServices = 50 }) { running in
            for _ in 0..<400 {
                let method = pick(["GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"])
                let id = pick([
                    "", "a", "service:a", "%20", "%00", "%C3%A4", "%2F", "..", "a%22b", "x?", "consul", "serfHealth",
                ])
                let query = pick([
                    "", "?passing", "?tag=a&tag=%FF", "?index=1&wait=1ns", "?filter=a==b", "?filter=%28%28%28",
                    "?index=-1", "?enable=true",
                    "?pretty", "?recurse", "?keys&separator=%C3", "?cas=x", "?node-meta=a", "?wait=1h&index=0",
                    "?=&&==", "?flags=99999999999999999999", "?hash=x&wait=1ms",
                ])
                var body = "{"
                for _ in 0..<(random.next() % 4) { body += "\"\(pick(self.pieces))\": \(pick(self.values))," }
                body +=
                    "\"\(pick(self.pieces))\": {\"\(pick(self.pieces))\": \(pick(self.values))}"
                    + pick(["}", "", "]", "}}"])
                let path = pick(self.paths)
                let answer = try await running.send(method, path + id + query, method == "GET" ? nil : body)
                #expect((200..<600).contains(answer.status))
                // 500 is Consul's answer to some; "internal" is ours to what we have not thought of.
                #expect(!answer.text.contains("Internal error"), "\(method) \(path)\(id)\(query) \(body)")
            }
            _ = try await running.get("/v1/agent/services")
        }
    }

    @Test func bytesOfAnyKind() async throws {
        let random = SeededRandomSource(seed: 3)
        let heads = [
            "GET / HTTP/9.9\r\n\r\n", "PUT /v1/kv/%zz HTTP/1.1\r\nhost: x\r\n\r\n", "\r\n\r\n\r\n", "GET\r\n\r\n",
            "PUT /v1/kv/a HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
            "PUT /v1/kv/a HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n",
            "PUT /v1/kv/a HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab",
            "GET /v1/health/service/" + String(repeating: "x", count: 200_000) + " HTTP/1.1\r\nhost: x\r\n\r\n",
            "GET / HTTP/1.1\r\n" + String(repeating: "a: b\r\n", count: 50_000) + "\r\n",
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
        try await withRegistry { running in
            for turn in 0..<60 {
                let text: String
                if turn < heads.count {
                    text = heads[turn]
                } else {
                    text = String((0..<200).map { _ in Character(UnicodeScalar(UInt8(random.next() % 128))) })
                }
                try? await RawConnection.with(running.endpoint) { connection in
                    try await connection.send(text)
                    connection.finish()
                    _ = await connection.readToEnd()
                }
            }
            _ = try await running.get("/v1/agent/services")
        }
    }
}
