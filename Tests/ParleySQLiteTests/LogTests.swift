import Foundation
import Logging
import ParleyCore
import ParleySQLite
import Synchronization
import Testing

/// The write-ahead log and the checkpoints.
@Suite(.timeLimit(.minutes(1))) struct LogTests {
    private func size(_ path: String) -> Int {
        (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
    }

    @Test func theLogStaysShortUnderManyWrites() async throws {
        let folder = try Folder()
        let backend = try await folder.backend { $0.checkpointPages = 100 }
        try await backend.migrate("t", ["CREATE TABLE t (text TEXT)"])
        let text = String(repeating: "x", count: 20_000)
        for _ in 0..<400 {
            try await backend.withTransaction { _ = try $0.execute("INSERT INTO t VALUES (?)", [.text(text)]) }
        }
        #expect(self.size(folder.database + "-wal") < 2 << 20)
        await backend.close()
    }

    @Test func aLongReaderDelaysTheCheckpointAndNotTheWriter() async throws {
        let folder = try Folder()
        let warnings = Warnings()
        let backend = try await folder.backend(
            {
                $0.checkpointPages = 50
                $0.logAlarmBytes = 1 << 20
            },
            logger: Logger(label: "test") { _ in warnings }
        )
        try await backend.migrate("t", ["CREATE TABLE t (text TEXT)"])
        let text = String(repeating: "x", count: 20_000)
        let release = DispatchSemaphore(value: 0)
        let reading = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingOldest(1))
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await backend.read { tx in
                    _ = try tx.query("SELECT count(*) FROM t")
                    reading.continuation.yield()
                    release.wait()
                    // Still the state in which it began.
                    #expect(try tx.query("SELECT count(*) FROM t") == [[.integer(0)]])
                }
            }
            for await _ in reading.stream { break }
            for _ in 0..<300 {
                try await backend.withTransaction { _ = try $0.execute("INSERT INTO t VALUES (?)", [.text(text)]) }
            }
            #expect(self.size(folder.database + "-wal") > 4 << 20)
            #expect(warnings.count { $0.contains("write-ahead log is long") } == 1)
            release.signal()
            try await group.waitForAll()
        }
        // With the reader gone, the next checkpoints cut it.
        while self.size(folder.database + "-wal") > 2 << 20 {
            try await backend.withTransaction { _ = try $0.execute("INSERT INTO t VALUES ('small')") }
        }
        await backend.close()
        #expect(try await run("sqlite3", [folder.database, "PRAGMA integrity_check"]) == "ok\n")
    }
}

/// Keeps the warnings.
final class Warnings: LogHandler, Sendable {
    private let messages = Mutex<[String]>([])

    var logLevel: Logger.Level {
        get { .warning }
        set { _ = newValue }
    }

    var metadata: Logger.Metadata {
        get { [:] }
        set { _ = newValue }
    }

    subscript(metadataKey _: String) -> Logger.Metadata.Value? {
        get { nil }
        set { _ = newValue }
    }

    func log(event: LogEvent) { self.messages.withLock { $0.append("\(event.message)") } }

    func count(_ matches: (String) -> Bool) -> Int { self.messages.withLock { $0.count(where: matches) } }
}
