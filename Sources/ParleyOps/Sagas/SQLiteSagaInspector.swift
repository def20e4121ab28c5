public import Logging
internal import ParleyCore
public import ParleySQLite
internal import ParleySagas

/// The sagas of a SQLite file, of both styles.
public struct SQLiteSagaInspector: SagaInspector {
    private let parts: [any SagaInspector]

    public init(_ backend: SQLiteBackend, logger: Logger) {
        self.parts = [
            OrchestratedSagaInspector(store: backend.sagas, transactions: backend, logger: logger),
            ChoreographySagaInspector(
                store: backend.choreographies,
                outbox: backend.outbox,
                transactions: backend
            ),
        ]
    }

    public func sagas(matching query: SagaListQuery) async throws -> [SagaSummary] {
        var all: [SagaSummary] = []
        for part in self.parts { all += try await part.sagas(matching: query) }
        return Array(all.sorted(by: SagaSummary.comesFirst).prefix(query.limit))
    }

    public func saga(_ name: String) async throws -> SagaReport {
        try await self.first { try await $0.saga(name) }
    }

    public func intervene(
        _ intervention: SagaIntervention,
        on name: String,
        by person: String,
        because reason: String,
        isDryRun: Bool
    ) async throws -> SagaInterventionReport {
        try await self.first {
            try await $0.intervene(intervention, on: name, by: person, because: reason, isDryRun: isDryRun)
        }
    }

    /// The answer of the style that knows the saga.
    private func first<Value>(_ ask: (any SagaInspector) async throws -> Value) async throws -> Value {
        var unknown: SagaError?
        for part in self.parts {
            do {
                return try await ask(part)
            } catch let error as SagaError where error.code == .unknownSaga {
                unknown = error
            }
        }
        throw unknown ?? SagaError(.unknownSaga, "there is no such saga")
    }
}
