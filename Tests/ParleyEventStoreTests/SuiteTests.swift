import ParleyCore
import ParleyEventStore
import ParleyTestKit
import Testing

/// The suite finds stores that do not keep their promises.
@Suite(.timeLimit(.minutes(1))) struct SuiteTests {
    enum Fault: CaseIterable {
        case ignoresVersions, forgetsIDs, repeatsWithNewPositions, takesOverlaps, losesMetadata, cutsData, hasGaps
        case losesTheLastOfAPage, startsAtZero, hasNoLimits, deniesRepetitions
    }

    private struct Broken: EventStore {
        let store = InMemoryEventStore()
        let fault: Fault

        var limits: EventStoreLimits { self.store.limits }

        func append(
            _ events: [EventData],
            to stream: StreamName,
            expecting expected: ExpectedVersion
        ) async throws -> AppendResult {
            var events = events
            var expected = expected
            switch self.fault {
            case .ignoresVersions: expected = .any
            case .forgetsIDs:
                for index in events.indices { events[index].id = UUIDv7Generator.shared.next().description }
            case .losesMetadata: for index in events.indices { events[index].metadata = [:] }
            case .cutsData: for index in events.indices { events[index].data = events[index].data.filter { $0 != 0 } }
            case .hasGaps:
                let other = [EventData(type: "gap", data: [])]
                if let gap = StreamName("gap") { _ = try await self.store.append(other, to: gap, expecting: .any) }
            case .hasNoLimits where !events.isEmpty:
                events = events.map { EventData(id: $0.id, type: "t", data: Array($0.data.prefix(9))) }
            case .takesOverlaps:
                do {
                    return try await self.store.append(events, to: stream, expecting: expected)
                } catch let error as EventStoreError where error.code == .partialOverlap {
                    return AppendResult(firstVersion: 1, positions: [], isRepetition: true)
                }
            default: break
            }
            var result = try await self.store.append(events, to: stream, expecting: expected)
            if self.fault == .repeatsWithNewPositions, result.isRepetition {
                result.positions = result.positions.map { GlobalPosition($0.number + 1) }
            }
            if self.fault == .deniesRepetitions { result.isRepetition = false }
            return result
        }

        func read(_ stream: StreamName, from version: Int64, limit: Int) async throws -> [RecordedEvent] {
            let events = try await self.store.read(stream, from: version, limit: limit)
            return self.fault == .losesTheLastOfAPage && events.count > 1 ? events.dropLast() : events
        }

        func readAll(after position: GlobalPosition, limit: Int) async throws -> [RecordedEvent] {
            var events = try await self.store.readAll(after: position, limit: limit)
            if self.fault == .losesTheLastOfAPage, events.count > 1 { events.remove(at: events.count - 2) }
            return events
        }

        func version(of stream: StreamName) async throws -> Int64 {
            try await self.store.version(of: stream) - (self.fault == .startsAtZero ? 1 : 0)
        }

        func head() async throws -> GlobalPosition { try await self.store.head() }
        func waitForEvents(after position: GlobalPosition, until instant: ContinuousClock.Instant?) async throws {
            try await self.store.waitForEvents(after: position, until: instant)
        }
    }

    @Test(arguments: Fault.allCases) func aFaultIsFound(_ fault: Fault) async throws {
        // A subscriber would wait for ever for what a broken store has lost.
        let cases = EventStoreConformance.cases().filter {
            !["subscri", "wait"].contains(where: $0.name.contains)
        }
        var failures: [String] = []
        for testCase in cases {
            do {
                try await testCase.run(ConformanceFixture { _ in .init(port: Broken(fault: fault)) })
            } catch is ConformanceFailure {
                failures.append(testCase.name)
            } catch is EventStoreError {
                failures.append(testCase.name)
            }
        }
        #expect(!failures.isEmpty)
        #expect(failures.count < cases.count)
    }
}
