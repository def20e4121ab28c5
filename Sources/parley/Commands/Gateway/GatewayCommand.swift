internal import ArgumentParser
internal import Foundation
internal import ParleyGateway
internal import ParleyOps

/// The gateway: run it, check and convert its configuration, look at it.
struct GatewayCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "gateway",
        abstract:
            "Run the gateway from nginx's configuration or parley.yaml; check, convert and replay configurations.",
        discussion: """
            EXAMPLES
              parley gateway run --nginx /etc/nginx/conf.d/api-gateway.conf
              parley gateway run --config parley.yaml
              parley gateway test --nginx nginx.conf && parley gateway reload
              parley gateway convert --nginx nginx.conf -o parley.yaml
              parley gateway replay --log access.log --config new.yaml --against old.yaml
              parley gateway status
              parley explain 5f0c2a…          why a request was answered as it was

            docs/gateway has the keys of parley.yaml, the letters of the access log, and what differs from nginx.
            """,
        subcommands: [
            GatewayRun.self, GatewayTest.self, GatewayConvert.self, GatewayReplay.self, GatewayReload.self,
            GatewayStatusCommand.self,
        ]
    )
}

/// Which configuration.
struct GatewaySourceOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "A file in nginx's language: a whole nginx.conf, or one as under conf.d.",
            valueName: "path"
        ),
        completion: .file()
    )
    var nginx: String?

    @Option(
        help: ArgumentHelp("A file of YAML with a section 'gateway'.", valueName: "path"),
        completion: .file(extensions: ["yaml", "yml"])
    )
    var config: String?

    func validate() throws {
        guard (self.nginx == nil) != (self.config == nil) else {
            throw ValidationError("say which configuration: --nginx FILE or --config parley.yaml")
        }
    }

    var source: GatewaySource {
        if let nginx { return .nginx(nginx) }
        return .yaml(self.config ?? "parley.yaml")
    }
}

/// Where a configuration is read from, again at each reload.
enum GatewaySource: Sendable {
    case nginx(String)
    case yaml(String)

    /// By its ending: `.yaml` and `.yml` are YAML, everything else nginx's language.
    init(path: String) {
        self = path.hasSuffix(".yaml") || path.hasSuffix(".yml") ? .yaml(path) : .nginx(path)
    }

    var path: String {
        switch self {
        case .nginx(let path), .yaml(let path): path
        }
    }

    /// Reads it; warnings go to standard error.
    ///
    /// - Throws: `NginxErrors` or `ConfigurationError`, each with all places.
    func read() throws -> GatewayModel {
        switch self {
        case .nginx(let path):
            let (model, warnings) = try NginxConfiguration.read(
                path: path,
                cores: ProcessInfo.processInfo.activeProcessorCount
            )
            for warning in warnings { Console.error("\(warning) [warning]") }
            return model
        case .yaml(let path):
            return try GatewayYAML.read(file: path, variables: ProcessInfo.processInfo.environment)
        }
    }
}

/// Where the admin API is.
struct GatewayAdminOptions: ParsableArguments {
    @Option(help: ArgumentHelp("The admin API of the gateway.", valueName: "url"))
    var admin = "http://127.0.0.1:9901"

    @Flag(help: "Print JSON.") var json = false

    var client: GatewayAdminClient { GatewayAdminClient(address: self.admin) }
}
