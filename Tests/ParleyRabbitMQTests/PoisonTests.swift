import Foundation
import ParleyAMQP
import ParleyCore
import ParleyMessaging
import ParleyRabbitMQ
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// Messages that kill the process that handles them: this test program starts itself again with only ``ChildRole`` to
/// do.
@Suite(.timeLimit(.minutes(3))) struct PoisonTests {
    @Test func aMessageThatKillsItsProcessEndsInTheDeadLetters() async throws {
        let host = try await Host()
        let log = NSTemporaryDirectory() + RabbitMQServer.fresh("parley-poison-")
        defer { try? FileManager.default.removeItem(atPath: log) }
        let limit = 3
        let harmless = (0..<30).map { "m\($0)" }
        let letters = try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["#"], maximumDeliveries: limit))
            var messages = harmless.map { message($0, key: "k\($0.count)") }
            messages.insert(message("poison", key: "p"), at: 10)
            try await transport.publish(messages)
            for _ in 0..<limit {
                // Each of them dies of it.
                let child = try await Subprocess.run(
                    URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().path,
                    ["--testing-library", "swift-testing", "--filter", "ParleyRabbitMQTests.ChildRole"],
                    ["PARLEY_RABBITMQ_CHILD": "\(host.server.port) \(host.name) \(log)"]
                )
                #expect(child.status != 0, "\(child.output)")
            }
            // The next one finds it to have had its chances, and goes on with the others.
            let done = Set(try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n").map(String.init))
            try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                var left = Set(harmless).subtracting(done)
                left.insert("last")
                try await transport.publish([message("last")])
                for try await delivery in deliveries {
                    #expect(delivery.message.id != "poison")
                    left.remove(delivery.message.id)
                    try await transport.settle(delivery.id, .ack)
                    if left.isEmpty { break }
                }
            }
            return try await transport.deadLetters.list(group: "g", after: 0, limit: 100)
        }
        let lines = try String(contentsOfFile: log, encoding: .utf8).split(separator: "\n")
        #expect(lines.count { $0 == "poison" } == limit, "begun exactly as often as allowed")
        #expect(letters.contains { $0.message.id == "poison" })
        // One whose ack died with its process each time has had its chances as well, and was handled in each.
        for letter in letters {
            #expect(letter.attempts == limit)
            #expect(lines.count { $0 == letter.message.id } == limit)
        }
    }
}

@Suite(.enabled(if: ProcessInfo.processInfo.environment["PARLEY_RABBITMQ_CHILD"] != nil)) struct ChildRole {
    @Test func play() async throws {
        let words = ProcessInfo.processInfo.environment["PARLEY_RABBITMQ_CHILD"]?.split(separator: " ") ?? []
        guard words.count == 3, let port = Int(words[0]) else { return }
        let broker = AMQPConfiguration(
            endpoints: [.init(host: "127.0.0.1", port: port)],
            virtualHost: String(words[1])
        )
        let log = open(String(words[2]), O_WRONLY | O_CREAT | O_APPEND, 0o600)
        try await RabbitMQTransport.withTransport(RabbitMQConfiguration(broker: broker), logger: quiet) { transport in
            try await transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                for try await delivery in deliveries {
                    let line = Array((delivery.message.id + "\n").utf8)
                    _ = write(log, line, line.count)
                    if delivery.message.id == "poison" { kill(getpid(), SIGKILL) }
                    try await transport.settle(delivery.id, .ack)
                }
            }
        }
    }
}
