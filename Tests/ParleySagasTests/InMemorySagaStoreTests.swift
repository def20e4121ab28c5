import ParleyCore
import ParleyMessaging
import ParleySagas
import ParleyTestKit
import Testing

@Suite("The in-memory saga store conforms", .timeLimit(.minutes(1)))
struct InMemorySagaStoreTests {
    @Test(arguments: SagaStoreConformance.cases())
    func conforms(_ testCase: SagaStoreConformance.Case) async throws {
        try await testCase.run(
            ConformanceFixture { time in
                .init(port: InMemorySagaStore(time: time), transactions: InMemoryBackend(time: time))
            }
        )
    }
}

@Suite("The in-memory choreography store conforms", .timeLimit(.minutes(1)))
struct InMemoryChoreographyStoreTests {
    @Test(arguments: ChoreographyStoreConformance.cases())
    func conforms(_ testCase: ChoreographyStoreConformance.Case) async throws {
        try await testCase.run(
            ConformanceFixture { time in
                .init(port: InMemoryChoreographyStore(), transactions: InMemoryBackend(time: time))
            }
        )
    }
}
