import Foundation
import Logging
import ParleyAMQP
import ParleyCore
import ParleyMessaging
import ParleyRabbitMQ
import ParleySQLite
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// The built command.
private let binary =
    ProcessInfo.processInfo.environment["PARLEY_BINARY"] ?? RabbitMQServer.root + "/.build/debug/parley"

/// Runs it as its users run it.
private func parley(
    _ arguments: [String],
    _ environment: [String: String] = [:],
    folder: String? = nil
) async throws -> Subprocess.Answer {
    try await Subprocess.run(binary, arguments, environment, folder: folder)
}

private func json(_ answer: Subprocess.Answer) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [String: Any])
}

private func rows(_ answer: Subprocess.Answer) throws -> [[String: Any]] {
    try #require(try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [[String: Any]])
}

/// The guide's RabbitMQ chapter with the commands instead of rabbitmqctl, on a real broker.
@Suite(.timeLimit(.minutes(3)), .serialized) struct RabbitMQCommandTests {
    private static let file = RabbitMQServer.root + "/Examples/RabbitMQ/parley.yaml"
    private static let publish = """
        {"properties": {"content_type": "application/json"}, "routing_key": "order.created",
        "payload": "{\\"orderId\\": \\"123\\", \\"userId\\": \\"456\\", \\"amount\\": 99.99}", "payload_encoding": "string"}
        """

    private func rabbitmq(_ arguments: String...) async throws -> Subprocess.Answer {
        let server = try await RabbitMQServer.shared.value
        return try await parley(
            ["rabbitmq"] + arguments + ["--file", Self.file],
            ["MYAPP_PASSWORD": "secretpassword", "RABBITMQ_MANAGEMENT": server.management]
        )
    }

    @Test func theGuidesSetUp() async throws {
        let server = try await RabbitMQServer.shared.value
        let drifted = try await self.rabbitmq("drift")
        #expect(drifted.status == 2)
        let planned = try await self.rabbitmq("plan")
        #expect(planned.status == 0, "\(planned.error)")
        #expect(planned.output.contains("7 to create, 0 to change, 0 to replace, 0 to delete."))
        #expect(!planned.output.contains("secretpassword"))
        // Not a terminal: no colours.
        #expect(!planned.output.contains("\u{1B}"))

        let applied = try await self.rabbitmq("apply")
        #expect(applied.status == 0, "\(applied.error)")
        #expect(applied.output.contains("Done: 7 steps."))
        let clean = try await self.rabbitmq("drift")
        #expect(clean.status == 0, "\(clean.output)")
        #expect(try json(try await self.rabbitmq("apply", "--json"))["done"] as? Int == 0)

        // The guide's curl, word for word, as its user.
        let path = "exchanges/myapp-vhost/orders.exchange/publish"
        let user = "myapp:secretpassword"
        #expect(try await server.curl("POST", path, Self.publish, user: user) == #"{"routed":true}"#)

        // By hand.
        try await server.curl("DELETE", "bindings/myapp-vhost/e/orders.exchange/q/orders/order.%2A")
        try await server.curl("PUT", "users/myapp", #"{"password":"other","tags":"monitoring"}"#)
        #expect(try await server.curl("POST", path, Self.publish) == #"{"routed":false}"#)
        let found = try await self.rabbitmq("drift", "--json")
        #expect(found.status == 2)
        #expect(try json(found)["create"] as? Int == 1)
        #expect(try json(found)["change"] as? Int == 1)
        #expect(try await self.rabbitmq("apply").status == 0)
        #expect(try await self.rabbitmq("drift").status == 0)
        #expect(try await server.curl("POST", path, Self.publish, user: user) == #"{"routed":true}"#)
    }

    @Test func refusesToLoseMessages() async throws {
        let server = try await RabbitMQServer.shared.value
        let host = RabbitMQServer.fresh("keep-")
        let path = NSTemporaryDirectory() + host + ".yaml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        func run(_ command: String, _ type: String, _ flags: String...) async throws -> Subprocess.Answer {
            let text = "rabbitmq: {vhosts: [{name: \(host)}], queues: [{name: q, type: \(type)}]}"
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
            let options = ["--file", path, "--management", server.management]
            return try await parley(["rabbitmq", command] + options + flags)
        }
        #expect(try await run("apply", "classic").status == 0)
        let refused = try await run("apply", "quorum")
        #expect(refused.status == 1)
        #expect(refused.output.contains("allow that with --replace"))
        try await server.curl(
            "POST",
            "exchanges/\(host)/amq.default/publish",
            #"{"properties":{},"routing_key":"q","payload":"x","payload_encoding":"string"}"#
        )
        let kept = try await run("apply", "quorum", "--replace")
        #expect(kept.status == 1)
        #expect((kept.output + kept.error).contains("--discard-messages"), "\(kept)")
        #expect(try await run("apply", "quorum", "--replace", "--discard-messages").status == 0)
        #expect(try await run("drift", "quorum").status == 0)
        try await server.curl("DELETE", "vhosts/\(host)")
    }

    /// Killed again and again in the middle, it gets there.
    @Test func goesOnAfterKill() async throws {
        let server = try await RabbitMQServer.shared.value
        let host = RabbitMQServer.fresh("kill-")
        let path = NSTemporaryDirectory() + host + ".yaml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        let names = (1...60).map { "q\($0)" }
        let queues = names.map { "{name: \($0)}" }.joined(separator: ", ")
        let bindings = names.map { "{source: e, destination: \($0), routing_key: a}" }.joined(separator: ", ")
        let text = """
            rabbitmq: {vhosts: [{name: \(host)}], exchanges: [{name: e, type: topic}], queues: [\(queues)],
              bindings: [\(bindings)]}
            """
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        let options = ["--file", path, "--management", server.management]
        func left() async throws -> Int {
            try json(try await parley(["rabbitmq", "plan", "--json"] + options))["create"] as? Int ?? -1
        }
        #expect(try await left() == 122)
        // The first ones while the broker makes the virtual host, which it does not finish for somebody who is gone.
        for seconds in ["0.05", "0.07", "0.09", "0.12", "0.2", "0.4"] {
            _ = try await Subprocess.run(
                "/usr/bin/env",
                ["timeout", "-s", "KILL", seconds, binary, "rabbitmq", "apply"] + options
            )
        }
        let rest = try await left()
        let finished = try await parley(["rabbitmq", "apply", "--json"] + options)
        #expect(finished.status == 0, "\(finished.error)")
        #expect(try json(finished)["done"] as? Int == rest)
        #expect(try await parley(["rabbitmq", "drift"] + options).status == 0)
        try await server.curl("DELETE", "vhosts/\(host)")
    }

    @Test func saysWhatIsWrong() async throws {
        let server = try await RabbitMQServer.shared.value
        let unset = try await parley(["rabbitmq", "plan", "--file", Self.file], ["MYAPP_PASSWORD": ""])
        #expect(unset.status == 1)
        #expect(unset.error.contains("parley.yaml:16:"), "\(unset.error)")

        func plan(_ management: String) async throws -> Subprocess.Answer {
            let environment = ["MYAPP_PASSWORD": "secretpassword", "RABBITMQ_MANAGEMENT": management]
            return try await parley(["rabbitmq", "drift", "--file", Self.file], environment)
        }
        let nobody = try await plan("http://guest:hunter2@127.0.0.1:1")
        #expect(nobody.status == 1)
        #expect(nobody.error.contains("cannotConnect") && nobody.error.contains("rabbitmq-plugins enable"))
        let wrong = try await plan("http://guest:hunter2@127.0.0.1:\(server.managementPort)")
        #expect(wrong.status == 1)
        #expect(wrong.error.contains("the user 'guest' or its password is wrong"))
        let other = try await plan("http://guest:hunter2@127.0.0.1:\(server.port)")
        #expect(other.status == 1)
        for answer in [nobody, wrong, other] { #expect(!(answer.output + answer.error).contains("hunter2")) }

        let missing = try await parley(["rabbitmq", "drift", "--file", "/no/such.yaml"])
        #expect(missing.status == 1)
        #expect(missing.error.hasPrefix("/no/such.yaml: there is no such file"))
    }

    /// Letters of a group of RabbitMQTransport, by another process than the one that buried them.
    @Test func deadLetters() async throws {
        let server = try await RabbitMQServer.shared.value
        let host = try await server.makeVirtualHost()
        let url = "amqp://guest:guest@127.0.0.1:\(server.port)/\(host)"
        let bus = ["--bus", url, "--management", server.management]
        #expect(try await parley(["dead-letters"] + bus).output == "no dead letters\n")

        let configuration = RabbitMQConfiguration(broker: try AMQPConfiguration(url: url))
        let transport = RabbitMQTransport(configuration, logger: quiet)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await transport.run() }
            try await buryThree(on: transport)
            group.cancelAll()
        }
        let isCounted = try await isEventually {
            let queues = try rows(try await parley(["queues", "--json"] + bus))
            return queues.count == 1 && queues.first?["dead"] as? Int == 3 && queues.first?["delayed"] as? Int == 0
        }
        #expect(isCounted)
        // What the services have declared is no drift, and is not pruned.
        let path = NSTemporaryDirectory() + host + ".yaml"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("rabbitmq: {vhosts: [{name: \(host)}]}".utf8).write(to: URL(fileURLWithPath: path))
        let options = ["--prune", "--file", path, "--management", server.management]
        let drift = try await parley(["rabbitmq", "drift"] + options)
        #expect(drift.status == 0, "\(drift.output)")

        try await mend(bus)
        let isReplayed = try await isEventually {
            let queue = try rows(try await parley(["queues", "--json"] + bus)).first
            return queue?["dead"] as? Int == 0 && queue?["ready"] as? Int == 2
        }
        #expect(isReplayed)
        let wrong = try await parley(["dead-letters", "--bus", url.replacing("guest:guest", with: "guest:hunter2")])
        #expect(wrong.status == 1)
        #expect(!wrong.error.contains("hunter2"), "\(wrong.error)")
        try await server.curl("DELETE", "vhosts/\(host)")
    }

    @Test func queuesAndConsumers() async throws {
        let server = try await RabbitMQServer.shared.value
        let host = RabbitMQServer.fresh("look-")
        try await server.curl("PUT", "vhosts/\(host)")
        let url = "amqp://guest:guest@127.0.0.1:\(server.port)/\(host)"
        let bus = ["--bus", url, "--management", server.management]
        #expect(try await parley(["queues"] + bus).output.hasPrefix("no queues"))

        let configuration = try AMQPConfiguration(url: url)
        try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
            try await server.curl("PUT", "queues/\(host)/orders", #"{"durable":true}"#)
            try await server.curl(
                "POST",
                "exchanges/\(host)/amq.default/publish",
                #"{"properties":{},"routing_key":"orders","payload":"x","payload_encoding":"string"}"#
            )
            let channel = try await connection.openChannel()
            try await channel.withConsumer("orders", prefetch: 5) { consumer in
                var iterator = consumer.makeAsyncIterator()
                _ = try await iterator.next()
                let isSeen = try await isEventually {
                    let queue = try rows(try await parley(["queues", "--json"] + bus)).first
                    return queue?["unacknowledged"] as? Int == 1 && queue?["consumers"] as? Int == 1
                }
                #expect(isSeen)
                let found = try rows(try await parley(["consumers", "--json"] + bus))
                #expect(found.count == 1)
                #expect(found.first?["queue"] as? String == "orders")
                #expect(found.first?["prefetch"] as? Int == 5)
                #expect(found.first?["user"] as? String == "guest")
                let text = try await parley(["queues"] + bus).output
                #expect(text.contains("QUEUE") && text.contains("orders"))
            }
        }
        try await server.curl("DELETE", "vhosts/\(host)")
        let gone = try await parley(["queues"] + bus)
        #expect(gone.status == 1)
        #expect(gone.error.contains("notFound"))
    }
}

