public import Logging
internal import ParleyAMQP
public import ParleyCore
internal import ParleyMessaging
internal import ParleyRabbitMQ
internal import ParleySQLite

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A failure to find a bus: what was given, why it cannot be, what to write.
public struct BusAddressError: RetryClassifiedError, CustomStringConvertible {
    public var description: String
    public var retry: RetrySafety { .permanent }

    init(_ description: String) {
        self.description = description
    }
}

/// Where a bus is: a URL of a person's, and the only place that knows what its schemes stand for.
public struct BusAddress: Sendable {
    private enum Kind: Sendable {
        case embedded(path: String)
        case rabbitMQ(url: String, virtualHost: String, management: RabbitMQManagementConfiguration)
    }

    private let kind: Kind

    /// What is looked at when nothing is said.
    public static let standardPath = "./data/bus.db"

    /// - Parameters:
    ///   - bus: `sqlite:PATH` or `amqp://user:password@host:port/vhost`; ``standardPath`` when `nil` and it exists.
    ///   - management: RabbitMQ's management API; port 15672 of the same host when `nil`; with the bus's user when it
    ///     names none.
    /// - Throws: ``BusAddressError``, `RabbitMQManagementError`. Neither repeats a URL, which may hold a password.
    public init(bus: String?, management: String?) throws {
        guard let bus else {
            guard FileManager.default.fileExists(atPath: Self.standardPath) else {
                throw BusAddressError(
                    "there is no bus at \(Self.standardPath); say where it is: --bus sqlite:PATH, or "
                        + "--bus amqp://user:password@host/vhost"
                )
            }
            self.kind = .embedded(path: Self.standardPath)
            return
        }
        if bus.hasPrefix("sqlite:") {
            let path = String(bus.dropFirst("sqlite:".count))
            guard !path.isEmpty, FileManager.default.fileExists(atPath: path) else {
                throw BusAddressError("there is no file '\(path)'; --bus sqlite:PATH needs one that a bus has made")
            }
            self.kind = .embedded(path: path)
        } else if bus.hasPrefix("amqp://") || bus.hasPrefix("amqps://") {
            guard let configuration = try? AMQPConfiguration(url: bus), let endpoint = configuration.endpoints.first,
                let parts = URLComponents(string: bus)
            else { throw BusAddressError("--bus is not of the form amqp://user:password@host:port/vhost") }
            let host = endpoint.host.contains(":") ? "[\(endpoint.host)]" : endpoint.host
            let standard = bus.hasPrefix("amqps://") ? "https://\(host)" : "http://\(host)"
            var settings = try RabbitMQManagementConfiguration(url: management ?? standard)
            if let user = parts.user, management.flatMap({ URLComponents(string: $0)?.user }) == nil {
                settings.user = user
                settings.password = RabbitMQPassword(parts.password ?? "")
            }
            self.kind = .rabbitMQ(url: bus, virtualHost: configuration.virtualHost, management: settings)
        } else {
            throw BusAddressError("--bus begins with 'sqlite:', 'amqp://' or 'amqps://'")
        }
    }

    /// Runs `body` with the bus open.
    public func withInspector<Value: Sendable>(
        logger: Logger,
        _ body: (any BusInspector) async throws -> Value
    ) async throws -> Value {
        switch self.kind {
        case .embedded(let path):
            let backend = try await SQLiteBackend(path: path, logger: logger)
            let result: Result<Value, any Error>
            do {
                result = .success(try await body(EmbeddedBusInspector(backend.transport)))
            } catch {
                result = .failure(error)
            }
            await backend.close()
            return try result.get()
        case .rabbitMQ(let url, let virtualHost, let configuration):
            let management = RabbitMQManagement(configuration)
            let inspector = RabbitMQBusInspector(
                management,
                virtualHost: virtualHost,
                transport: RabbitMQComposition.transport(url: url, logger: logger)
            )
            let result: Result<Value, any Error>
            do { result = .success(try await body(inspector)) } catch { result = .failure(error) }
            await management.shutdown()
            return try result.get()
        }
    }
}
