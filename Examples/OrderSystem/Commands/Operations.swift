internal import ArgumentParser
internal import Foundation
internal import ParleyAMQP
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRabbitMQ
internal import ParleySQLite
internal import ParleySagas

/// What the operating commands share: opening a database that must exist, and saying clearly when it does not.
enum Operations {
    static func withOrders(_ settings: Settings, _ body: (SQLiteBackend) async throws -> Void) async throws {
        try await self.withDatabase(of: "order-service", settings, body)
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

    static func find(_ id: String, in backend: SQLiteBackend) async throws -> SagaInstance {
        let byOrder = SagaQuery(type: OrderSagaDefinition.name, businessKey: id)
        if let saga = try await backend.sagas.instances(matching: byOrder).first { return saga }
        if let saga = try await backend.sagas.instances(matching: SagaQuery(id: id)).first { return saga }
        throw SagaError(.unknownSaga, "no saga of order '\(id)'; 'order-system sagas' lists them")
    }

    @Sendable static func status(_ text: String) throws -> SagaStatus {
        guard let status = SagaStatus(rawValue: text) else {
            throw ValidationError("'\(text)' is none of running, stuck, completed, failed")
        }
        return status
    }

    /// A coordinator that only writes what an operator says; the running system's coordinator drives.
    static func operators(_ backend: SQLiteBackend, _ settings: Settings) -> SagaCoordinator {
        SagaCoordinator(
            store: backend.sagas,
            transactions: backend,
            sagas: [],
            logger: settings.logger("order-system")
        )
    }

    static var person: String { ProcessInfo.processInfo.environment["USER"] ?? "an operator" }
}
