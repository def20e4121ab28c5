import Foundation
import Logging
import ParleyCore
import ParleyMessaging
import ParleySQLite
import ProcessTestSupport
import Testing

/// Real second processes: this test program starts itself again with only ``ChildRole`` to do.
@Suite(.timeLimit(.minutes(2))) struct ProcessTests {
    @Test(arguments: 0..<5)
    func killedDuringCommitsNothingAcknowledgedIsLost(_ round: Int) async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.migrate("acked", ["CREATE TABLE acked (n INTEGER PRIMARY KEY)"])
        let child = try startChild("commit", folder)
        // At some moment in the midst of it; the parent writes to the same file all the time.
        let kill = 200 + round * 150
        var own = 0
        while folder.lines("acks").count < kill {
            try await backend.withTransaction { [own] in
                _ = try $0.execute("INSERT INTO acked VALUES (?)", [.integer(-1 - own)])
            }
            own += 1
        }
        await child.killNow()
        let acknowledged = Set(folder.lines("acks").compactMap { Int64($0) })
        // The writer goes on at once: the dead one's locks are gone.
        try await backend.withTransaction { _ = try $0.execute("INSERT INTO acked VALUES (1000000000)") }
        let stored = Set(try await backend.read { try $0.query("SELECT n FROM acked").compactMap { $0[0].integer } })
        #expect(acknowledged.count >= kill)
        #expect(acknowledged.subtracting(stored).isEmpty)
        #expect(stored.count { $0 < 0 } == own)
        await backend.close()
        #expect(try await run("sqlite3", [folder.database, "PRAGMA integrity_check"]) == "ok\n")
    }

    @Test func aKilledConsumersMessagesComeAgain() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.fill("g", count: 3, lease: .milliseconds(300))
        let child = try startChild("consume", folder)
        try await folder.waitForLines(2, in: "acks")
        await child.killNow()
        try await backend.transport.withSubscription(to: "g", prefetch: 3) { deliveries in
            var attempts: [Int] = []
            for try await delivery in deliveries {
                attempts.append(delivery.attempt)
                try await backend.transport.settle(delivery.id, .ack)
                if attempts.count == 3 { break }
            }
            #expect(attempts.allSatisfy { $0 == 2 })
        }
        await backend.close()
    }

    @Test func writersOfTwoProcessesTakeTurns() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.migrate("acked", ["CREATE TABLE acked (n INTEGER PRIMARY KEY)"])
        let child = try startChild("commit", folder)
        defer { child.signal(SIGKILL) }
        try await folder.waitForLines(1, in: "acks")
        // The other one never stops writing. Alone with SQLite's lock, this one would wait for 100 ms and more at
        // times.
        var waits: [Duration] = []
        let clock = ContinuousClock()
        for number in 0..<200 {
            waits.append(
                try await clock.measure {
                    try await backend.withTransaction {
                        _ = try $0.execute("INSERT INTO acked VALUES (?)", [.integer(-number - 1)])
                    }
                }
            )
        }
        waits.sort()
        #expect(waits[100] < .milliseconds(50))
        await backend.close()
    }

    @Test func onlyTheLivingCountAsOtherProcesses() async throws {
        let folder = try Folder()
        var hasResetBug = false
        func warnings() async throws -> Int {
            let warnings = Warnings()
            let backend = try await folder.backend(logger: Logger(label: "test") { _ in warnings })
            try await backend.transport.declare(ConsumerGroup("g", bindings: ["#"]))
            let version = try await backend.read { try $0.query("SELECT sqlite_version()")[0][0].text ?? "" }
            hasResetBug = version.compare("3.51.3", options: .numeric) == .orderedAscending
            await backend.close()
            return warnings.count { $0.contains("Several processes use the file") }
        }
        #expect(try await warnings() == 0)
        let child = try startChild("echo", folder)
        try await folder.waitForLines(1, in: "acks")
        // The warning is for versions of SQLite that have the bug.
        #expect(try await warnings() == (hasResetBug ? 1 : 0))
        await child.killNow()
        #expect(try await warnings() == 0)
    }

    @Test func theDoorbellReachesAnotherProcess() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        let child = try startChild("echo", folder)
        defer { child.signal(SIGKILL) }
        try await folder.waitForLines(1, in: "acks")
        var waits: [Duration] = []
        let clock = ContinuousClock()
        for number in 1...20 {
            waits.append(
                try await clock.measure {
                    try await backend.transport.publish([message(data: "\(number)")])
                    try await folder.waitForLines(number + 1, in: "acks")
                }
            )
        }
        waits.sort()
        // Half the poll would be 500 ms.
        #expect(waits[10] < .milliseconds(250))
        await backend.close()
    }
}

extension Folder {
    /// The complete lines of a file.
    func lines(_ name: String) -> [Substring] {
        let text = (try? String(contentsOfFile: self.file(name), encoding: .utf8)) ?? ""
        return text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
    }

    /// Looks every 2 ms; the time limit of the suite ends a wait in vain.
    func waitForLines(_ count: Int, in name: String) async throws {
        while self.lines(name).count < count { try await ContinuousClock().sleep(for: .milliseconds(2)) }
    }
}

/// A process that runs one ``ChildRole`` until it is killed.
private func startChild(_ role: String, _ folder: Folder) throws -> RunningProcess {
    try RunningProcess(
        "/proc/self/exe",
        ["--testing-library", "swift-testing", "--filter", "ChildRole"],
        ["PARLEY_SQLITE_CHILD": role, "PARLEY_SQLITE_FOLDER": folder.path]
    )
}

@Suite(.enabled(if: ProcessInfo.processInfo.environment["PARLEY_SQLITE_CHILD"] != nil))
struct ChildRole {
    @Test func play() async throws {
        let environment = ProcessInfo.processInfo.environment
        let folder = environment["PARLEY_SQLITE_FOLDER"] ?? ""
        let backend = try await SQLiteBackend(path: folder + "/test.db", logger: Logger(label: "child"))
        let acks = open(folder + "/acks", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        @Sendable func acknowledge(_ text: String) {
            let line = Array((text + "\n").utf8)
            _ = write(acks, line, line.count)
        }
        switch environment["PARLEY_SQLITE_CHILD"] {
        case "commit":
            try await withThrowingTaskGroup(of: Void.self) { group in
                for task in 0..<8 {
                    group.addTask {
                        for number in 0..<10_000_000 {
                            let value = task * 10_000_000 + number
                            try await backend.withTransaction {
                                _ = try $0.execute("INSERT INTO acked VALUES (?)", [.integer(value)])
                            }
                            acknowledge("\(value)")
                        }
                    }
                }
                try await group.waitForAll()
            }
        case "consume":
            try await backend.transport.withSubscription(to: "g", prefetch: 3) { deliveries in
                for try await delivery in deliveries { acknowledge("\(delivery.id.sequence)") }
            }
        case "echo":
            acknowledge("ready")
            try await backend.transport.withSubscription(to: "g", prefetch: 3) { deliveries in
                for try await delivery in deliveries {
                    acknowledge("\(delivery.id.sequence)")
                    try await backend.transport.settle(delivery.id, .ack)
                }
            }
        default: break
        }
    }
}
