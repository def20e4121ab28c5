import ParleyCore
import ParleySagas
import Testing

@testable import ParleySQLite

@Suite(.timeLimit(.minutes(1)))
struct ChoreographySchemaTests {
    /// A file of the release before, which knew no choreographies, gets their tables and keeps what it has.
    @Test func aFileWithoutTheTablesGetsThem() async throws {
        let folder = try Folder()
        let first = try await folder.backend()
        try await first.migrate("own", ["CREATE TABLE own (a INTEGER)", "INSERT INTO own VALUES (7)"])
        await first.close()
        let old = Set(
            SchemaVersion1.statements.compactMap { $0.split(separator: " ").dropFirst(2).first.map(String.init) }
        )
        let all = try await run("sqlite3", [folder.database, "SELECT name FROM sqlite_master WHERE type = 'table'"])
        for table in all.split(separator: "\n").map(String.init)
        where table.hasPrefix("parley_") && !old.contains(table) {
            try await run("sqlite3", [folder.database, "DROP TABLE \(table)"])
        }
        #expect(old.contains("parley_saga") && !old.contains("parley_choreography"))
        try await run("sqlite3", [folder.database, "PRAGMA user_version = 1"])
        let second = try await folder.backend()
        #expect(try await second.choreographies.instances(matching: ChoreographyQuery()) == [])
        #expect(try await second.read { try $0.query("SELECT a FROM own") } == [[.integer(7)]])
        await second.close()
    }

    /// A row that a hand has spoilt is named, and does not end the process.
    @Test func aSpoiltRowIsNamed() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        let instance = ChoreographyInstance(
            id: "i1",
            type: "flow",
            businessKey: "k",
            definition: "f",
            createdAt: Timestamp(microseconds: 1),
            updatedAt: Timestamp(microseconds: 1)
        )
        try await backend.withTransaction {
            try backend.choreographies.write(ChoreographyChange(instance: instance, definition: "{}"), in: $0)
            try $0.execute("UPDATE parley_choreography SET status = 'odd'")
        }
        let error = await #expect(throws: SagaError.self) {
            _ = try await backend.choreographies.instances(matching: ChoreographyQuery())
        }
        #expect(error?.code == .corrupt && error?.message.contains("flow i1") == true, "\(error?.message ?? "")")
        await backend.close()
    }
}
