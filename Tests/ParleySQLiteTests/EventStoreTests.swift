import ParleyCore
import ParleyEventStore
import Testing

@testable import ParleySQLite

/// What the event store of SQLite promises beside the port: events and business rows in one transaction.
@Suite("SQLite's event store", .timeLimit(.minutes(1)))
struct EventStoreTests {
    private struct Oops: Error {}

    private static func events(_ count: Int) -> [EventData] {
        (0..<count).map { EventData(type: "t", data: [UInt8(truncatingIfNeeded: $0)]) }
    }

    private static func withBackend(_ body: (SQLiteBackend, StreamName) async throws -> Void) async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.migrate("rows-1", ["CREATE TABLE rows (id INTEGER PRIMARY KEY, position INTEGER)"])
        try await body(backend, try #require(StreamName("order-1")))
        await backend.close()
    }

    @Test func eventsAndRowsCommitTogether() async throws {
        try await Self.withBackend { backend, stream in
            let events = Self.events(2)
            let result = try await backend.withTransaction { transaction in
                let result = try backend.events.append(events, to: stream, expecting: .noStream, in: transaction)
                try transaction.execute(
                    "INSERT INTO rows (position) VALUES (?)",
                    [.integer(result.positions[1].number)]
                )
                return result
            }
            #expect(result.positions.map(\.number) == [1, 2])
            #expect(try await backend.scalar("SELECT position FROM rows") == 2)
            #expect(try await backend.events.read(stream, from: 1, limit: 10).map(\.id) == events.map(\.id))
        }
    }

    @Test func aTransactionThatFailsLeavesNothingAndNoGap() async throws {
        try await Self.withBackend { backend, stream in
            // Those that fail share commits with those that do not.
            await withTaskGroup(of: Void.self) { group in
                for number in 0..<60 {
                    group.addTask {
                        try? await backend.withTransaction { transaction in
                            try transaction.execute("INSERT INTO rows (position) VALUES (0)")
                            _ = try backend.events.append(Self.events(2), to: stream, expecting: .any, in: transaction)
                            if number % 3 == 0 { throw Oops() }
                        }
                    }
                }
            }
            let positions = try await backend.events.readAll(after: .start, limit: 1_000).map(\.position.number)
            #expect(positions == Array(1...80))
            #expect(try await backend.scalar("SELECT count(*) FROM rows") == 40)
        }
    }

    @Test func aRefusalLeavesTheTransactionUsable() async throws {
        try await Self.withBackend { backend, stream in
            _ = try await backend.events.append(Self.events(1), to: stream, expecting: .noStream)
            try await backend.withTransaction { transaction in
                let error = #expect(throws: EventStoreError.self) {
                    _ = try backend.events.append(Self.events(1), to: stream, expecting: .noStream, in: transaction)
                }
                #expect(error?.code == .wrongVersion)
                try transaction.execute("INSERT INTO rows (position) VALUES (7)")
            }
            #expect(try await backend.scalar("SELECT position FROM rows") == 7)
            #expect(try await backend.events.head().number == 1)
        }
    }

    @Test func aTransactionSeesWhatItHasAppended() async throws {
        try await Self.withBackend { backend, stream in
            let events = Self.events(2)
            try await backend.withTransaction { transaction in
                let first = try backend.events.append(events, to: stream, expecting: .noStream, in: transaction)
                let again = try backend.events.append(events, to: stream, expecting: .noStream, in: transaction)
                #expect(again.positions == first.positions)
                #expect(again.isRepetition)
                let more = try backend.events.append(
                    Self.events(1),
                    to: stream,
                    expecting: .exactly(2),
                    in: transaction
                )
                #expect(more.positions == [GlobalPosition(3)])
            }
        }
    }

    @Test func positionsOfDeletedEventsAreNotUsedAgain() async throws {
        try await Self.withBackend { backend, stream in
            _ = try await backend.events.append(Self.events(3), to: stream, expecting: .noStream)
            try await backend.withTransaction { _ = try $0.execute("DELETE FROM parley_event WHERE position = 3") }
            let next = try await backend.events.append(Self.events(1), to: stream, expecting: .exactly(2))
            #expect(next.positions == [GlobalPosition(4)])
        }
    }

    @Test func aRowThatCannotBeReadIsNamed() async throws {
        try await Self.withBackend { backend, stream in
            _ = try await backend.events.append(Self.events(1), to: stream, expecting: .noStream)
            try await backend.withTransaction { _ = try $0.execute("UPDATE parley_event SET metadata = '['") }
            let error = try await #require(throws: EventStoreError.self) {
                _ = try await backend.events.readAll(after: .start, limit: 1)
            }
            #expect(error.code == .corrupt)
            #expect(error.message.contains("row 1"))
        }
    }

    @Test func aClosedBackendSaysSo() async throws {
        let backend = try await Folder().backend()
        await backend.close()
        let stream = try #require(StreamName("s"))
        let writing = try await #require(throws: EventStoreError.self) {
            _ = try await backend.events.append(Self.events(1), to: stream, expecting: .any)
        }
        let waiting = try await #require(throws: EventStoreError.self) {
            try await backend.events.waitForEvents(after: .start, until: nil)
        }
        #expect([writing.code, waiting.code] == [.closed, .closed])
    }

    @Test func aFileOfTheVersionBeforeIsBroughtUp() async throws {
        let folder = try Folder()
        let version = try #require(Schema.migrations.firstIndex(of: EventSchema.statements))
        let pragmas = ["PRAGMA application_id = \(DatabaseOpening.applicationID)", "PRAGMA user_version = \(version)"]
        let statements = Schema.migrations[..<version].flatMap { $0 } + pragmas
        try await run("sqlite3", [folder.database, statements.joined(separator: ";\n")])
        let backend = try await folder.backend()
        let stream = try #require(StreamName("s"))
        #expect(try await backend.events.append(Self.events(1), to: stream, expecting: .any).lastVersion == 1)
        await backend.close()
    }
}
