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
        model.servers.flatMap { Self.named(in: $0.locations) }
    }

    private static func named(in locations: [LocationModel]) -> [String] {
        var found: [String] = []
        for location in locations {
            if location.settings.idempotency != nil {
                found.append("location \"\(location.name)\": idempotency keys are not kept yet")
            }
            found += Self.named(in: location.locations)
        }
        return found
    }
}