/// A group with three dead letters.
private func buryThree(on transport: any MessageTransport) async throws {
    try await transport.declare(try ConsumerGroup("mailer", bindings: ["order.*"]))
    let letters = (1...3).map {
        Message(source: "shop", type: "order.created", data: Array("{\"n\":\($0)}".utf8), key: "k")
    }
    try await transport.publish(letters)
    try await transport.withSubscription(to: "mailer", prefetch: 1) { deliveries in
        let iterator = deliveries.makeAsyncIterator()
        for _ in letters {
            let delivery = try #require(try await iterator.next())
            try await transport.settle(delivery.id, .deadLetter(reason: "no\naddress"))
        }
    }
}

/// Looks at them, discards the first and replays the others: the same on every backend.
private func mend(_ bus: [String]) async throws {
    let listed = try await parley(["dead-letters"] + bus)
    #expect(listed.output.contains("no address"))
    let found = try rows(try await parley(["dead-letters", "list", "--limit", "2", "--json"] + bus))
    #expect(found.count == 2)
    let id = "\(try #require(found.first?["id"] as? Int))"
    let shown = try await parley(["dead-letters", "show", id] + bus)
    #expect(shown.output.contains("order.created") && shown.output.contains(#"{"n":1}"#))
    let whole = try json(try await parley(["dead-letters", "show", id, "--json"] + bus))
    #expect((whole["message"] as? [String: Any])?["data"] as? String == #"{"n":1}"#)
    #expect(try await parley(["dead-letters", "show", "999"] + bus).status == 1)

    #expect(try await parley(["dead-letters", "discard", id] + bus).output == "discarded 1 of 1\n")
    #expect(try await parley(["dead-letters", "discard", id] + bus).status == 1)
    let replayed = try await parley(["dead-letters", "replay", "--all", "--group", "mailer"] + bus)
    #expect(replayed.output == "replayed 2 of 2\n")
}

