internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ParleyConsul
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyGateway
internal import ParleyHTTPServer
internal import ParleyOps
internal import ServiceLifecycle
internal import UnixSignals

struct GatewayRun: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run",
        abstract: "Run the gateway.",
        discussion: """
            EXAMPLES
              parley gateway run --nginx /etc/nginx/conf.d/api-gateway.conf
              parley gateway run --config parley.yaml --registry consul://127.0.0.1:8500
              parley gateway run --config parley.yaml --admin 127.0.0.1:9902 --workers 2
              parley gateway run --nginx nginx.conf --access-log /dev/stdout
              kill -HUP  $(pidof parley)     read the configuration anew; the old one stays when it is wrong
              kill -USR1 $(pidof parley)     open the access logs anew, after a rotation
              kill -TERM $(pidof parley)     finish what is under way, then end

            It prints one line for each socket once it listens. Before the first connection is refused at the end, \
            GET /health/ready of the admin API is red for as long as --drain-delay says.
            """
    )

    @OptionGroup var source: GatewaySourceOptions

    @Option(help: ArgumentHelp("Address of the admin API, or 'off'. It has no password.", valueName: "host:port"))
    var admin = "127.0.0.1:9901"

    @Option(help: ArgumentHelp("How many event loops; default: what the configuration says.", valueName: "number"))
    var workers: Int?

    @Option(help: ArgumentHelp("The registry that 'service' names: an agent of Consul's API.", valueName: "url"))
    var registry = "consul://127.0.0.1:8500"

    @Option(help: ArgumentHelp("How long requests under way may take at the end.", valueName: "seconds"))
    var gracePeriod = 30.0

    @Option(help: ArgumentHelp("How long readiness is red before the sockets close.", valueName: "seconds"))
    var drainDelay = 0.0

    @Option(
        help: ArgumentHelp(
            "Where requests are logged as JSON whose route names no log: a file or /dev/stdout. Default: nowhere.",
            valueName: "path"
        )
    )
    var accessLog: String?

    @Flag(help: "Print each address as one line of JSON.") var json = false

    func validate() throws {
        if let workers, !(1...1_024).contains(workers) { throw ValidationError("--workers must be 1 to 1024") }
        for (name, value) in [("--grace-period", self.gracePeriod), ("--drain-delay", self.drainDelay)] {
            guard value >= 0, value <= 3_600 else { throw ValidationError("\(name) must be 0 to 3600 seconds") }
        }
        if self.admin != "off", self.adminEndpoint == nil {
            throw ValidationError("--admin must be host:port, like 127.0.0.1:9901, or off")
        }
    }

    private var adminEndpoint: (host: String, port: Int)? {
        guard let colon = self.admin.lastIndex(of: ":"), let port = Int(self.admin[self.admin.index(after: colon)...]),
            (0...65_535).contains(port)
        else { return nil }
        let host = self.admin[..<colon]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
        return host.isEmpty ? nil : (String(isBracketed ? host.dropFirst().dropLast() : host), port)
    }

    func run() async throws {
        // A log that reaches the limit of a file's size is a write that fails, and not the end of the gateway.
        signal(SIGXFSZ, SIG_IGN)
        try await Console.reporting {
            let source = self.source.source
            var logger = Console.logger
            logger.logLevel = .warning
            var options = GatewayRuntime.Options()
            let asJSON = self.json
            options.gracePeriod = .milliseconds(Int64(self.gracePeriod * 1_000))
            options.drainDelay = .milliseconds(Int64(self.drainDelay * 1_000))
            options.accessLog = self.accessLog
            options.reportsListening = { Self.announce($0, "listening", asJSON) }
            let model = try self.adjusted(source.read())
            let resolver = ConsulResolver(
                client: try ConsulClient(ConsulConfiguration(url: self.registry)),
                logger: logger
            )
            // A reload may bring the first name of the registry; nothing is asked until then.
            options.resolver = resolver
            let health = HealthRegister(service: "gateway")
            options.reportsDraining = { health.beginDraining() }
            let runtime = try GatewayRuntime(model: model, options: options, logger: logger)
            let reload: @Sendable () async throws -> Void = { [self] in
                try await runtime.reload(self.adjusted(source.read()))
            }
            var services: [any Service] = [resolver]
            if let endpoint = self.adminEndpoint {
                services.append(
                    GatewayAdmin.service(
                        .init(
                            status: { await runtime.status() },
                            metrics: { await runtime.metrics() },
                            records: runtime.records,
                            reload: reload
                        ),
                        host: endpoint.host,
                        port: endpoint.port,
                        health: health,
                        onListening: { Self.announce("http://\($0)", "admin", asJSON) },
                        logger: logger
                    )
                )
            }
            // They end from the last to the first: the sockets, then the admin API.
            services.append(GatewaySignals(path: source.path, reload: reload) { runtime.reopenLogs() })
            services.append(runtime)
            var group = ServiceGroupConfiguration(
                services: services.map { .init(service: $0) },
                gracefulShutdownSignals: [.sigint, .sigterm],
                logger: logger
            )
            group.maximumGracefulShutdownDuration = .milliseconds(
                Int64((self.gracePeriod + self.drainDelay + 10) * 1_000)
            )
            try await ServiceGroup(configuration: group).run()
        }
    }

    private func adjusted(_ model: GatewayModel) -> GatewayModel {
        var model = model
        if let workers { model.workers = workers }
        return model
    }

    private static func announce(_ address: String, _ what: String, _ asJSON: Bool) {
        if asJSON {
            if let line = try? Console.encoded([what: address], isPretty: false) { Console.note(line) }
        } else {
            Console.note(what == "admin" ? "admin API on \(address)" : "listening on \(address)")
        }
    }
}

/// SIGHUP and SIGUSR1, as nginx has them.
private struct GatewaySignals: Service {
    let path: String
    let reload: @Sendable () async throws -> Void
    let reopenLogs: @Sendable () -> Void

    func run() async throws {
        let signals = await UnixSignalsSequence(trapping: .sighup, .sigusr1)
        for await signal in signals.cancelOnGracefulShutdown() {
            guard signal == .sighup else {
                self.reopenLogs()
                continue
            }
            do {
                try await self.reload()
                Console.error("parley: \(self.path) is in force")
            } catch {
                Console.error("\(error)\nparley: the configuration that was in force still is")
            }
        }
    }
}
