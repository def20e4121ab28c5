import ParleyCore
import ParleyEventStore
import ParleyTestKit
import Testing

@Suite("The in-memory event store conforms", .timeLimit(.minutes(1)))
struct InMemoryEventStoreTests {
    @Test(arguments: EventStoreConformance.cases())
    func conforms(_ testCase: EventStoreConformance.Case) async throws {
        try await testCase.run(ConformanceFixture { time in .init(port: InMemoryEventStore(time: time)) })
    }

    /// What one handle shows when another has appended: the store itself, handed out twice.
    @Test(arguments: EventStoreConformance.cases(isDurable: true, isShared: true))
    func sharedByItsUsers(_ testCase: EventStoreConformance.Case) async throws {
        let store = InMemoryEventStore()
        try await testCase.run(ConformanceFixture(followsTime: false) { _ in .init(port: store) })
    }
}
