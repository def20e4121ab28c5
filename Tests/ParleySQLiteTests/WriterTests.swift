import Foundation
import ParleyCore
import ParleySQLite
import ProcessTestSupport
import Synchronization
import Testing

@Suite struct WriterTests {
    struct Refused: Error {}

    private func counting(
        _ folder: Folder,
        _ configure: (inout SQLiteConfiguration) -> Void = { _ in }
    ) async throws
        -> SQLiteBackend
    {
        let backend = try await folder.backend(configure)
        try await backend.migrate("count", ["CREATE TABLE count (n INTEGER PRIMARY KEY, text TEXT) STRICT"])
        return backend
    }

    @Test func oneThatThrowsTakesBackOnlyItsOwnWork() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        let refused = await withTaskGroup(of: Bool.self) { group in
            for number in 0..<300 {
                group.addTask {
                    do {
                        try await backend.withTransaction { tx in
                            try tx.execute("INSERT INTO count (n) VALUES (?)", [.integer(number)])
                            if number % 3 == 0 { throw Refused() }
                        }
                        return false
                    } catch {
                        return error is Refused
                    }
                }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        #expect(refused == 100)
        #expect(try await backend.scalar("SELECT count(*) FROM count WHERE n % 3 <> 0") == 200)
        #expect(try await backend.scalar("SELECT count(*) FROM count") == 200)
        await backend.close()
    }

    @Test func aConstraintErrorInsideAGroupIsTheCallersOwn() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        let failures = await withTaskGroup(of: SQLiteError.Code?.self) { group in
            for _ in 0..<64 {
                group.addTask {
                    await sqliteError {
                        try await backend.withTransaction { _ = try $0.execute("INSERT INTO count (n) VALUES (1)") }
                    }?.code
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        #expect(failures.count { $0 == .constraint } == 63)
        #expect(failures.count { $0 == nil } == 1)
        await backend.close()
    }

    @Test func aTransactionIsOverWithItsScope() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        let kept = Kept()
        try await backend.withTransaction { tx in kept.keep(tx) }
        let error = await sqliteError { try kept.use() }
        #expect(error?.code == .transactionOver)
        await backend.close()
    }

    @Test(arguments: ["COMMIT", " rollback", "BEGIN IMMEDIATE", "savepoint a", "END", "RELEASE a"])
    func transactionControlIsRefused(_ sql: String) async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        let error = await sqliteError {
            try await backend.withTransaction { tx in
                try tx.execute("INSERT INTO count (n) VALUES (1)")
                try tx.execute(sql)
            }
        }
        #expect(error?.code == .statement)
        #expect(try await backend.scalar("SELECT count(*) FROM count") == 0)
        await backend.close()
    }

    @Test func aHiddenCommitIsFoundOutAndTheWriterGoesOn() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        let error = await sqliteError {
            try await backend.withTransaction { _ = try $0.execute("/* sly */ COMMIT") }
        }
        #expect(error?.code == .statement)
        try await backend.withTransaction { _ = try $0.execute("INSERT INTO count (n) VALUES (1)") }
        #expect(try await backend.scalar("SELECT count(*) FROM count") == 1)
        await backend.close()
    }

