internal import ArgumentParser
internal import Foundation
internal import ParleyCore
internal import ServiceLifecycle
internal import UnixSignals

/// Runs services until Ctrl-C or SIGTERM, and turns what goes wrong into one line for the person at the terminal.
enum Runner {
    static func run(
        settings: Settings,
        kinds: [ServiceKind],
        isAlone: Bool,
        asJSON: Bool,
        registryPorts: (http: Int, dns: Int)? = nil,
        ports: (ServiceKind) -> Ports
    ) async throws {
        do {
            let announcements = Announcements(
                expected: Set(kinds),
                registry: registryPorts != nil,
                asJSON: asJSON,
                dataFolder: settings.data
            )
            var assembly = try Assembly(
                settings: settings,
                kinds: kinds,
                isAlone: isAlone,
                announcements: announcements
            )
            if let registryPorts {
                try await assembly.addRegistry(httpPort: registryPorts.http, dnsPort: registryPorts.dns)
            }
            for kind in kinds { try await assembly.add(kind, ports: ports(kind)) }
            var configuration = ServiceGroupConfiguration(
                services: assembly.services.map { .init(service: $0) },
                gracefulShutdownSignals: [.sigint, .sigterm],
                logger: settings.logger("order-system")
            )
            // Ctrl-C means within five seconds; what has not finished by then goes on after the next start.
            configuration.maximumGracefulShutdownDuration = .milliseconds(4_500)
            try await ServiceGroup(configuration: configuration).run()
        } catch let error as any RetryClassifiedError {
            FileHandle.standardError.write(Data("order-system: \(error)\n".utf8))
            throw ExitCode.failure
        }
    }
}
