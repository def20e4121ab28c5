import ParleyCore
import ParleyEventStore
import Testing

/// Stores that do what they must not, and ones that fail for a while.
@Suite(.timeLimit(.minutes(1))) struct SubscriptionTests {
    private struct Scripted: EventStore {
        let page: @Sendable (GlobalPosition) throws -> [RecordedEvent]

        var limits: EventStoreLimits { EventStoreLimits() }
        func append(_: [EventData], to: StreamName, expecting: ExpectedVersion) async throws -> AppendResult {
            throw EventStoreError(.unsupported, "scripted")
        }
        func read(_: StreamName, from: Int64, limit: Int) async throws -> [RecordedEvent] { [] }
        func readAll(after position: GlobalPosition, limit: Int) async throws -> [RecordedEvent] {
            try self.page(position)
        }
        func version(of: StreamName) async throws -> Int64 { 0 }
        func head() async throws -> GlobalPosition { .start }
        func waitForEvents(after: GlobalPosition, until: ContinuousClock.Instant?) async throws {}
    }

    private static func event(_ position: Int64) throws -> RecordedEvent {
        RecordedEvent(
            stream: try #require(StreamName("s")),
            version: position,
            position: GlobalPosition(position),
            recordedAt: Timestamp(microseconds: 0),
            id: "\(position)",
            type: "t",
            data: [],
            metadata: [:]
        )
    }

    @Test func anOrderThatIsDamagedIsAnError() async throws {
        let wrong = [try Self.event(2), try Self.event(1)]
        var iterator = Scripted { _ in wrong }.subscribe(after: .start).makeAsyncIterator()
        #expect(try await iterator.next()?.position.number == 2)
        let error = try await #require(throws: EventStoreError.self) { _ = try await iterator.next() }
        #expect(error.code == .corrupt)
    }

    @Test func aFailureDoesNotLoseThePlace() async throws {
        let events = [try Self.event(1), try Self.event(2)]
        let store = Scripted { position in
            if position.number == 1 { throw EventStoreError(.unavailable, "away") }
            return position.number == 0 ? [events[0]] : []
        }
        var iterator = store.subscribe(after: .start).makeAsyncIterator()
        #expect(try await iterator.next()?.position.number == 1)
        for _ in 0..<2 {
            let error = try await #require(throws: EventStoreError.self) { _ = try await iterator.next() }
            #expect(error.code == .unavailable)
            #expect(iterator.position.number == 1)
        }
    }

    @Test func theTextsOfExpectedVersions() {
        #expect(ExpectedVersion.exactly(0) == .noStream)
        let texts = [ExpectedVersion.any, .exists, .noStream, .exactly(7)].map(\.description)
        #expect(texts == ["any", "exists", "noStream", "7"])
    }
}
