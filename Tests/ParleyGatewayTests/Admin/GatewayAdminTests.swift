import AsyncHTTPClient
import Foundation
import Logging
import NIOCore
import NIOHTTP1
import ParleyCore
import ParleyHTTPServer
import ServiceLifecycle
import Synchronization
import Testing

@testable import ParleyGateway

private struct Broken: Error, CustomStringConvertible { var description: String { "parley.yaml:3:7: no such key" } }

@Suite(.timeLimit(.minutes(1))) struct GatewayAdminTests {
    private func withAdmin(
        reload: @escaping @Sendable () async throws -> Void = {},
        _ body: (String, RecordStore, HealthRegister) async throws -> Void
    ) async throws {
        let records = RecordStore()
        let status = GatewayStatus(
            generation: 7,
            since: Timestamp(microseconds: 0),
            isDraining: false,
            connections: 3,
            listeners: [.init(address: "http://127.0.0.1:80", servers: ["a"])],
            upstreams: [],
            zones: []
        )
        let health = HealthRegister(service: "gateway")
        let service = GatewayAdmin.service(
            .init(
                status: { status },
                metrics: { GatewayMetrics.Snapshot() },
                records: records,
                reload: reload
            ),
            port: 0,
            health: health,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            try await body("http://\(try await service.endpoint())", records, health)
            group.cancelAll()
        }
    }

    private func call(
        _ url: String,
        _ fields: [(String, String)] = [],
        post: Bool = false
    ) async throws -> (status: Int, text: String) {
        var request = HTTPClientRequest(url: url)
        request.method = post ? .POST : .GET
        for (name, value) in fields { request.headers.replaceOrAdd(name: name, value: value) }
        let response = try await HTTPClient.shared.execute(request, timeout: .seconds(20))
        return (Int(response.status.code), String(buffer: try await response.body.collect(upTo: 1 << 20)))
    }

    @Test func everythingIsAnswered() async throws {
        try await self.withAdmin { url, records, health in
            let status = try await self.call(url + "/status")
            #expect(try JSONDecoder().decode(GatewayStatus.self, from: Data(status.text.utf8)).generation == 7)
            let metrics = try await self.call(url + "/metrics")
            #expect(metrics.text.hasPrefix("# HELP parley_gateway_requests_total "))
            let json = try await self.call(url + "/metrics", [("Accept", "application/json")])
            #expect(json.text.hasPrefix("{"))
            records.add(
                ExchangeRecord(
                    id: "a/b c",
                    time: Timestamp(microseconds: 5),
                    method: "GET",
                    host: "h",
                    path: "/",
                    client: "c",
                    status: 404,
                    flags: .noRoute,
                    why: "",
                    durationMicroseconds: 1
                )
            )
            let story = try await self.call(url + "/explain/a%2Fb%20c")
            #expect(story.status == 200)
            #expect(story.text.contains("No location answers this path"))
            #expect(try await self.call(url + "/explain").text.contains("a/b c"))
            let missing = try await self.call(url + "/explain/none")
            #expect(missing.status == 404)
            #expect(missing.text.contains("no_record"))
            #expect(try await self.call(url + "/health/ready").status == 200)
            health.beginDraining()
            #expect(try await self.call(url + "/health/ready").status == 503)
            #expect(try await self.call(url + "/health/live").status == 200)
        }
    }

    @Test func aReloadSaysWhatIsWrong() async throws {
        try await self.withAdmin { url, _, _ in
            let answer = try await self.call(url + "/reload", post: true)
            #expect(answer.text == #"{"generation":7}"#)
            #expect(try await self.call(url + "/reload").status == 405)
        }
        try await self.withAdmin(reload: { throw Broken() }) { url, _, _ in
            let answer = try await self.call(url + "/reload", post: true)
            #expect(answer.status == 422)
            #expect(answer.text.contains("parley.yaml:3:7: no such key"))
        }
    }

    /// A page of a browser, and a name that was bound to the loopback anew.
    @Test func pagesOfBrowsersAreRefused() async throws {
        let reloads = Mutex(0)
        try await self.withAdmin(reload: { reloads.withLock { $0 += 1 } }) { url, _, _ in
            let page = try await self.call(url + "/reload", [("Origin", "https://evil.example")], post: true)
            #expect(page.status == 403)
            let name = try await self.call(url + "/status", [("Host", "evil.example:9901")])
            #expect(name.status == 403)
            #expect(try await self.call(url + "/status", [("Host", "localhost:9901")]).status == 200)
            #expect(try await self.call(url + "/status", [("Host", "[::1]:9901")]).status == 200)
        }
        #expect(reloads.withLock { $0 } == 0)
    }
}
