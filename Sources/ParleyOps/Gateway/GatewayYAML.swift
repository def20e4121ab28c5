package import ParleyGateway
internal import Yams

/// The section `gateway` of `parley.yaml`: the gateway's model, and back.
///
/// Reading is as strict as the rest of the file: a key that is not known, a value of the wrong kind, a name that
/// nothing in the section has are problems with their line and column. What is written reads back as the same model.
package enum GatewayYAML {
    /// Reads a file that has a section `gateway`.
    ///
    /// - Parameter variables: The environment.
    /// - Throws: ``ConfigurationError``.
    package static func read(file: String, variables: [String: String]) throws -> GatewayModel {
        try self.gateway(of: SystemConfiguration(file: file, variables: variables), file)
    }

    /// - Parameter file: What to call it in messages.
    package static func read(text: String, file: String, variables: [String: String]) throws -> GatewayModel {
        try self.gateway(of: SystemConfiguration(text: text, file: file, variables: variables), file)
    }

    private static func gateway(of configuration: SystemConfiguration, _ file: String) throws -> GatewayModel {
        guard let model = configuration.gateway else {
            let message = "there is no section 'gateway': write 'gateway:' and below it 'listen' and 'routes'"
            throw ConfigurationError(.invalid, [.init(file: file, line: nil, column: nil, message: message)])
        }
        return model
    }

    /// The whole file.
    ///
    /// - Throws: ``ConfigurationError`` when the model holds what YAML cannot say, for example bytes that are no text.
    package static func write(_ model: GatewayModel) throws -> String {
        var pairs = GatewayField.write(GatewaySchema.gateway, model, than: GatewayDefaults.gateway)
        let servers = GatewayCodec<[ServerModel]>.list(GatewaySection.server(in: GatewayDefaults.settings))
        if !model.servers.isEmpty { pairs.append(("servers", servers.write(model.servers))) }
        let root = GatewayNode.mapping([("gateway", GatewayNode.mapping(pairs))])
        let text = try Yams.serialize(node: root, width: -1, allowUnicode: true)
        // Nobody should find out later that a file says something else.
        guard try self.read(text: text, file: "the written file", variables: [:]) == model else {
            let message = "the configuration holds what YAML cannot say: bytes that are no UTF-8, or an empty name"
            throw ConfigurationError(.invalid, [.init(file: "", line: nil, column: nil, message: message)])
        }
        return text
    }
}

/// Reads the section.
enum GatewaySection {
    static func server(in outer: LocationSettings) -> GatewayCodec<ServerModel> {
        var blank = ServerModel(listens: [])
        blank.settings = outer
        return .section(blank, GatewaySchema.server())
    }

    /// What stands beside `servers` holds for all of them; with `listen`, it is one server more.
    static func read(_ node: Node, _ configuration: ConfigurationReading) -> GatewayModel {
        let reading = GatewayReading(configuration)
        var model = GatewayDefaults.gateway
        var own = ServerModel(listens: [])
        own.settings = GatewayDefaults.settings
        struct Whole {
            var model: GatewayModel
            var own: ServerModel
        }
        var whole = Whole(model: model, own: own)
        let servers = GatewayField<Whole>("servers") { node, name, whole, reading in
            let codec = GatewayCodec<[ServerModel]>.list(Self.server(in: whole.own.settings))
            if let servers = codec.read(node, name, reading) { whole.model.servers = servers }
        } write: { _, _ in
            nil
        }
        let fields =
            GatewaySchema.gateway.map { $0.lifted(\Whole.model) }
            + GatewaySchema.server(isWhole: false).map { $0.lifted(\Whole.own) } + [servers]
        _ = GatewayField.read(fields, node, "gateway", &whole, reading)
        (model, own) = (whole.model, whole.own)
        if !own.listens.isEmpty {
            model.servers.insert(own, at: 0)
        } else if !own.locations.isEmpty || !own.names.isEmpty || own.tls != nil {
            reading.problem(node, "'gateway' needs the key 'listen', like listen: 8080")
        }
        if model.servers.isEmpty, own.locations.isEmpty {
            reading.problem(node, "'gateway' has no server: write 'listen' and 'routes', or 'servers'")
        }
        Self.addImplicitUpstreams(&model, reading)
        reading.checkReferences(model)
        return model
    }

    private static func addImplicitUpstreams(_ model: inout GatewayModel, _ reading: GatewayReading) {
        for service in reading.services where !model.upstreams.contains(where: { $0.name == service }) {
            model.upstreams.append(GatewayDefaults.upstream(service, .service(service)))
        }
        for peer in reading.addresses where !model.upstreams.contains(where: { $0.name == peer.name }) {
            model.upstreams.append(GatewayDefaults.upstream(peer.name, .fixed([peer])))
        }
    }
}
