import Foundation
import ParleyOps
import ParleyRabbitMQ
import Testing

private func read(_ text: String, _ variables: [String: String] = [:]) throws -> SystemConfiguration {
    try SystemConfiguration(text: text, file: "parley.yaml", variables: variables)
}

/// The problems of a file that cannot be used, as people see them.
private func problems(_ text: String, _ variables: [String: String] = [:]) -> [String] {
    do {
        _ = try read(text, variables)
        return []
    } catch let error as ConfigurationError {
        return error.problems.map(\.description)
    } catch {
        return ["\(error)"]
    }
}

@Suite struct ConfigurationTests {
    private static let whole = """
        rabbitmq:
          management: http://${USER}:${PASSWORD:-guest}@mq:15672
          vhosts:
            - name: shop
              description: the shop
              tags: [a, b]
            - name: /
          users:
            - {name: myapp, password: "${SECRET}", tags: [management]}
            - name: guest
          permissions:
            - {user: myapp, vhost: shop, write: "^orders"}
          exchanges:
            - {name: orders.exchange, vhost: shop, type: topic}
            - name: hashed
              vhost: shop
              type: x-consistent-hash
              durable: false
              auto_delete: true
              internal: true
              arguments: {alternate-exchange: orders.exchange, number: 1, half: 0.5, on: yes, is: true, none: null}
          queues:
            - {name: orders, vhost: shop, type: quorum, arguments: {x-dead-letter-exchange: orders.exchange}}
            - {name: plain, vhost: shop, durable: false}
          bindings:
            - {vhost: shop, source: orders.exchange, destination: orders, routing_key: order.*}
            - {vhost: shop, source: amq.topic, destination: hashed, destination_type: exchange, arguments: {list: [1, a]}}
          policies:
            - {vhost: shop, name: limit, pattern: ^orders$, apply-to: queues, definition: {max-length: 10}, priority: 3}
        """

