public import Logging
internal import ParleyAMQP
public import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP
internal import ParleyRabbitMQ
internal import ParleyRedis
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
        case redis(RESPConfiguration, stream: String?)
        case rabbitMQ(url: String, virtualHost: String, management: RabbitMQManagementConfiguration)
    }

    private let kind: Kind

    /// What is looked at when nothing is said.
    public static let standardPath = "./data/bus.db"

    /// - Parameters:
    ///   - bus: `sqlite:PATH`, `amqp://user:password@host:port/vhost` or
    ///     `redis://user:password@host:port/database?stream=NAME`; ``standardPath`` when `nil` and it exists.
    ///   - management: RabbitMQ's management API; port 15672 of the same host when `nil`; with the bus's user when it
    ///     names none.
    /// - Throws: ``BusAddressError``, `RabbitMQManagementError`. Neither repeats a URL, which may hold a password.
    public init(bus: String?, management: String?) throws {
        guard let bus else {
            guard FileManager.default.fileExists(atPath: Self.standardPath) else {
                throw BusAddressError(
                    "there is no bus at \(Self.standardPath); say where it is: --bus sqlite:PATH, "
                        + "--bus amqp://user:password@host/vhost or --bus redis://host:port?stream=NAME"
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
        } else if ["redis", "valkey"].contains(where: { bus.hasPrefix("\($0)://") || bus.hasPrefix("\($0)s://") }) {
            self.kind = try Self.redis(bus)
        } else {
            throw BusAddressError("--bus begins with 'sqlite:', 'amqp://', 'amqps://', 'redis://' or 'rediss://'")
        }
    }

    private static func redis(_ url: String) throws -> Kind {
        let wanted = BusAddressError("--bus is not of the form redis://user:password@host:port/database?stream=NAME")
        let parts = url.split(separator: "?", maxSplits: 1)
        guard let server = parts.first, var configuration = try? RESPConfiguration(url: String(server)) else {
            throw wanted
        }
        configuration.clientName = "parley"
        // A person waits.
        configuration.commandTimeout = .seconds(10)
        guard parts.count == 2 else { return .redis(configuration, stream: nil) }
        guard parts[1].hasPrefix("stream="), let name = PercentEncoding.decode(parts[1].dropFirst("stream=".count)),
            !name.isEmpty, !name.contains("&")
        else { throw wanted }
        return .redis(configuration, stream: name)
    }

    /// The one that a person most likely means: the only stream on which a group was declared.
    private static func stream(on server: RESPConfiguration, logger: Logger) async throws -> String {
        let found = try await RedisBackend.withBackend(server, logger: logger) {
            try await RedisBusInspector.buses(on: $0.client)
        }
        guard let first = found.first else { return StreamConfiguration().stream }
        guard found.count == 1 else {
            throw BusAddressError(
                "there are several buses on that server: \(found.joined(separator: ", ")); say which: ?stream=\(first)"
            )
        }
        return first
    }

    /// Runs `body` with the bus open.
    public func withInspector<Value: Sendable>(
        logger: Logger,
        _ body: @Sendable (any BusInspector) async throws -> Value
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
        case .redis(let server, let known):
            let stream: String
            if let known { stream = known } else { stream = try await Self.stream(on: server, logger: logger) }
            return try await RedisBackend.withBackend(
                server,
                stream: StreamConfiguration(stream: stream, retention: .forever),
                logger: logger
            ) { try await body(RedisBusInspector($0, stream: stream)) }
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
