import ParleyGateway
import ParleyOps
import Testing

private func read(_ text: String, _ variables: [String: String] = [:]) throws -> GatewayModel {
    try GatewayYAML.read(text: text, file: "parley.yaml", variables: variables)
}

/// The problems of a file that cannot be used, as people see them.
private func problems(_ text: String) -> [String] {
    do {
        _ = try read(text)
        return []
    } catch let error as ConfigurationError {
        return error.problems.map(\.description)
    } catch {
        return ["\(error)"]
    }
}

@Suite(.timeLimit(.minutes(2))) struct GatewayYAMLTests {
    @Test func whatIsWrittenIsReadBack() throws {
        for seed in 1...150 as ClosedRange<UInt64> {
            var random = RandomModel(seed: seed)
            let model = random.model()
            let text = try GatewayYAML.write(model)
            #expect(try read(text) == model, "seed \(seed)")
        }
    }

    @Test func theDefaultsAreOurs() throws {
        let model = try read(
            """
            gateway:
              listen: 8080
              routes:
                - path: /api/v1/users
                  service: user-service
                - path: /api/v1/orders
                  upstream: order_svc
                - path: /static
                  address: 127.0.0.1:9000
              upstreams:
                order_svc: [127.0.0.1:8002, "[::1]:8003"]
            """
        )
        #expect(model.errorFormat == .problem)
        let server = try #require(model.servers.first)
        #expect(server.listens == [ListenModel(port: 8_080)])
        #expect(
            server.locations.map(\.match) == [
                .segments("/api/v1/users"), .segments("/api/v1/orders"), .segments("/static"),
            ]
        )
        #expect(server.locations.map(\.name) == ["/api/v1/users", "/api/v1/orders", "/static"])
        for location in server.locations {
            #expect(location.settings.proxy.version == .http11)
            #expect(location.settings.proxy.carriesContext)
            #expect(!location.settings.showsVersion)
            let fields = location.settings.proxy.setFields
            #expect(fields.map(\.name).contains("X-Forwarded-For"))
            // Without it no connection is kept.
            #expect(fields.first { $0.name == "Connection" }?.value.isEmpty == true)
        }
        #expect(model.upstreams.map(\.name) == ["order_svc", "user-service", "127.0.0.1:9000"])
        #expect(model.upstreams.allSatisfy { $0.keepalive.connections == 32 })
        #expect(
            model.upstreams[0].instances
                == .fixed([PeerModel(host: "127.0.0.1", port: 8_002), PeerModel(host: "::1", port: 8_003)])
        )
        #expect(model.upstreams[1].instances == .service("user-service"))
    }

    @Test func settingsAreInheritedInwards() throws {
        let model = try read(
            """
            gateway:
              max_body_size: 2m
              proxy: {read_timeout: 5s}
              servers:
                - listen: [80, {address: "443", tls: true, http2: true}]
                  proxy: {connect_timeout: 250ms}
                  routes:
                    - path: /a
                      max_body_size: 0
                      routes:
                        - exact: /a/b
                          proxy: {read_timeout: 1m30s}
                - listen: 127.0.0.1:81
            """
        )
        #expect(model.servers.map { $0.settings.maxBodySize } == [2 << 20, 2 << 20])
        let outer = try #require(model.servers.first?.locations.first)
        let inner = try #require(outer.locations.first)
        #expect(outer.settings.maxBodySize == 0)
        #expect(inner.settings.maxBodySize == 0)
        #expect(inner.settings.proxy.connectTimeout == 250)
        #expect(outer.settings.proxy.readTimeout == 5_000)
        #expect(inner.settings.proxy.readTimeout == 90_000)
        #expect(model.servers[0].listens[1] == ListenModel(port: 443, isTLS: true, hasHTTP2: true))
        #expect(model.servers[1].listens == [ListenModel(host: "127.0.0.1", port: 81)])
    }

    @Test func limitsAndUnits() throws {
        let model = try read(
            """
            gateway:
              listen: 8080
              zones:
                gateway: {rate: 200r/m, size: 1m}
                slow: {rate: 1r/m, key: "$http_x_user$${server_name}x"}
              request_limits:
                - {zone: gateway, burst: 50, delay: none}
                - slow
              routes: [{path: /, return: {status: 200, text: "price: 5$$"}}]
            """
        )
        #expect(model.requestZones.map(\.rate) == [3_333, 16])
        #expect(model.requestZones[0].bytes == 1 << 20)
        #expect(
            model.requestZones[1].key.parts == [
                .variable(.requestField("x_user")), .variable(.serverName), .text(Array("x".utf8)),
            ]
        )
        let location = try #require(model.servers.first?.locations.first)
        #expect(
            location.settings.requestLimits == [
                RequestLimitUse(zone: "gateway", burst: 50, delay: .none), RequestLimitUse(zone: "slow"),
            ]
        )
        #expect(location.rewrites == [.respond(FixedResponse(status: 200, text: Template("price: 5$")))])
    }

    @Test func environmentVariablesAreReplaced() throws {
        let text = """
            gateway:
              listen: ${PORT:-8080}
              routes: [{path: /, address: "${HOST}:80"}]
            """
        let model = try read(text, ["HOST": "10.0.0.9"])
        #expect(model.servers.first?.listens.first?.port == 8_080)
        #expect(model.upstreams.first?.name == "10.0.0.9:80")
    }

    @Test(
        arguments: [
            ("gateway:\n  listem: 80", "2:3: 'gateway' has no key 'listem' (did you mean 'listen'?)"),
            ("gateway:\n  listen: 80a", "2:11: 'gateway.listen' is '80a'; it must be a port"),
            ("gateway:\n  listen: 80\n  body_timeout: 30", "3:17: 'gateway.body_timeout' is '30'; it must be a time"),
            ("gateway:\n  listen: 80\n  max_body_size: 1t", "3:18: 'gateway.max_body_size' is '1t'; it must be a size"),
            (
                "gateway:\n  listen: 80\n  zones: {z: {rate: 5}}",
                "3:21: 'gateway.zones.z.rate' is '5'; it must be a rate, like 10r/s or 200r/m"
            ),
            ("gateway:\n  listen: 80\n  zones: {z: {}}", "3:14: 'gateway.zones.z' needs the key 'rate'"),
            (
                "gateway:\n  listen: 80\n  upstreams: {users: [a:1]}\n  routes: [{path: /, upstream: user}]",
                "4:32: 'upstreams' has no 'user' (did you mean 'users'?); add it there"
            ),
            (
                "gateway:\n  listen: 80\n  request_limits: [gate]\n  zones: {gates: {rate: 1r/s}}",
                "3:20: 'zones' has no 'gate' (did you mean 'gates'?); add it there"
            ),
            (
                "gateway:\n  listen: 80\n  routes: [{path: /, return: {status: 200, text: $hots}}]",
                "3:50: there is no variable '$hots' (did you mean 'host'?)"
            ),
            (
                "gateway:\n  listen: 80\n  routes: [{path: /, return: {status: 200, text: 5$}}]",
                "3:50: 'gateway.routes[0].return.text': '$' must be followed by a variable's name"
            ),
            (
                "gateway:\n  listen: 80\n  routes: [{service: a}]",
                "3:12: 'gateway.routes[0]' needs one of the keys: path"
            ),
            (
                "gateway:\n  listen: 80\n  error_format: hmtl",
                "3:17: 'gateway.error_format' is 'hmtl' (did you mean 'html'?); it is one of: html, problem"
            ),
            ("gateway:\n  routes: [{path: /}]", "2:3: 'gateway' needs the key 'listen', like listen: 8080"),
            ("gateway:\n  listen: 80\n  access: [permit all]", "3:12: 'gateway.access[0]' is 'permit all'; it must be"),
            (
                "gateway:\n  listen: 80\n  upstreams: {a: {servers: [b]}}",
                "3:29: 'gateway.upstreams.a.servers[0]' is 'b'; it must be host:port"
            ),
            (
                "gateway:\n  listen: 80\n  upstreams: {a: {servers: [b:1], method: last_conn}}",
                "3:43: 'gateway.upstreams.a.method' is 'last_conn' (did you mean 'least_conn'?)"
            ),
            ("rabbitmq:\n  vhosts: [{name: a}]", "there is no section 'gateway'"),
        ]
    )
    func eachProblemHasItsPlace(text: String, expected: String) {
        let found = problems(text)
        #expect(found.contains { $0.hasPrefix("parley.yaml:" + expected) || $0.contains(expected) }, "\(found)")
    }

    @Test func deepNestingIsAProblemAndNoEnd() {
        var text = "gateway:\n  listen: 80\n  routes: "
        text += String(repeating: "[{path: /, routes: ", count: 40) + "[]" + String(repeating: "}]", count: 40)
        #expect(problems(text).contains { $0.contains("is nested deeper than 16") })
    }

    @Test func bytesThatAreNoTextCannotBeWritten() {
        var model = GatewayModel()
        var server = ServerModel(listens: [ListenModel(port: 80)])
        server.rewrites = [.respond(FixedResponse(status: 200, text: Template(parts: [.text([0xFF])])))]
        model.servers = [server]
        #expect(throws: ConfigurationError.self) { try GatewayYAML.write(model) }
    }

    @Test func mutatedFilesNeverEndTheProcess() throws {
        var random = RandomModel(seed: 7)
        let original = Array(try GatewayYAML.write(random.model()).utf8)
        var state: UInt64 = 99
        for _ in 0..<300 {
            var bytes = original
            for _ in 0..<3 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let index = Int(state >> 33) % bytes.count
                switch (state >> 20) % 3 {
                case 0: bytes[index] = UInt8(truncatingIfNeeded: state >> 40)
                case 1: bytes.remove(at: index)
                default: bytes.insert(UInt8(ascii: ":"), at: index)
                }
            }
            _ = problems(String(decoding: bytes, as: UTF8.self))
        }
    }
}
