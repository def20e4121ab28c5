public import Logging
public import ParleyCore
internal import ParleyRESP
internal import ParleyRedis
internal import ParleySQLite

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A failure to find a store of sagas: what was given, why it cannot be, what to write.
public struct SagaAddressError: RetryClassifiedError, CustomStringConvertible {
    public var description: String
    public var retry: RetrySafety { .permanent }
}

/// Where sagas are: a URL of a person's, and the only place that knows what its schemes stand for.
public struct SagaAddress: Sendable {
    private enum Kind: Sendable {
        case sqlite(path: String)
        case redis(RESPConfiguration, prefix: String)
    }

    private let kind: Kind

    /// What is looked at when nothing is said.
    public static let standardPath = "./data/order-service.db"

    /// - Parameter store: `sqlite:PATH`, or `redis://user:password@host:port/database?prefix=NAME` (`rediss`, `valkey`
    ///   and `valkeys` as well), the prefix of its `RedisSagaStore`, `{parley-sagas}` unless said; ``standardPath``
    ///   when `nil`.
    /// - Throws: ``SagaAddressError``, which does not repeat a URL that may hold a password.
    public init(store: String?) throws {
        let url = store ?? "sqlite:\(Self.standardPath)"
        if ["redis", "valkey"].contains(where: { url.hasPrefix("\($0)://") || url.hasPrefix("\($0)s://") }) {
            self.kind = try Self.redis(url)
            return
        }
        guard url.hasPrefix("sqlite:") else {
            throw SagaAddressError(
                description: "--store begins with 'sqlite:', 'redis://' or 'rediss://': --store sqlite:PATH, "
                    + "--store redis://user:password@host:port/database"
            )
        }
        let path = String(url.dropFirst("sqlite:".count))
        guard !path.isEmpty, FileManager.default.fileExists(atPath: path) else {
            throw SagaAddressError(
                description: store == nil
                    ? "there are no sagas at \(Self.standardPath); say where they are: --store sqlite:PATH, "
                        + "or --store redis://host:port"
                    : "there is no file '\(path)'; --store sqlite:PATH needs one that a service has made"
            )
        }
        self.kind = .sqlite(path: path)
    }

    private static func redis(_ url: String) throws -> Kind {
        let wanted = SagaAddressError(
            description: "--store is not of the form redis://user:password@host:port/database?prefix=NAME"
        )
        let parts = url.split(separator: "?", maxSplits: 1)
        guard let server = parts.first, var configuration = try? RESPConfiguration(url: String(server)) else {
            throw wanted
        }
        configuration.clientName = "parley"
        // A person waits.
        configuration.commandTimeout = .seconds(10)
        guard parts.count == 2 else { return .redis(configuration, prefix: RedisSagaStore.standardPrefix) }
        guard parts[1].hasPrefix("prefix="), let prefix = PercentEncoding.decode(parts[1].dropFirst("prefix=".count)),
            !prefix.isEmpty, !prefix.contains("&")
        else { throw wanted }
        return .redis(configuration, prefix: prefix)
    }

    /// Runs `body` with the store open.
    ///
    /// - Throws: what `body` throws; for a store on Redis `RESPError` when the server is away or refuses the password.
    public func withInspector<Value: Sendable>(
        logger: Logger,
        _ body: (any SagaInspector) async throws -> Value
    ) async throws -> Value {
        switch self.kind {
        case .sqlite(let path):
            let backend = try await SQLiteBackend(path: path, logger: logger)
            let result: Result<Value, any Error>
            do {
                result = .success(try await body(SQLiteSagaInspector(backend, logger: logger)))
            } catch {
                result = .failure(error)
            }
            await backend.close()
            return try result.get()
        case .redis(let server, let prefix):
            let client = RESPClient(server, logger: logger)
            let store = RedisSagaStore(client: client, prefix: prefix, hashes: .stored, logger: logger)
            return try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await client.run() }
                let result: Result<Value, any Error>
                do {
                    result = .success(try await body(RedisSagaInspector(store, logger: logger)))
                } catch {
                    result = .failure(error)
                }
                group.cancelAll()
                return try result.get()
            }
        }
    }
}
