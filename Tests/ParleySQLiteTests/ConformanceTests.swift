import ParleyCore
import ParleyEventStore
import ParleyMessaging
import ParleySQLite
import ParleySagas
import ParleyTestKit
import Testing

/// What every backend must hold, on real files: each fixture is a folder of its own, each handle a backend of its own on
/// the same file, as another process would have it.
@Suite("SQLite conforms", .timeLimit(.minutes(2)))
struct ConformanceTests {
    private static let capabilities = TransportCapabilities(
        isDurable: true,
        isSharedBetweenProcesses: true,
        maximumMessageBytes: 8 * 1_024 * 1_024
    )

    private static func fixture<Port: Sendable>(
        _ port: @escaping @Sendable (SQLiteBackend) -> Port
    ) throws -> ConformanceFixture<Port> {
        let folder = try Folder()
        return ConformanceFixture { time in
            let backend = try await folder.backend(time: time)
            return .init(port: port(backend), transactions: backend) { await backend.close() }
        }
    }

    @Test func `claims to be what it is tested as`() async throws {
        let backend = try await Folder().backend()
        #expect(backend.transport.capabilities == Self.capabilities)
        await backend.close()
    }

    @Test(arguments: TransportConformance.cases(for: Self.capabilities))
    func transport(_ testCase: TransportConformance.Case) async throws {
        try await testCase.run(try Self.fixture { $0.transport })
    }

    @Test(arguments: OutboxConformance.cases(isShared: true))
    func outbox(_ testCase: OutboxConformance.Case) async throws {
        try await testCase.run(try Self.fixture { $0.outbox })
    }

    @Test(arguments: InboxConformance.cases())
    func inbox(_ testCase: InboxConformance.Case) async throws {
        try await testCase.run(try Self.fixture { $0.inbox })
    }

    @Test(arguments: SagaStoreConformance.cases(isShared: true))
    func sagas(_ testCase: SagaStoreConformance.Case) async throws {
        try await testCase.run(try Self.fixture { $0.sagas })
    }

    @Test(arguments: ChoreographyStoreConformance.cases(isShared: true))
    func choreographies(_ testCase: ChoreographyStoreConformance.Case) async throws {
        try await testCase.run(try Self.fixture { $0.choreographies })
    }

    @Test(arguments: EventStoreConformance.cases(isDurable: true, isShared: true))
    func events(_ testCase: EventStoreConformance.Case) async throws {
        try await testCase.run(try Self.fixture { $0.events })
    }
}
