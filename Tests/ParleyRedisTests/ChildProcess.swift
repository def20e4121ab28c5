import Foundation
import Logging
import ParleyCore
import ParleyMessaging
import ParleyRESP
import ParleySQLite
import ProcessTestSupport
import RedisTestSupport
import Testing

@testable import ParleyRedis

/// A process of its own, to be killed: this test program, started again with only ``ChildRole`` to do.
struct ChildProcess {
    let process: RunningProcess
    /// What it has to say, a line each.
    let log: String

    var lines: [String] {
        ((try? String(contentsOfFile: self.log, encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
    }

    func signal(_ number: Int32) { self.process.signal(number) }

    /// It is killed when `body` has ended.
    static func with<Value>(
        _ role: String,
        _ stage: Stage,
        group: String,
        _ arguments: [String] = [],
        _ body: (ChildProcess) async throws -> Value
    ) async throws -> Value {
        let log = NSTemporaryDirectory() + fresh("parley-child-")
        defer { try? FileManager.default.removeItem(atPath: log) }
        let words = [role, "\(stage.server.port)", stage.stream, group, log] + arguments
        let process = try RunningProcess(
            "/proc/self/exe",
            ["--testing-library", "swift-testing", "--filter", "ParleyRedisTests.ChildRole"],
            ["PARLEY_REDIS_CHILD": words.joined(separator: " ")]
        )
        let result: Result<Value, any Error>
        do {
            result = .success(try await body(ChildProcess(process: process, log: log)))
        } catch {
            result = .failure(error)
        }
        await process.killNow()
        return try result.get()
    }
}

@Suite(.enabled(if: ProcessInfo.processInfo.environment["PARLEY_REDIS_CHILD"] != nil)) struct ChildRole {
    @Test func play() async throws {
        let words = ProcessInfo.processInfo.environment["PARLEY_REDIS_CHILD"]?.split(separator: " ").map(String.init)
        guard let words, words.count >= 5, let port = Int(words[1]) else { return }
        let (role, stream, group, place) = (words[0], words[2], words[3], words[4])
        let log = open(place, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        @Sendable func say(_ text: String) {
            let line = Array((text + "\n").utf8)
            _ = write(log, line, line.count)
        }
        let server = RESPConfiguration(endpoint: .host("127.0.0.1", port: port))
        try await RedisBackend.withBackend(
            server,
            stream: StreamConfiguration(stream: stream),
            logger: quiet
        ) { backend in
            let transport = backend.transport
            switch role {
            case "poison":
                _ = try await transport.drain(group, prefetch: 5) { delivery in
                    say(delivery.message.id)
                    if delivery.message.id == "poison" { kill(getpid(), SIGKILL) }
                } until: { _ in
                    false
                }
            case "inbox":
                try await Self.applyAll(transport, group, database: words[5], say)
            case "holder":
                // Holds the first message until it is told that time has passed, and says what became of it.
                try await transport.withSubscription(to: group, prefetch: 10) { deliveries in
                    for try await delivery in deliveries {
                        say("got \(delivery.message.id)")
                        try await Self.wait { FileManager.default.fileExists(atPath: place + ".go") }
                        do {
                            try await transport.settle(delivery.id, .ack)
                            say("settled \(delivery.message.id)")
                        } catch {
                            say("refused \(delivery.message.id) \((error as? MessagingError)?.code.description ?? "")")
                        }
                    }
                }
            default: say("unknown role")
            }
        }
    }

    /// All at the same time: everything that it was given is in flight.
    static func applyAll(
        _ transport: RedisTransport,
        _ group: String,
        database: String,
        _ say: @escaping @Sendable (String) -> Void
    ) async throws {
        let backend = try await SQLiteBackend(path: database, logger: quiet)
        try await transport.withSubscription(to: group, prefetch: 1_000) { deliveries in
            try await withThrowingTaskGroup(of: Void.self) { handlers in
                for try await delivery in deliveries {
                    say("got")
                    handlers.addTask {
                        try await Self.apply(delivery, in: backend)
                        // Whoever kills this process finds a lot that is done and not acknowledged.
                        if delivery.id.sequence % 3 == 0 { try await transport.settle(delivery.id, .ack) }
                        say("done")
                    }
                }
            }
        }
    }

    static func apply(_ delivery: Delivery, in backend: SQLiteBackend) async throws {
        let id = delivery.message.id
        try await backend.withTransaction { transaction in
            guard try backend.inbox.admit(id, to: "child", in: transaction) else { return }
            try transaction.execute("INSERT INTO effects (id) VALUES (?)", [.text(id)])
        }
    }

    private static func wait(until holds: () -> Bool) async throws {
        while !holds() {
            try Task.checkCancellation()
            try await SystemTimeSource().sleep(for: .milliseconds(20))
        }
    }
}
