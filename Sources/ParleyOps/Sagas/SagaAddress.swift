public import Logging
public import ParleyCore
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
    }

    private let kind: Kind

    /// What is looked at when nothing is said.
    public static let standardPath = "./data/order-service.db"

    /// - Parameter store: `sqlite:PATH`; ``standardPath`` when `nil`.
    /// - Throws: ``SagaAddressError``.
    public init(store: String?) throws {
        let url = store ?? "sqlite:\(Self.standardPath)"
        guard url.hasPrefix("sqlite:") else { throw SagaAddressError(description: "--store begins with 'sqlite:'") }
        let path = String(url.dropFirst("sqlite:".count))
        guard !path.isEmpty, FileManager.default.fileExists(atPath: path) else {
            throw SagaAddressError(
                description: store == nil
                    ? "there are no sagas at \(Self.standardPath); say where they are: --store sqlite:PATH"
                    : "there is no file '\(path)'; --store sqlite:PATH needs one that a service has made"
            )
        }
        self.kind = .sqlite(path: path)
    }

    /// Runs `body` with the store open.
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
        }
    }
}
