import AsyncHTTPClient
import Foundation
import HTTPTestSupport
import NIOCore
import ParleyCore
import ParleyHTTPServer
import Testing

@testable import ParleyGateway

@Suite(.timeLimit(.minutes(1))) struct OperationsTests {
    private static func text(_ upstream: Endpoint) -> String {
        """
        upstream u { least_conn; server \(upstream); server 127.0.0.1:1 down; keepalive 4; }
        limit_req_zone $binary_remote_addr zone=r:1m rate=1r/m;
        limit_conn_zone $binary_remote_addr zone=c:1m;
        server {
            listen 127.0.0.1:1; server_name a.example;
            location / { proxy_pass http://u; proxy_http_version 1.1; proxy_set_header Connection ""; limit_conn c 10; }
            location /limited { limit_req zone=r; }
        }
        server { listen 127.0.0.1:1; server_name b.example; return 404; }
        """
    }

    @Test func statusTellsWhatIsThere() async throws {
        try await RawServer.with(.answer(ok)) { upstream, _ in
            try await withRuntime(model(Self.text(upstream))) { gateway in
                #expect(try await request("GET", "/x", at: gateway.endpoint).status == 200)
                let limited = try await request("GET", "/limited", at: gateway.endpoint)
                #expect(limited.status == 404)
                let status = await gateway.runtime.status()
                #expect(status.generation == 1 && !status.isDraining && status.connections >= 1)
                #expect(
                    status.listeners == [
                        .init(address: "http://\(gateway.endpoint)", servers: ["a.example", "b.example"])
                    ]
                )
                let group = try #require(status.upstreams.first)
                #expect(group.name == "u" && group.method == "least_conn")
                #expect(group.peers.map(\.state) == [.available, .down])
                #expect(group.idleConnections == 1 && group.activeConnections == 0)
                #expect(status.zones.map(\.name) == ["r", "c"])
                #expect(status.zones.first?.keys == 1)
                let before = status.since
                try await gateway.runtime.reload(model(Self.text(upstream)))
                let after = await gateway.runtime.status()
                #expect(after.generation == 2 && after.since > before)
            }
        }
    }

    @Test func metricsOverTheAdminAPI() async throws {
        let answers = (1...3).map { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\($0)" }
        try await RawServer.with(.script(answers)) { upstream, _ in
            try await withRuntime(model(Self.text(upstream))) { gateway in
                let runtime = gateway.runtime
                let admin = GatewayAdmin.service(
                    .init(
                        status: { await runtime.status() },
                        metrics: { await runtime.metrics() },
                        records: runtime.records,
                        reload: {}
                    ),
                    port: 0,
                    logger: testLogger
                )
                try await withRunning(admin) { _ in
                    // One connection: that all of them come to one event loop, and one connection to the instance.
                    try await RawConnection.with(gateway.endpoint) { client in
                        for number in 1...3 {
                            try await client.send("GET /\(number) HTTP/1.1\r\nHost: a.example\r\n\r\n")
                            try await client.read(until: "\r\n\r\n\(number)")
                        }
                        try await client.send("GET /limited HTTP/1.1\r\nHost: a.example\r\n\r\n")
                        try await client.read(until: "404 Not Found\r\n")
                        try await client.send("GET /limited HTTP/1.1\r\nHost: a.example\r\n\r\n")
                        try await client.read(until: "503 Service")
                    }
                    let endpoint = try await admin.endpoint()
                    let text = try await request("GET", "/metrics", at: endpoint).text
                    for line in [
                        #"parley_gateway_requests_total{server="a.example",route="/",status="2xx"} 3"#,
                        #"parley_gateway_requests_total{server="a.example",route="/limited",status="5xx"} 1"#,
                        #"parley_gateway_request_duration_seconds_count{server="a.example",route="/"} 3"#,
                        #"parley_gateway_upstream_attempts_total{upstream="u",instance="\#(upstream)"} 3"#,
                        #"parley_gateway_upstream_instance_available{upstream="u",instance="\#(upstream)"} 1"#,
                        #"parley_gateway_upstream_instance_available{upstream="u",instance="127.0.0.1:1"} 0"#,
                        #"parley_gateway_upstream_connections_created_total{upstream="u"} 1"#,
                        #"parley_gateway_upstream_connections_closed_total{upstream="u"} 0"#,
                        #"parley_gateway_upstream_connections_idle{upstream="u"} 1"#,
                        #"parley_gateway_upstream_connections_active{upstream="u"} 0"#,
                        #"parley_gateway_upstream_requests_reused_total{upstream="u"} 2"#,
                        #"parley_gateway_limit_requests_total{zone="r",result="passed"} 1"#,
                        #"parley_gateway_limit_requests_total{zone="r",result="rejected"} 1"#,
                        #"parley_gateway_limit_requests_total{zone="c",result="passed"} 3"#,
                        "parley_gateway_connections_accepted_total 1",
                        "parley_gateway_records_total 2",
                    ] {
                        #expect(text.contains(line + "\n"), "\(line)")
                    }
                    let status = try await request("GET", "/status", at: endpoint).json(GatewayStatus.self)
                    #expect(status.generation == 1)
                }
            }
        }
    }

    /// Counters stay where they are over a reload that changes the upstream, and closed connections are counted.
    @Test func countersOutliveAReload() async throws {
        try await RawServer.with(.answer(ok)) { upstream, _ in
            let first = try model(Self.text(upstream))
            var second = first
            second.upstreams[0].keepalive.connections = 5
            try await withRuntime(first) { gateway in
                for _ in 1...4 { #expect(try await request("GET", "/", at: gateway.endpoint).status == 200) }
                let before = await gateway.runtime.metrics()
                try await gateway.runtime.reload(second)
                #expect(try await request("GET", "/", at: gateway.endpoint).status == 200)
                let created = try #require(before.upstreams.first?.connectionsCreated)
                try await eventually {
                    let now = await gateway.runtime.metrics().upstreams.first
                    return now?.connectionsClosed == created && now?.connectionsCreated == created + 1
                        && now?.connectionsActive == 0 && now?.connectionsIdle == 1
                }
                let route = await gateway.runtime.metrics().routes.first { $0.route == "/" }
                #expect(route?.requests["2xx"] == 5)
            }
        }
    }

    @Test func ejectionsAndRefusalsAreCounted() async throws {
        let refused = try await unusedEndpoint()
        try await RawServer.with(.answer(ok)) { upstream, _ in
            var configuration = try model(
                """
                upstream u { server \(refused) max_fails=0; server \(upstream); }
                server { listen 127.0.0.1:1; location / { proxy_pass http://u; } }
                """
            )
            var rules = OutlierRules()
            rules.consecutive5xx = 2
            rules.consecutiveGatewayFailures = 2
            configuration.upstreams[0].outliers = rules
            configuration.upstreams[0].limits = CircuitRules()
            try await withRuntime(configuration) { gateway in
                for _ in 1...6 { #expect(try await request("GET", "/", at: gateway.endpoint).status == 200) }
                let metrics = try #require(await gateway.runtime.metrics().upstreams.first)
                #expect(metrics.ejections == 1)
                #expect(metrics.circuitRequests == 0)
                #expect(metrics.instances.first { $0.name == "\(refused)" }?.isAvailable == false)
                let status = await gateway.runtime.status()
                let peer = try #require(status.upstreams.first?.peers.first)
                #expect(peer.state == .ejected && peer.until != nil)
            }
        }
    }

    // MARK: - Check

    private func problem(_ change: (inout GatewayModel) -> Void) async throws -> GatewayError? {
        var configuration = try model(
            "server { listen 127.0.0.1:1; server_name a.example; location /x { return 204; } }"
        )
        change(&configuration)
        do {
            try await GatewayRuntime.check(configuration, logger: testLogger)
            return nil
        } catch let error as GatewayError {
            return error
        }
    }

    @Test func checkSaysWhereSomethingIsWrong() async throws {
        #expect(try await self.problem { _ in } == nil)
        let regex = try await self.problem {
            $0.servers[0].locations.append(LocationModel(match: .regex(RegexModel(pattern: "(a"))))
        }
        #expect(regex?.code == .invalidConfiguration)
        #expect(regex?.message.hasPrefix(#"server "a.example""#) == true, "\(regex?.message ?? "")")
        let zone = try await self.problem {
            $0.servers[0].locations[0].settings.requestLimits = [RequestLimitUse(zone: "none", burst: 0)]
        }
        #expect(zone?.message == #"server "a.example", location "/x": there is no limit_req_zone "none""#)
        let host = try await self.problem {
            let peers = [PeerModel(host: "nobody.invalid", port: 80)]
            $0.upstreams = [UpstreamModel(name: "u", instances: .fixed(peers))]
        }
        #expect(host?.code == .unknownHost)
        #expect(host?.message.contains(#"host not found in upstream "nobody.invalid:80""#) == true)
        let certificate = try await self.problem {
            $0.servers[0].listens[0].isTLS = true
            $0.servers[0].tls = ServerTLS(certificate: "/nowhere/a.pem", key: "/nowhere/a.key")
        }
        #expect(certificate?.code == .unusableFile)
        #expect(certificate?.message.contains("/nowhere/a.pem") == true)
        let log = try await self.problem {
            $0.servers[0].locations[0].settings.accessLogs = [AccessLogUse(path: "/nowhere/a.log")]
        }
        #expect(log?.code == .unusableFile && log?.message.contains("/nowhere/a.log") == true)
    }

    /// What cannot run does not listen, and a reload to it changes nothing.
    @Test func whatIsWrongIsNotPutInForce() async throws {
        let right = try model("server { listen 127.0.0.1:1; location / { return 200 right; } }")
        var wrong = right
        wrong.servers[0].locations.append(LocationModel(match: .regex(RegexModel(pattern: "(a"))))
        let runtime = try GatewayRuntime(model: wrong, logger: testLogger)
        await #expect(throws: GatewayError.self) { try await runtime.run() }
        await #expect(throws: GatewayError.self) { _ = try await runtime.listeningAddresses() }
        try await withRuntime(right) { gateway in
            await #expect(throws: GatewayError.self) { try await gateway.runtime.reload(wrong) }
            #expect(await gateway.runtime.status().generation == 1)
            let answer = try await request("GET", "/", at: gateway.endpoint)
            #expect(answer.text == "right")
        }
    }
}
