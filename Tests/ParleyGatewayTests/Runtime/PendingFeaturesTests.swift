import Testing

@testable import ParleyGateway

@Suite struct PendingFeaturesTests {
    @Test func whatIsNotCarriedOutIsNamed() {
        var upstream = UpstreamModel(name: "users", instances: .service("user-service"))
        upstream.healthCheck = HealthCheckRules(kind: .tcp)
        var model = GatewayModel()
        model.upstreams = [
            upstream, UpstreamModel(name: "fixed", instances: .fixed([PeerModel(host: "::1", port: 1)])),
        ]
        var server = ServerModel(listens: [ListenModel(port: 8080)])
        var location = LocationModel(match: .exact("/health"))
        location.action = .health
        server.locations = [location, LocationModel(match: .exact("/plain"))]
        model.servers = [server]
        let named = PendingFeatures.named(in: model)
        #expect(named.count == 3)
        #expect(named.contains { $0.contains("user") && $0.contains("followed") })
        #expect(named.contains { $0.contains("health checks") })
        #expect(named.contains { $0.contains("/health") })
    }
}
