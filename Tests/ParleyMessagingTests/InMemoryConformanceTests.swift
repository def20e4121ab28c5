import ParleyCore
import ParleyMessaging
import ParleyTestKit
import Testing

@Suite("The in-memory bus conforms", .timeLimit(.minutes(1)))
struct InMemoryConformanceTests {
    @Test(arguments: TransportConformance.cases(for: InMemoryTransport().capabilities))
    func transport(_ testCase: TransportConformance.Case) async throws {
        try await testCase.run(ConformanceFixture { .init(port: InMemoryTransport(time: $0)) })
    }

    @Test(arguments: OutboxConformance.cases())
    func outbox(_ testCase: OutboxConformance.Case) async throws {
        try await testCase.run(
            ConformanceFixture { time in
                let backend = InMemoryBackend(time: time)
                return .init(port: backend.outbox, transactions: backend)
            }
        )
    }

    @Test(arguments: InboxConformance.cases())
    func inbox(_ testCase: InboxConformance.Case) async throws {
        try await testCase.run(
            ConformanceFixture { time in
                let backend = InMemoryBackend(time: time)
                return .init(port: backend.inbox, transactions: backend)
            }
        )
    }
}
