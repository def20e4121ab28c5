import Foundation
import Logging
import ParleyCore
import ParleySQLite
import Testing

@Suite struct OpeningTests {
    @Test func createsTheFileAndItsFolders() async throws {
        let folder = try Folder()
        let path = folder.file("a/b/c.db")
        let backend = try await SQLiteBackend(path: path, logger: Logger(label: "test"))
        #expect(backend.path.hasSuffix("a/b/c.db"))
        await backend.close()
        #expect(FileManager.default.fileExists(atPath: path))
    }

    @Test func opensAgainWithEverythingInIt() async throws {
        let folder = try Folder()
        let first = try await folder.backend()
        try await first.migrate("one", ["CREATE TABLE note (text TEXT)"])
        try await first.withTransaction { _ = try $0.execute("INSERT INTO note VALUES ('kept')") }
        await first.close()
        let second = try await folder.backend()
        let rows = try await second.read { try $0.query("SELECT text FROM note") }
        #expect(rows == [[.text("kept")]])
        await second.close()
    }

    @Test func journalAndSyncAreWhatTheConfigurationSays() async throws {
        let folder = try Folder()
        let full = try await folder.backend()
        let values = try await full.withTransaction { tx in
            try ["journal_mode", "synchronous", "wal_autocheckpoint", "foreign_keys"].map {
                try tx.query("PRAGMA \($0)").first?.first
            }
        }
        #expect(values == [.text("wal"), .integer(2), .integer(0), .integer(1)])
        await full.close()
        let relaxed = try await folder.backend { $0.durability = .relaxed }
        let level = try await relaxed.withTransaction { try $0.query("PRAGMA synchronous").first?.first }
        #expect(level == .integer(1))
        await relaxed.close()
    }

    @Test(arguments: ["hello", String(repeating: "not a database, but long enough to have a header. ", count: 100)])
    func refusesWhatIsNoDatabase(_ content: String) async throws {
        let folder = try Folder()
        let before = Data(content.utf8)
        try before.write(to: URL(fileURLWithPath: folder.database))
        let error = await sqliteError { _ = try await folder.backend() }
        #expect(error?.code == .notADatabase)
        #expect(error?.path.hasSuffix("test.db") == true)
        #expect(error?.retry == .permanent)
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.database)) == before)
        #expect(try FileManager.default.contentsOfDirectory(atPath: folder.path) == ["test.db"])
    }

    @Test func refusesATruncatedFile() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.migrate("one", ["CREATE TABLE note (text TEXT)"])
        try await backend.withTransaction { tx in
            for _ in 0..<500 {
                try tx.execute("INSERT INTO note VALUES (?)", [.text(String(repeating: "x", count: 900))])
            }
        }
        await backend.close()
        let whole = try Data(contentsOf: URL(fileURLWithPath: folder.database))
        let half = whole.prefix(whole.count / 2)
        try half.write(to: URL(fileURLWithPath: folder.database))
        let error = await sqliteError { _ = try await folder.backend() }
        #expect(error?.code == .corrupt)
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.database)) == half)
    }

    @Test(arguments: ["CREATE TABLE theirs (a)", "PRAGMA application_id = 42"])
    func refusesAnotherProgramsFile(_ sql: String) async throws {
        let folder = try Folder()
        try await run("sqlite3", [folder.database, sql + "; VACUUM"])
        let before = try Data(contentsOf: URL(fileURLWithPath: folder.database))
        let error = await sqliteError { _ = try await folder.backend() }
        #expect(error?.code == .foreignDatabase)
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.database)) == before)
    }

    @Test func refusesANewerSchema() async throws {
        let folder = try Folder()
        await (try await folder.backend()).close()
        try await run("sqlite3", [folder.database, "PRAGMA user_version = 999"])
        let before = try Data(contentsOf: URL(fileURLWithPath: folder.database))
        let error = await sqliteError { _ = try await folder.backend() }
        #expect(error?.code == .newerSchema)
        #expect(try Data(contentsOf: URL(fileURLWithPath: folder.database)) == before)
    }

    @Test func refusesPathsThatAreNoFiles() async throws {
        let folder = try Folder()
        for path in ["", ":memory:", "file:x.db", folder.path, folder.path + "/", "/dev/null"] {
            let error = await sqliteError { _ = try await SQLiteBackend(path: path, logger: Logger(label: "test")) }
            #expect(error?.code == .invalidPath, "\(path)")
        }
    }

    @Test func refusesFoldersThatCannotBeMadeOrWritten() async throws {
        let folder = try Folder()
        try Data("a file".utf8).write(to: URL(fileURLWithPath: folder.file("file")))
        // /proc refuses new files to root as well, and tests may run as root.
        for path in ["/proc/parley/x.db", "/proc/x.db", folder.file("file/x.db")] {
            let error = await sqliteError { _ = try await SQLiteBackend(path: path, logger: Logger(label: "test")) }
            #expect(error?.code == .cannotOpen, "\(path): \(String(describing: error))")
        }
    }

    @Test func manyOpenANewFileAtOnce() async throws {
        let folder = try Folder()
        let backends = try await withThrowingTaskGroup(of: SQLiteBackend.self) { group in
            for _ in 0..<8 { group.addTask { try await folder.backend() } }
            return try await group.reduce(into: []) { $0.append($1) }
        }
        for (index, backend) in backends.enumerated() {
            try await backend.migrate("shared", ["CREATE TABLE shared (n INTEGER)"])
            try await backend.withTransaction { _ = try $0.execute("INSERT INTO shared VALUES (?)", [.integer(index)]) }
        }
        #expect(try await backends[0].scalar("SELECT count(*) FROM shared") == 8)
        for backend in backends { await backend.close() }
    }

    @Test func migrationsRunOnceAndKeepTheirText() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        #expect(try await backend.migrate("one", ["CREATE TABLE a (x)", "CREATE TABLE b (y)"]))
        #expect(try await !backend.migrate("one", ["CREATE TABLE a (x)", "CREATE TABLE b (y)"]))
        let changed = await sqliteError { try await backend.migrate("one", ["CREATE TABLE a (x, z)"]) }
        #expect(changed?.code == .changedMigration)
        // Half of one is none of it.
        let broken = await sqliteError {
            try await backend.migrate("two", ["CREATE TABLE c (x)", "CREATE TABLE a (x)"])
        }
        #expect(broken?.code == .statement)
        #expect(try await backend.scalar("SELECT count(*) FROM sqlite_master WHERE name = 'c'") == 0)
        await backend.close()
    }

    @Test func aClosedBackendSaysSo() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        await backend.close()
        await backend.close()
        #expect(await sqliteError { try await backend.withTransaction { _ in } }?.code == .closed)
        #expect(await sqliteError { try await backend.read { _ in } }?.code == .closed)
    }
}