    @Test func readsEverything() throws {
        let section = try #require(try read(Self.whole, ["USER": "me", "SECRET": "p: \"w\""]).rabbitMQ)
        #expect(section.management == "http://me:guest@mq:15672")
        let topology = section.topology
        #expect(
            topology.virtualHosts == [.init("shop", description: "the shop", tags: ["a", "b"]), .init("/")]
        )
        // What a variable holds is a text, whatever is in it.
        #expect(
            topology.users == [.init("myapp", password: .init("p: \"w\""), tags: ["management"]), .init("guest")]
        )
        #expect(topology.permissions == [.init(user: "myapp", virtualHost: "shop", write: "^orders")])
        #expect(
            topology.exchanges == [
                .init(virtualHost: "shop", name: "orders.exchange", type: "topic"),
                .init(
                    virtualHost: "shop",
                    name: "hashed",
                    type: "x-consistent-hash",
                    durable: false,
                    autoDelete: true,
                    isInternal: true,
                    arguments: [
                        "alternate-exchange": "orders.exchange", "number": 1, "half": .double(0.5), "on": "yes",
                        "is": true, "none": .null,
                    ]
                ),
            ]
        )
        #expect(
            topology.queues == [
                .init(
                    virtualHost: "shop",
                    name: "orders",
                    arguments: ["x-queue-type": "quorum", "x-dead-letter-exchange": "orders.exchange"]
                ),
                .init(virtualHost: "shop", name: "plain", durable: false),
            ]
        )
        #expect(
            topology.bindings == [
                .init(
                    virtualHost: "shop",
                    source: "orders.exchange",
                    destination: "orders",
                    routingKey: "order.*"
                ),
                .init(
                    virtualHost: "shop",
                    source: "amq.topic",
                    destination: "hashed",
                    destinationType: .exchange,
                    arguments: ["list": .list([1, "a"])]
                ),
            ]
        )
        #expect(
            topology.policies == [
                .init(
                    virtualHost: "shop",
                    name: "limit",
                    pattern: "^orders$",
                    applyTo: "queues",
                    definition: ["max-length": 10],
                    priority: 3
                )
            ]
        )
    }

    @Test func aFileMaySayNothing() throws {
        for text in ["", "# nothing\n", "rabbitmq:\n", "rabbitmq:\n  queues:\n", "{}"] {
            #expect(try read(text).rabbitMQ?.topology ?? .init() == .init(), "\(text)")
        }
    }

    @Test func namesTheNearestKey() {
        #expect(
            problems("rabbitmqq:\n  vhosts: []\n") == [
                "parley.yaml:1:1: 'the file' has no key 'rabbitmqq' (did you mean 'rabbitmq'?); it knows: rabbitmq, gateway"
            ]
        )
        let found = problems("rabbitmq:\n  vhosts:\n    - name: v\n      desciption: x\n  exchange: []\n")
        #expect(found.count == 2)
        #expect(
            found.first?.hasPrefix("parley.yaml:5:3: 'rabbitmq' has no key 'exchange' (did you mean 'exchanges'?)")
                == true
        )
        #expect(
            found.last?.hasPrefix("parley.yaml:4:7: 'vhosts[0]' has no key 'desciption' (did you mean 'description'?)")
                == true
        )
    }

    /// The text, and what its only problem's line must begin with.
    @Test(arguments: [
        ("rabbitmq: 3", "1:11: 'rabbitmq' must have keys"),
        ("rabbitmq:\n\tvhosts: []", "2:1: no YAML"),
        ("rabbitmq: {vhosts: [{name: v}, {name: v}]}", "1:32: the vhost 'v' is there already, in line 1"),
        ("rabbitmq: {vhosts: [{name: ''}]}", "1:28: 'name' of 'vhosts[0]' must have 1 to 255 bytes"),
        ("rabbitmq: {vhosts: [{description: x}]}", "1:21: 'vhosts[0]' needs the key 'name'"),
        ("rabbitmq: {vhosts: {name: v}}", "1:20: 'vhosts' must be a list"),
        ("rabbitmq: {vhosts: [{name: v, tags: a}]}", "1:37: 'tags' of 'vhosts[0]' must be a list"),
        ("rabbitmq: {users: [{name: u, password: ''}]}", "1:40: the password of 'users[0]' is empty"),
        ("rabbitmq: {users: [{name: u, password: '${NONE}'}]}", "1:40: the environment variable NONE is not set"),
        ("rabbitmq: {users: [{name: u, password: '${NONE'}]}", "1:40: '${' has no '}'"),
        ("rabbitmq: {users: [{name: u, password: '${A B}'}]}", "1:40: between '${' and '}' is no variable's name"),
        ("rabbitmq: {users: [{name: u, password_file: /no/such}]}", "1:45: '/no/such' cannot be read"),
        ("rabbitmq: {vhosts: [{name: v}], permissions: [{user: u}]}", "1:54: 'users' has no 'u'"),
        (
            "rabbitmq: {vhosts: [{name: shop}], queues: [{name: q, vhost: shpo}]}",
            "1:62: 'vhosts' has no 'shpo' (did you mean 'shop'?)"
        ),
        ("rabbitmq: {vhosts: [{name: v}], queues: [{name: amq.q}]}", "1:49: names that begin with 'amq.'"),
        ("rabbitmq: {vhosts: [{name: v}], queues: [{name: q, durable: perhaps}]}", "1:61: 'durable' of 'queues[0]'"),
        (
            "rabbitmq: {vhosts: [{name: v}], exchanges: [{name: e, type: tpic}]}",
            "1:61: 'type' of 'exchanges[0]' is 'tpic' (did you mean 'topic'?); it is one of: direct"
        ),
        (
            "rabbitmq: {vhosts: [{name: v}], queues: [{name: q, type: quorum, arguments: {x-queue-type: classic}}]}",
            "1:58: 'queues[0]' has another type in its arguments"
        ),
        (
            "rabbitmq: {vhosts: [{name: v}], queues: [{name: q}], bindings: [{source: amq.topic, destination: p}]}",
            "1:98: 'queues' has no 'p' in this vhost (did you mean 'q'?)"
        ),
        (
            "rabbitmq: {vhosts: [{name: v}], policies: [{name: p, pattern: x, definition: {a: 1}, priority: high}]}",
            "1:96: 'priority' of 'policies[0]' must be a whole number"
        ),
        (
            "rabbitmq: {vhosts: [{name: v}], policies: [{name: p, pattern: x}]}",
            "1:44: 'policies[0]' needs a definition"
        ),
    ])
    func saysWhatIsWrongAndWhere(text: String, start: String) {
        let found = problems(text)
        #expect(found.count == 1, "\(found)")
        #expect(found.first?.hasPrefix("parley.yaml:" + start) == true, "\(found)")
    }

    @Test func reportsAllProblemsAtOnce() {
        let queues = (1...60).map { "{name: q\($0), colour: red}" }.joined(separator: ", ")
        #expect(problems("rabbitmq: {vhosts: [{name: v}], queues: [\(queues)]}").count == 50)
    }

    @Test func referencesCannotMakeItEndless() {
        var text = "rabbitmq:\n  vhosts: [{name: v}]\n  policies:\n    - name: p\n      pattern: x\n      definition:\n"
        text += "        a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
        for level in 1...12 {
            let items = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ",")
            text += "        a\(level): &a\(level) [\(items)]\n"
        }
        #expect(problems(text).contains { $0.hasSuffix("more than 100000 values, with all references followed") })
        #expect(problems("rabbitmq: " + String(repeating: "[", count: 100_000)).count == 1)
    }

    @Test func twoVirtualHostsHaveToBeNamed() {
        let found = problems("rabbitmq: {vhosts: [{name: a}, {name: b}], queues: [{name: q}]}")
        #expect(found == ["parley.yaml:1:53: 'queues[0]' needs the key 'vhost'"])
    }

    @Test func variablesAreReplacedAsAShellDoes() throws {
        func value(_ text: String) throws -> String? {
            let variables = ["A": "1", "EMPTY": ""]
            return try read("rabbitmq: {management: '\(text)'}", variables).rabbitMQ?.management
        }
        #expect(try value("${A}-${A:-2}") == "1-1")
        #expect(try value("${B:-2}${EMPTY:-3}${EMPTY}") == "23")
        #expect(try value("$A $${A} $") == "$A ${A} $")
        #expect(try value("${B:-}") == "")
        // Values are not read again.
        #expect(try value("${B:-$}{A}") == "${A}")
    }

    @Test func passwordsMayComeFromAFileBesideIt() throws {
        let folder = NSTemporaryDirectory() + "parley-" + ProcessInfo.processInfo.globallyUniqueString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try Data("from a file\n".utf8).write(to: URL(fileURLWithPath: folder + "/secret"))
        try Data("rabbitmq: {users: [{name: u, password_file: secret}]}".utf8)
            .write(to: URL(fileURLWithPath: folder + "/parley.yaml"))
        let configuration = try SystemConfiguration(file: folder + "/parley.yaml", variables: [:])
        #expect(configuration.rabbitMQ?.topology.users == [.init("u", password: .init("from a file"))])

        let missing = #expect(throws: ConfigurationError.self) {
            try SystemConfiguration(file: folder + "/none.yaml", variables: [:])
        }
        #expect(missing?.code == .unreadable)
        #expect(missing?.description.contains("--file") == true)
    }

    @Test func secretsAreInNoMessage() {
        let text = "rabbitmq: {users: [{name: u, password: hunter2, password: hunter2, tag: x}]}"
        #expect(!problems(text).joined().contains("hunter2"))
        #expect(!problems("rabbitmq: {users: [{name: u, password: [hunter2]}]}").joined().contains("hunter2"))
    }

    @Test func theExampleIsRight() throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path
        let example = try SystemConfiguration(
            file: root + "/Examples/RabbitMQ/parley.yaml",
            variables: ["MYAPP_PASSWORD": "x"]
        )
        #expect(example.rabbitMQ?.topology.virtualHosts.map(\.name) == ["myapp-vhost"])
        #expect(example.rabbitMQ?.management == "http://guest:guest@localhost:15672")
    }
}