/// The same on the embedded bus.
@Suite(.timeLimit(.minutes(2))) struct EmbeddedCommandTests {
    private func withFolder(_ body: (String) async throws -> Void) async throws {
        let folder = NSTemporaryDirectory() + RabbitMQServer.fresh("parley-command-")
        try FileManager.default.createDirectory(atPath: folder + "/data", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await body(folder)
    }

    @Test func looksAndMends() async throws {
        try await self.withFolder { folder in
            let without = try await parley(["queues"], folder: folder)
            #expect(without.status == 1)
            #expect(without.error.contains("--bus sqlite:PATH"))

            let backend = try await SQLiteBackend(path: folder + "/data/bus.db", logger: quiet)
            let transport = backend.transport
            try await buryThree(on: transport)
            // Beside a process that has the file open.
            let queue = try #require(try rows(try await parley(["queues", "--json"], folder: folder)).first)
            #expect(queue["dead"] as? Int == 3)
            #expect(queue["consumers"] is NSNull)
            #expect(try await parley(["consumers"], folder: folder).output == "no consumers\n")

            let bus = ["--bus", "sqlite:\(folder)/data/bus.db"]
            // Looks again and again, one line each, until somebody ends it.
            let watched = try await Subprocess.run(
                "/bin/sh",
                ["-c", #""$0" queues --watch --interval 0.1 --json | head -n 3"#, binary],
                folder: folder
            )
            #expect(watched.output.split(separator: "\n").count == 3)
            try await mend(bus)
            let left = try #require(try rows(try await parley(["queues", "--json"] + bus)).first)
            #expect(left["dead"] as? Int == 0)
            #expect(left["ready"] as? Int == 2)
            await backend.close()
        }
    }

    @Test func everyHelpHasExamples() async throws {
        let commands = [
            [], ["rabbitmq"], ["rabbitmq", "plan"], ["rabbitmq", "apply"], ["rabbitmq", "drift"], ["queues"],
            ["consumers"], ["dead-letters"], ["dead-letters", "list"], ["dead-letters", "show"],
            ["dead-letters", "replay"], ["dead-letters", "discard"],
        ]
        for command in commands {
            let help = try await parley(command + ["--help"])
            #expect(help.status == 0)
            #expect(help.output.contains("EXAMPLES"), "\(command)")
        }
        for shell in ["bash", "zsh", "fish"] {
            #expect(try await parley(["--generate-completion-script", shell]).output.contains("dead-letters"))
        }
        #expect(try await parley(["dead-letters", "replay"]).status == 64)
        #expect(try await parley(["rabbitmq", "apply", "--discard-messages"]).status == 64)
        #expect(try await parley(["queues", "--management", "http://localhost"]).status == 64)
    }
}

/// `parley sagas` where there is nothing to see; what it does with sagas is tested with the order system.
@Suite(.timeLimit(.minutes(1))) struct SagaCommandTests {
    @Test func saysWhatIsWrong() async throws {
        let folder = NSTemporaryDirectory() + RabbitMQServer.fresh("sagas-")
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let nowhere = try await parley(["sagas", "list"], folder: folder)
        #expect(nowhere.status == 1 && nowhere.error.contains("./data/order-service.db"), "\(nowhere.error)")
        let redis = try await parley(["sagas", "list", "--store", "http://x"], folder: folder)
        #expect(redis.status == 1 && redis.error.contains("sqlite:"), "\(redis.error)")
        for (arguments, word) in [
            (["list", "--status", "gone"], "gone"), (["list", "--limit", "0"], "--limit"),
            (["set-state", "x", "Y"], "reason"),
            (["replay", "x", "--reason", " "], "--reason"),
            (["inject", "x", "e", "--reason", "r", "--data", "{"], "--data"),
        ] {
            let answer = try await parley(["sagas"] + arguments, folder: folder)
            #expect(answer.status == 64 && answer.error.contains(word), "\(arguments): \(answer.error)")
        }
        let store = "sqlite:\(folder)/empty.db"
        let backend = try await SQLiteBackend(path: folder + "/empty.db", logger: quiet)
        await backend.close()
        #expect(try await parley(["sagas", "list", "--store", store]).output == "no sagas\n")
        #expect(try rows(try await parley(["sagas", "list", "--json", "--store", store])).isEmpty)
        for command in [
            ["show", "x"], ["replay", "x", "--reason", "r"], ["compensate", "x", "--reason", "r", "--json"],
        ] {
            let answer = try await parley(["sagas"] + command + ["--store", store])
            #expect(answer.status == 1 && answer.error.contains("there is no saga 'x'"), "\(answer.error)")
        }
    }
}
