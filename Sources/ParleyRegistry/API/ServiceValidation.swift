internal import NIOCore
internal import ParleyDiscovery

/// From what a client sends to what the catalog holds, or Consul's refusal.
struct ServiceValidation {
    let configuration: RegistryConfiguration

    func service(
        _ definition: ConsulServiceDefinition
    ) throws(APIError) -> (service: ServiceRecord, checks: [CheckRecord]) {
        guard !definition.name.isEmpty else { throw APIError(400, "Missing service name") }
        guard !Self.isUnspecified(definition.address) else { throw APIError(400, "Invalid service address") }
        let limits = self.configuration.limits
        let texts = [definition.name, definition.id, definition.address, definition.socketPath] + definition.tags
        for text in texts where text.utf8.count > limits.maximumTextBytes {
            throw APIError(400, "A name or text is longer than \(limits.maximumTextBytes) bytes")
        }
        guard definition.tags.count <= limits.maximumTags else {
            throw APIError(400, "A service has at most \(limits.maximumTags) tags")
        }
        guard (0...65_535).contains(definition.port) else {
            throw APIError(400, "Invalid service port: \(definition.port) is not 0 to 65535")
        }
        var service = ServiceRecord(
            node: self.configuration.nodeName,
            id: definition.id.isEmpty ? definition.name : definition.id,
            name: definition.name
        )
        service.kind = definition.kind
        service.tags = definition.tags
        service.address = definition.address
        service.meta = definition.meta
        service.port = definition.port
        service.socketPath = definition.socketPath
        service.enableTagOverride = definition.enableTagOverride
        service.taggedAddresses = Self.taggedAddresses(definition)
        let checks = try self.checks(definition, of: service)
        try Self.checkMeta(definition.meta)
        if let weights = definition.weights {
            try Self.checkWeights(weights)
            service.passingWeight = weights.passing
            service.warningWeight = weights.warning
        }
        return (service, checks)
    }

    /// A position counts also when the check has an id of its own; an empty check is none.
    private func checks(
        _ definition: ConsulServiceDefinition,
        of service: ServiceRecord
    ) throws(APIError) -> [CheckRecord] {
        var definitions = definition.checks
        let nothing = ConsulCheckDefinition()
        if let check = definition.check, check != nothing { definitions.insert(check, at: 0) }
        definitions.removeAll { $0 == nothing }
        let limit = self.configuration.limits.maximumChecksPerService
        guard definitions.count <= limit else { throw APIError(400, "A service has at most \(limit) checks") }
        let validation = CheckValidation(configuration: self.configuration)
        var checks: [CheckRecord] = []
        for (index, check) in definitions.enumerated() {
            let position = definitions.count > 1 ? index + 1 : nil
            checks.append(try validation.check(check, of: service, position: position))
        }
        return checks
    }

    private static func isUnspecified(_ address: String) -> Bool {
        guard let parsed = try? SocketAddress(ipAddress: address, port: 0) else { return false }
        return parsed.ipAddress == "0.0.0.0" || parsed.ipAddress == "::"
    }

    /// An address that is one fills in those of its family.
    private static func taggedAddresses(_ definition: ConsulServiceDefinition) -> [String: AddressRecord] {
        var addresses = definition.taggedAddresses.mapValues { AddressRecord(address: $0.address, port: $0.port) }
        guard let parsed = try? SocketAddress(ipAddress: definition.address, port: 0) else { return addresses }
        let family = parsed.protocol == .inet6 ? "ipv6" : "ipv4"
        for name in ["lan_\(family)", "wan_\(family)"] where addresses[name] == nil {
            addresses[name] = AddressRecord(address: definition.address, port: definition.port)
        }
        return addresses
    }

    private static func checkWeights(_ weights: ConsulWeights) throws(APIError) {
        let problem: String? =
            if weights.passing < 1 {
                "Passing must be greater than 0"
            } else if weights.warning < 0 {
                "Warning must be greater or equal than 0"
            } else if weights.passing > 65_535 || weights.warning > 65_535 {
                "DNS Weight must be between 0 and 65535"
            } else {
                nil
            }
        if let problem { throw APIError(400, "Invalid Weights: \(problem)") }
    }

    static let maximumMetaPairs = 64
    static let maximumMetaKey = 128
    static let maximumMetaValue = 512

    private static func checkMeta(_ meta: [String: String]) throws(APIError) {
        guard meta.count <= Self.maximumMetaPairs else {
            throw APIError(
                400,
                "Invalid Service Meta: Node metadata cannot contain more than \(Self.maximumMetaPairs) key/value pairs"
            )
        }
        for (key, value) in meta.sorted(by: { $0.key < $1.key }) {
            let problem: String? =
                if key.isEmpty {
                    "Key cannot be blank"
                } else if !key.utf8.allSatisfy(Self.isMetaCharacter) {
                    "Key contains invalid characters"
                } else if key.utf8.count > Self.maximumMetaKey {
                    "Key is too long (limit: \(Self.maximumMetaKey) characters)"
                } else if key.hasPrefix("consul-") {
                    "Key prefix 'consul-' is reserved for internal use"
                } else if value.utf8.count > Self.maximumMetaValue {
                    "Value is too long (limit: \(Self.maximumMetaValue) characters)"
                } else {
                    nil
                }
            guard let problem else { continue }
            throw APIError(400, "Invalid Service Meta: Couldn't load metadata pair ('\(key)', '\(value)'): \(problem)")
        }
    }

    private static func isMetaCharacter(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
            || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
    }
}
