internal import ArgumentParser
internal import Foundation
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyOps
internal import ParleyRabbitMQ
internal import ParleySQLite

/// What the operating commands share: opening a database that must exist, and saying clearly when it does not.
enum Operations {
    static func withSagas(
        _ settings: Settings,
        _ body: (any SagaInspector) async throws -> Void
    ) async throws {
        try await self.withDatabase(of: "order-service", settings) { backend in
            try await body(SQLiteSagaInspector(backend, logger: settings.logger("order-system")))
        }
    }

    static func withDatabase(
        of name: String,
        _ settings: Settings,
        _ body: (SQLiteBackend) async throws -> Void
    ) async throws {
        do {
            let path = try settings.databasePath(of: name, isAlone: true)
            guard FileManager.default.fileExists(atPath: path) else {
                throw ValidationError("there is no database \(path); say where the data is with --data")
            }
            let backend = try await SQLiteBackend(path: path, logger: settings.logger("order-system"))
            try await body(backend)
            await backend.close()
        } catch let error as any RetryClassifiedError {
            FileHandle.standardError.write(Data("order-system: \(error)\n".utf8))
            throw ExitCode.failure
        }
    }

    /// Those of the bus that the services are told to use.
    static func withDeadLetters(
        _ settings: Settings,
        _ body: @Sendable (any DeadLetterStore) async throws -> Void
    ) async throws {
        guard let url = settings.brokerURL else {
            return try await self.withDatabase(of: "bus", settings) { try await body($0.transport.deadLetters) }
        }
        do {
            var configuration = try Bus.configuration(url)
            configuration.broker.operationTimeout = .seconds(10)
            try await RabbitMQTransport.withTransport(configuration, logger: settings.logger("order-system")) {
                try await body($0.deadLetters)
            }
        } catch let error as any RetryClassifiedError {
            FileHandle.standardError.write(Data("order-system: \(error)\n".utf8))
            throw ExitCode.failure
        }
    }

    @Sendable static func status(_ text: String) throws -> String {
        guard ["running", "late", "stuck", "completed", "failed"].contains(text) else {
            throw ValidationError("'\(text)' is none of running, late, stuck, completed, failed")
        }
        return text
    }

    static var person: String { ProcessInfo.processInfo.environment["USER"] ?? "an operator" }
}
