import ParleyGateway
import Testing

/// The two configurations of the guide to microservices, as they stand there.
@Suite struct NginxGuideTests {
    static let patterns = """
        # Upstream for user service (multiple instances)
        upstream user_service {
        least_conn;
        server user-service-1:8080 max_fails=3 fail_timeout=30s;
        server user-service-2:8080 max_fails=3 fail_timeout=30s;
        # Health check (NGINX Plus feature; in OSS, use passive health checks above)
        keepalive 32;
        }
        # Upstream for order service
        upstream order_service {
        server order-service-1:8081 max_fails=3 fail_timeout=30s;
        server order-service-2:8081 max_fails=3 fail_timeout=30s;
        keepalive 32;
        }
        server {
        listen 80;
        server_name api.example.com;
        # Route to user service
        location /api/users/ {
        proxy_pass http://user_service;
        proxy_connect_timeout 5s;
        proxy_read_timeout 30s;
        proxy_next_upstream error timeout http_500 http_502 http_503;
        proxy_next_upstream_tries 2;
        }
        # Route to order service
        location /api/orders/ {
        proxy_pass http://order_service;
        proxy_connect_timeout 5s;
        proxy_read_timeout 30s;
        proxy_next_upstream error timeout http_500 http_502 http_503;
        }
        }
        """

    static let gateway = """
        # Service upstreams
        upstream user_svc { server 127.0.0.1:8001; keepalive 16; }
        upstream order_svc { server 127.0.0.1:8002; keepalive 16; }
        upstream product_svc { server 127.0.0.1:8003; keepalive 16; }
        upstream notification_svc { server 127.0.0.1:8004; keepalive 16; }
        # Rate limiting
        limit_req_zone $binary_remote_addr zone=gateway:10m rate=200r/m;
        server {
        listen 443 ssl http2;
        server_name api.example.com;
        ssl_certificate /etc/letsencrypt/live/api.example.com/fullchain.pem;
        ssl_certificate_key /etc/letsencrypt/live/api.example.com/privkey.pem;
        # Common proxy settings
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_set_header X-Real-IP $remote_addr;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Request-ID $request_id;
        # Apply rate limit globally
        limit_req zone=gateway burst=50 nodelay;
        # Service routing
        location /api/v1/users { proxy_pass http://user_svc; }
        location /api/v1/orders { proxy_pass http://order_svc; }
        location /api/v1/products { proxy_pass http://product_svc; }
        # Internal services not exposed externally
        location /api/internal {
        allow 10.0.0.0/8;
        deny all;
        proxy_pass http://notification_svc;
        }
        # Health aggregation endpoint
        location /health {
        access_log off;
        return 200 '{"gateway": "healthy"}';
        add_header Content-Type application/json;
        }
        }
        """

    @Test func upstreamsThatBreakTheCircuit() throws {
        let model = try nginxModel(Self.patterns)
        #expect(model.upstreams.map(\.name) == ["user_service", "order_service"])
        let user = try #require(model.upstreams.first)
        #expect(user.method == .leastConnections)
        #expect(user.keepalive.connections == 32)
        guard case .fixed(let peers) = user.instances else {
            Issue.record("servers that are written stay as they are")
            return
        }
        #expect(peers.map(\.host) == ["user-service-1", "user-service-2"])
        #expect(peers.map(\.name) == ["user-service-1:8080", "user-service-2:8080"])
        #expect(peers.allSatisfy { $0.port == 8_080 && $0.maxFails == 3 && $0.failTimeout == 30 && $0.weight == 1 })
        let server = try #require(model.servers.first)
        #expect(server.listens == [ListenModel(port: 80, isDefault: true)])
        #expect(server.names == [.exact("api.example.com")])
        #expect(
            server.locations.map(\.match) == [
                .prefix("/api/users/", isFinal: false), .prefix("/api/orders/", isFinal: false),
            ]
        )
        let location = try #require(server.locations.first)
        let target = ProxyTarget(scheme: .http, destination: .upstream("user_service"), host: "user_service")
        #expect(location.action == .proxy(target))
        let proxy = location.settings.proxy
        #expect(proxy.connectTimeout == 5_000)
        #expect(proxy.readTimeout == 30_000)
        #expect(proxy.nextUpstream.reasons == [.error, .timeout, .http500, .http502, .http503])
        #expect(proxy.nextUpstream.tries == 2)
        #expect(proxy.version == .http10)
        #expect(server.locations.last?.settings.proxy.nextUpstream.tries == 0)
    }

    @Test func theGateway() throws {
        let model = try nginxModel(Self.gateway)
        #expect(model.upstreams.count == 4)
        #expect(
            model.requestZones == [
                RequestZoneModel(
                    name: "gateway",
                    key: Template(.variable(.binaryRemoteAddress)),
                    bytes: 10_485_760,
                    rate: 3_333
                )
            ]
        )
        let server = try #require(model.servers.first)
        #expect(server.listens == [ListenModel(port: 443, isDefault: true, isTLS: true, hasHTTP2: true)])
        #expect(server.tls?.certificate == "/etc/letsencrypt/live/api.example.com/fullchain.pem")
        #expect(server.tls?.key == "/etc/letsencrypt/live/api.example.com/privkey.pem")
        #expect(server.locations.count == 5)
        for location in server.locations {
            let settings = location.settings
            #expect(settings.requestLimits == [RequestLimitUse(zone: "gateway", burst: 50, delay: .none)])
            #expect(settings.proxy.version == .http11)
            #expect(
                settings.proxy.setFields.map(\.name) == [
                    "Connection", "Host", "X-Real-IP", "X-Forwarded-For", "X-Request-ID",
                ]
            )
            #expect(settings.proxy.setFields.first?.value.isEmpty == true)
        }
        let users = try #require(server.locations.first)
        #expect(
            users.action == .proxy(ProxyTarget(scheme: .http, destination: .upstream("user_svc"), host: "user_svc"))
        )
        let inside = server.locations[3]
        #expect(
            inside.settings.access == [
                AccessRule(isAllowed: true, block: CIDR("10.0.0.0/8")), AccessRule(isAllowed: false, block: nil),
            ]
        )
        let health = server.locations[4]
        #expect(health.rewrites == [.respond(FixedResponse(status: 200, text: Template("{\"gateway\": \"healthy\"}")))])
        #expect(!health.settings.isLogged)
        #expect(health.settings.addedFields == [AddedField(name: "Content-Type", value: Template("application/json"))])
    }
}
