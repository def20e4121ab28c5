internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ParleyCore
internal import ParleyRegistry
internal import ServiceLifecycle
internal import UnixSignals

/// The guide's "start Consul agent", without Consul.
struct RegistryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "registry",
        abstract: "Run a service registry that speaks Consul's HTTP API and DNS.",
        discussion: """
            EXAMPLES
              parley registry
              parley registry --bind 0.0.0.0 --data /var/lib/parley
              curl -X PUT localhost:8500/v1/agent/service/register -d '{"Name": "web", "Port": 8080}'
              curl 'localhost:8500/v1/health/service/web?passing=true'
              dig @127.0.0.1 -p 8600 web.service.consul SRV

            Consul's own clients work with it. Everything is kept in the data folder; --memory keeps nothing. It is \
            one node: no cluster. Ctrl-C or SIGTERM ends it.
            """
    )

    @Option(help: "Port of the HTTP API; 0 takes a free one.") var httpPort = 8_500
    @Option(help: "Port of DNS, UDP and TCP; 0 takes a free one.") var dnsPort = 8_600
    @Flag(help: "Answer no DNS.") var withoutDNS = false
    @Option(help: "Address to listen on: 0.0.0.0 is every IPv4 interface.") var bind = "127.0.0.1"
    @Option(
        help: ArgumentHelp(
            "Address at which other machines reach this one, for services without an address of their own. Default: "
                + "what --bind says, or the first interface's that is not the loopback.",
            valueName: "address"
        )
    )
    var advertise: String?
    @Option(help: ArgumentHelp("Folder for the registry's file; created when missing.", valueName: "folder"))
    var data = "./data"
    @Flag(help: "Keep everything in memory: a restart begins empty.") var memory = false
    @Option(help: "The name of the datacenter.") var datacenter = "dc1"
    @Option(help: "The name of this node.") var node = "parley"
    @Option(help: "The token that every request must carry. Or CONSUL_HTTP_TOKEN, which ps does not show.")
    var token: String?
    @Flag(help: "Print the addresses as one line of JSON.") var json = false

    func validate() throws {
        guard (0...65_535).contains(self.httpPort) else { throw ValidationError("--http-port must be 0 to 65535") }
        if let advertise, advertise.isEmpty || LocalAddress.isWildcard(advertise) {
            throw ValidationError("--advertise must be an address at which this machine is reached")
        }
        // Not "none": a script whose variable is missing must not open the registry to everybody.
        guard self.token?.isEmpty != true else { throw ValidationError("--token must not be empty; leave it out") }
        guard (0...65_535).contains(self.dnsPort) else { throw ValidationError("--dns-port must be 0 to 65535") }
    }

    func run() async throws {
        try await Console.reporting {
            var configuration = RegistryConfiguration(host: self.bind, port: self.httpPort)
            if !self.memory {
                try FileManager.default.createDirectory(atPath: self.data, withIntermediateDirectories: true)
                configuration.path = self.data + "/registry.db"
            }
            configuration.datacenter = self.datacenter
            configuration.nodeName = self.node
            // A variable that is set to nothing is how a shell says that there is none.
            let variable = ProcessInfo.processInfo.environment["CONSUL_HTTP_TOKEN"].flatMap { $0.isEmpty ? nil : $0 }
            configuration.token = self.token ?? variable
            var logger = Console.logger
            logger.logLevel = .warning
            if let advertise {
                configuration.advertisedAddress = advertise
            } else if LocalAddress.isWildcard(self.bind) {
                if let address = LocalAddress.reachable(allowsIPv6: self.bind.contains(":")) {
                    configuration.advertisedAddress = address
                } else {
                    logger.warning(
                        "no interface but the loopback: other machines are told 127.0.0.1; say --advertise ADDRESS"
                    )
                }
            }
            let registry = try await Registry(configuration, logger: logger)
            var dns: DNSServer?
            if !self.withoutDNS {
                var names = DNSServer.Configuration(nodeName: self.node)
                names.host = self.bind
                names.port = self.dnsPort
                names.datacenter = self.datacenter
                dns = try DNSServer(configuration: names, source: registry.names, logger: logger)
            }
            let services: [any Service] =
                [registry] + (dns.map { [$0] } ?? []) + [
                    Announcement(registry: registry, dns: dns, path: configuration.path, asJSON: self.json)
                ]
            var group = ServiceGroupConfiguration(
                services: services.map { .init(service: $0) },
                gracefulShutdownSignals: [.sigint, .sigterm],
                logger: logger
            )
            group.maximumGracefulShutdownDuration = .seconds(5)
            try await ServiceGroup(configuration: group).run()
        }
    }
}

/// Tells the person, or the script, at the terminal once it listens.
private struct Announcement: Service {
    let registry: Registry
    let dns: DNSServer?
    let path: String?
    let asJSON: Bool

    func run() async throws {
        // Who cannot listen says so itself.
        if let addresses = try? await self.addresses() {
            if self.asJSON {
                Console.note(try Console.encoded(addresses, isPretty: false))
            } else {
                var lines = ["The registry listens: HTTP \(addresses["http"] ?? ""), DNS \(addresses["dns"] ?? "off")."]
                lines.append(self.path.map { "It keeps everything in \($0)." } ?? "It keeps nothing.")
                Console.note(lines.joined(separator: "\n"))
            }
        }
        try? await gracefulShutdown()
    }

    private func addresses() async throws -> [String: String] {
        var addresses = ["http": "http://\(try await self.registry.endpoint())"]
        if let dns { addresses["dns"] = "\(try await dns.endpoint())" }
        return addresses
    }
}
