internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ParleyConsul
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyRESP

/// What every command that runs services is told.
struct Settings: ParsableArguments {
    @Option(help: ArgumentHelp("Folder for the SQLite files; created when missing.", valueName: "folder"))
    var data = ProcessInfo.processInfo.environment["DATA_DIR"] ?? "./data"

    @Option(
        help: ArgumentHelp(
            "Broker that carries the events, instead of a file: amqp://user:password@host:port/vhost for RabbitMQ, "
                + "redis://user:password@host:port for Redis or Valkey. Or BROKER_URL.",
            valueName: "url"
        )
    )
    var broker: String?

    @Option(
        help: ArgumentHelp(
            "Who leads an order: orchestration (order-service asks each service) or choreography (each reacts to the "
                + "others' events). Or SAGA_STYLE. The same for all services.",
            valueName: "style"
        )
    )
    var saga = ProcessInfo.processInfo.environment["SAGA_STYLE"].flatMap(SagaStyle.init) ?? .orchestration

    @Option(
        help: ArgumentHelp(
            "Redis or Valkey on which order-service shows its sagas: HGETALL saga:order:<id>. They stay in its file. "
                + "redis://user:password@host:port/database, or MIRROR_URL.",
            valueName: "url"
        )
    )
    var mirror: String?

    @Option(
        help: ArgumentHelp(
            "Consul, or a registry like it, with which the services register and by which they find each other: "
                + "consul://token@host:8500. Or REGISTRY_URL.",
            valueName: "url"
        )
    )
    var registry: String?

    @Option(help: "Address to listen on.")
    var host = ProcessInfo.processInfo.environment["HOST"] ?? "127.0.0.1"

    @Option(help: "trace, debug, info, notice, warning or error; logs go to standard error.")
    var logLevel = "warning"

    func validate() throws {
        guard Logger.Level(rawValue: self.logLevel) != nil else {
            throw ValidationError("--log-level '\(self.logLevel)' is no level; see --help")
        }
        _ = try self.chosenBroker()
        _ = try self.chosenMirror()
        _ = try self.chosenRegistry()
        if let style = ProcessInfo.processInfo.environment["SAGA_STYLE"], SagaStyle(rawValue: style) == nil {
            throw ValidationError("SAGA_STYLE is '\(style)'; write orchestration or choreography")
        }
    }

    /// `nil` is a file.
    func chosenBroker() throws -> Bus.Broker? {
        try (self.broker ?? ProcessInfo.processInfo.environment["BROKER_URL"]).map { try Bus.Broker($0) }
    }

    /// `nil`: the sagas are shown nowhere else.
    func chosenMirror() throws -> RESPConfiguration? {
        guard let url = self.mirror ?? ProcessInfo.processInfo.environment["MIRROR_URL"] else { return nil }
        guard var server = try? RESPConfiguration(url: url) else {
            throw ValidationError("--mirror is not of the form redis://user:password@host:port/database")
        }
        server.clientName = "order-system"
        // Nothing that customers wait for needs it.
        server.commandTimeout = .seconds(2)
        return server
    }

    /// `nil`: the one in this process, or fixed addresses.
    func chosenRegistry() throws -> ConsulConfiguration? {
        guard let url = self.registry ?? ProcessInfo.processInfo.environment["REGISTRY_URL"] else { return nil }
        do { return try ConsulConfiguration(url: url) } catch {
            throw ValidationError("--registry: \(error.message)")
        }
    }

    func logger(_ label: String) -> Logger {
        var logger = Logger(label: label) { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = Logger.Level(rawValue: self.logLevel) ?? .warning
        return logger
    }

    /// Where a service's data is: `DB_URL=sqlite:PATH` for a service that runs alone, as in the guide, or the data
    /// folder.
    func databasePath(of name: String, isAlone: Bool) throws -> String {
        let variables = ProcessInfo.processInfo.environment
        guard isAlone, let url = variables["DB_URL"] else { return "\(self.data)/\(name).db" }
        guard url.hasPrefix("sqlite:"), url.count > 7 else {
            throw ValidationError(
                "DB_URL is '\(url)'; this release stores in SQLite only: write sqlite:./data/\(name).db"
            )
        }
        return String(url.dropFirst("sqlite:".count))
    }

    /// Where services are that no registry has to know: where the environment says, or at their usual ports of this
    /// machine, unless a registry elsewhere knows better.
    ///
    /// - Parameters:
    ///   - elsewhere: those that this process does not run itself. What it runs is in its registry, or not to be
    ///     called.
    ///   - hasPort: Whether the environment names this port; else only its host counts.
    ///   - port: HTTP's or gRPC's.
    func addresses(
        of elsewhere: Set<ServiceKind>,
        hasPort: Bool = true,
        _ port: (ServiceKind) -> Int?
    ) throws -> StaticResolver {
        let onlyNamed = try self.chosenRegistry() != nil
        var endpoints: [ServiceName: [Endpoint]] = [:]
        for kind in elsewhere {
            guard let port = port(kind) else { continue }
            guard let text = ProcessInfo.processInfo.environment[kind.addressVariable] else {
                if !onlyNamed { endpoints[kind.name] = [Endpoint(host: "127.0.0.1", port: port)] }
                continue
            }
            guard let endpoint = Endpoint(text) else {
                throw ValidationError("\(kind.addressVariable) is '\(text)'; write host:port")
            }
            endpoints[kind.name] = [hasPort ? endpoint : Endpoint(host: endpoint.host, port: port)]
        }
        return StaticResolver(endpoints)
    }
}
