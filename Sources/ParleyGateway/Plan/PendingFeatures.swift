internal import Logging

/// What a configuration asks for and the data plane does not carry out yet. Said at the start and by `test`, so that
/// nobody relies on it.
enum PendingFeatures {
    static func warn(of model: GatewayModel, _ logger: Logger) {
        for feature in Self.named(in: model) {
            logger.warning("the configuration asks for what is not there yet", metadata: ["what": "\(feature)"])
        }
    }

    static func named(in model: GatewayModel) -> [String] {
        var found: [String] = []
        for upstream in model.upstreams {
            switch upstream.instances {
            case .fixed: break
            case .service: found.append("upstream \"\(upstream.name)\": instances of a service are not followed yet")
            case .dns: found.append("upstream \"\(upstream.name)\": instances of a name in DNS are not followed yet")
            }
            if upstream.healthCheck != nil {
                found.append("upstream \"\(upstream.name)\": active health checks are not made yet")
            }
        }
        for zone in model.requestZones where zone.shared != nil {
            found.append("limit zone \"\(zone.name)\": it is counted here only, not shared yet")
        }
        for server in model.servers { found += Self.named(in: server.locations) }
        return found
    }

    private static func named(in locations: [LocationModel]) -> [String] {
        var found: [String] = []
        for location in locations {
            if location.settings.idempotency != nil {
                found.append("location \"\(location.name)\": idempotency keys are not kept yet")
            }
            if case .url = location.settings.jwt?.keys {
                found.append("location \"\(location.name)\": keys behind an address are not fetched yet, only files")
            }
            if location.settings.proxy.totalTimeout > 0 {
                found.append("location \"\(location.name)\": the time limit for all tries is not kept yet")
            }
            if location.action == .health {
                found.append("location \"\(location.name)\": /health does not ask the services yet")
            }
            found += Self.named(in: location.locations)
        }
        return found
    }
}