    @Test func wrongStatementsAreErrors() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        for (sql, arguments) in [
            ("SELEKT 1", []), ("SELECT ?", []), ("SELECT 1", [SQLValue.integer(1)]), ("SELECT 1; SELECT 2", []),
            ("", []),
        ] {
            let error = await sqliteError { try await backend.withTransaction { _ = try $0.query(sql, arguments) } }
            #expect(error?.code == .statement, "\(sql)")
        }
        let written = await sqliteError {
            try await backend.read { _ = try $0.execute("INSERT INTO count (n) VALUES (1)") }
        }
        #expect(written?.code == .cannotOpen)
        await backend.close()
    }

    @Test func valuesComeBackAsTheyWent() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.migrate("any", ["CREATE TABLE any_value (id INTEGER PRIMARY KEY, value ANY) STRICT"])
        let values: [SQLValue] = [
            .null, .integer(.min), .integer(.max), .real(1.5), .text(""), .text("ü\u{0}x 🦜"), .blob([]),
            .blob([0, 1, 255]), .blob([UInt8](repeating: 7, count: 300_000)),
        ]
        let read = try await backend.withTransaction { tx in
            for value in values { try tx.execute("INSERT INTO any_value (value) VALUES (?)", [value]) }
            return try tx.query("SELECT value FROM any_value ORDER BY id").map { $0[0] }
        }
        #expect(read == values)
        await backend.close()
    }

    @Test func executeSaysHowManyRowsItChanged() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        let changes = try await backend.withTransaction { tx in
            [
                try tx.execute("INSERT INTO count (n) VALUES (1), (2), (3)"),
                try tx.execute("CREATE TABLE other (a)"),
                try tx.execute("UPDATE count SET text = 'a' WHERE n > 1"),
                try tx.execute("UPDATE count SET text = 'a' WHERE n > 5"),
                try tx.execute("INSERT INTO count (n) VALUES (1) ON CONFLICT DO NOTHING"),
                try tx.execute("DELETE FROM count"),
            ]
        }
        #expect(changes == [3, 0, 2, 0, 0, 3])
        await backend.close()
    }

    @Test func overTheLimitWritesAreRefusedAndTheOthersDone() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder) { $0.maximumQueuedWrites = 4 }
        let gate = Gate()
        let outcomes = await withTaskGroup(of: SQLiteError?.self) { group in
            group.addTask {
                await sqliteError { try await backend.withTransaction { _ in gate.waitUntilOpen() } }
            }
            await gate.untilSomebodyWaits()
            for number in 0..<20 {
                group.addTask {
                    await sqliteError {
                        try await backend.withTransaction {
                            _ = try $0.execute("INSERT INTO count (n) VALUES (?)", [.integer(number)])
                        }
                    }
                }
            }
            // The refusals come at once; the four that wait come after the gate has opened.
            var outcomes: [SQLiteError?] = []
            while outcomes.count < 16, let outcome = await group.next() { outcomes.append(outcome) }
            gate.open()
            for await outcome in group { outcomes.append(outcome) }
            return outcomes
        }
        let refused = outcomes.compactMap { $0 }
        #expect(refused.count == 16)
        #expect(refused.allSatisfy { $0.code == .overloaded && $0.retry == .notSent })
        #expect(try await backend.scalar("SELECT count(*) FROM count") == 4)
        await backend.close()
    }

    @Test func cancellingACallerDoesNotLoseTheOutcome() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        let gate = Gate()
        let value = try await withThrowingTaskGroup(of: Int.self) { group in
            group.addTask {
                try await backend.withTransaction { tx in
                    gate.waitUntilOpen()
                    try tx.execute("INSERT INTO count (n) VALUES (1)")
                    return 7
                }
            }
            await gate.untilSomebodyWaits()
            group.cancelAll()
            gate.open()
            return try await group.next()
        }
        #expect(value == 7)
        #expect(try await backend.scalar("SELECT count(*) FROM count") == 1)
        await backend.close()
    }

    @Test func aFullDiskLosesNothingThatWasAcknowledged() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder)
        let pages = try await backend.withTransaction { try $0.query("PRAGMA page_count").first?.first?.integer } ?? 0
        try await backend.withTransaction { _ = try $0.query("PRAGMA max_page_count = \(pages + 20)") }
        let text = String(repeating: "x", count: 2_000)
        let outcomes = await withTaskGroup(of: (Int, SQLiteError?).self) { group in
            for number in 0..<200 {
                group.addTask {
                    let error = await sqliteError {
                        try await backend.withTransaction {
                            _ = try $0.execute("INSERT INTO count VALUES (?, ?)", [.integer(number), .text(text)])
                        }
                    }
                    return (number, error)
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
        let refused = outcomes.compactMap(\.1)
        #expect(!refused.isEmpty && refused.count < 200)
        #expect(refused.allSatisfy { $0.code == .diskFull && $0.retry == .notSent })
        let stored = Set(try await backend.read { try $0.query("SELECT n FROM count").compactMap { $0[0].integer } })
        #expect(stored == Set(outcomes.filter { $0.1 == nil }.map { Int64($0.0) }))
        // Room again: the writer goes on.
        try await backend.withTransaction { _ = try $0.query("PRAGMA max_page_count = 100000") }
        try await backend.withTransaction { _ = try $0.execute("INSERT INTO count VALUES (1000, ?)", [.text(text)]) }
        await backend.close()
    }

    @Test func sixtyFourTasksOnTwoBackends() async throws {
        let folder = try Folder()
        let one = try await self.counting(folder)
        let two = try await self.counting(folder)
        try await one.migrate(
            "sum",
            ["CREATE TABLE sum (id INTEGER PRIMARY KEY, n INTEGER)", "INSERT INTO sum VALUES (1, 0)"]
        )
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<64 {
                group.addTask {
                    for step in 0..<20 {
                        try await (task % 2 == 0 ? one : two).withTransaction { tx in
                            try tx.execute("UPDATE sum SET n = n + 1 WHERE id = 1")
                            try tx.execute("INSERT INTO count (n) VALUES (?)", [.integer(task * 100 + step)])
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await one.scalar("SELECT n FROM sum") == 1_280)
        #expect(try await two.scalar("SELECT count(*) FROM count") == 1_280)
        await one.close()
        await two.close()
    }

    @Test func aForeignWriteLockIsWaitedForAndThenReported() async throws {
        let folder = try Folder()
        let backend = try await self.counting(folder) { $0.busyLimit = .milliseconds(150) }
        // A program that knows nothing of our lock file holds SQLite's own write lock.
        let holder = try await LockHolder(folder.database)
        let error = await sqliteError { try await backend.withTransaction { _ in } }
        #expect(error?.code == .busy && error?.retry == .notSent)
        await holder.release()
        try await backend.withTransaction { _ = try $0.execute("INSERT INTO count (n) VALUES (1)") }
        await backend.close()
    }
}

private final class Kept: @unchecked Sendable {
    private var transaction: (any Transaction)?
    func keep(_ transaction: any Transaction) { self.transaction = transaction }
    func use() throws { _ = try self.transaction?.query("SELECT 1") }
}

/// Holds up the writer's thread until the test says so.
private final class Gate: Sendable {
    private let semaphore = DispatchSemaphore(value: 0)
    private let arrivals = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingOldest(1))

    func waitUntilOpen() {
        self.arrivals.continuation.yield()
        self.semaphore.wait()
    }

    func open() { self.semaphore.signal() }

    func untilSomebodyWaits() async {
        for await _ in self.arrivals.stream { return }
    }
}

/// A sqlite3 shell with an open write transaction.
private struct LockHolder {
    private let process: RunningProcess

    init(_ path: String) async throws {
        self.process = try RunningProcess("sqlite3", ["-batch", path], hasInput: true)
        self.process.write("BEGIN IMMEDIATE; SELECT 'locked';\n")
        guard try await self.process.firstLine() == "locked" else { throw TestSupportError(self.process.error) }
    }

    func release() async {
        self.process.write("ROLLBACK;\n.quit\n")
        _ = await self.process.exit()
    }
}
