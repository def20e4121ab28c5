internal import ParleyRabbitMQ

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The section `rabbitmq`, in RabbitMQ's own words, so that an exported definition can be pasted.
enum RabbitMQSection {
    static let keys = [
        "management", "vhosts", "users", "permissions", "exchanges", "queues", "bindings", "policies",
    ]

    static func read(_ table: ConfigurationTable) -> SystemConfiguration.RabbitMQ {
        var reader = Reader()
        reader.read(table)
        return .init(management: table.text("management"), topology: reader.topology)
    }

    private struct Reader {
        var topology = RabbitMQTopology()
        private var seen: [TopologyPlan.Resource: Int] = [:]

        mutating func read(_ section: ConfigurationTable) {
            self.virtualHosts(section)
            self.users(section)
            self.permissions(section)
            self.exchanges(section)
            self.queues(section)
            self.bindings(section)
            self.policies(section)
        }

        private mutating func virtualHosts(_ section: ConfigurationTable) {
            for table in section.tables("vhosts", keys: ["name", "description", "tags"]) {
                let host = RabbitMQTopology.VirtualHost(
                    table.name("name"),
                    description: table.text("description"),
                    tags: table.texts("tags")
                )
                if self.isNew(.init(.virtualHost, host.name), table) { self.topology.virtualHosts.append(host) }
            }
        }

        private mutating func users(_ section: ConfigurationTable) {
            for table in section.tables("users", keys: ["name", "password", "password_file", "tags"]) {
                let user = RabbitMQTopology.User(
                    table.name("name"),
                    password: self.password(table),
                    tags: table.texts("tags")
                )
                if self.isNew(.init(.user, user.name), table) { self.topology.users.append(user) }
            }
        }

        /// No message repeats what it found.
        private func password(_ table: ConfigurationTable) -> RabbitMQPassword? {
            if table.has("password"), table.has("password_file") {
                table.problem("password_file", "'\(table.name)' has both 'password' and 'password_file': keep one")
            }
            var text = table.text("password")
            if let path = table.text("password_file") {
                // Beside the file that names it.
                let file = table.reading.file
                let folder = file[..<(file.lastIndex(of: "/").map { file.index(after: $0) } ?? file.startIndex)]
                let place = path.hasPrefix("/") ? path : folder + path
                guard let data = FileManager.default.contents(atPath: place), data.count <= 4_096,
                    let content = String(validating: data, as: UTF8.self)
                else {
                    table.problem("password_file", "'\(place)' cannot be read, or is no short text")
                    return nil
                }
                // Editors end a file with a line end, which is not part of the password.
                text = content.hasSuffix("\n") ? String(content.dropLast()) : content
            }
            if text?.isEmpty == true {
                table.problem(
                    table.has("password") ? "password" : "password_file",
                    "the password of '\(table.name)' is empty: set one, or leave the key away to keep what the user has"
                )
            }
            return text.map { RabbitMQPassword($0) }
        }

        private mutating func permissions(_ section: ConfigurationTable) {
            for table in section.tables("permissions", keys: ["user", "vhost", "configure", "write", "read"]) {
                let permission = RabbitMQTopology.Permission(
                    user: table.name("user"),
                    virtualHost: self.virtualHost(table),
                    configure: table.text("configure") ?? ".*",
                    write: table.text("write") ?? ".*",
                    read: table.text("read") ?? ".*"
                )
                let users = self.topology.users.map(\.name)
                if !users.contains(permission.user), !permission.user.isEmpty {
                    table.problem(
                        "user",
                        "'users' has no '\(permission.user)'" + NearestWord.hint(permission.user, among: users)
                            + "; add it there (without a password it keeps what it has)"
                    )
                }
                if self.isNew(.init(.permission, permission.user, in: permission.virtualHost), table) {
                    self.topology.permissions.append(permission)
                }
            }
        }

        private static let exchangeTypes = ["direct", "fanout", "topic", "headers"]

        private mutating func exchanges(_ section: ConfigurationTable) {
            let keys = ["name", "vhost", "type", "durable", "auto_delete", "internal", "arguments"]
            for table in section.tables("exchanges", keys: keys) {
                let exchange = RabbitMQTopology.Exchange(
                    virtualHost: self.virtualHost(table),
                    name: self.ownName(table),
                    type: table.name("type"),
                    durable: table.flag("durable", default: true),
                    autoDelete: table.flag("auto_delete", default: false),
                    isInternal: table.flag("internal", default: false),
                    arguments: table.values("arguments")
                )
                // Plugins bring types named x-….
                if !exchange.type.hasPrefix("x-"), table.has("type") {
                    _ = table.word("type", among: Self.exchangeTypes, default: "")
                }
                if self.isNew(.init(.exchange, exchange.name, in: exchange.virtualHost), table) {
                    self.topology.exchanges.append(exchange)
                }
            }
        }

        private mutating func queues(_ section: ConfigurationTable) {
            let keys = ["name", "vhost", "type", "durable", "auto_delete", "arguments"]
            for table in section.tables("queues", keys: keys) {
                var queue = RabbitMQTopology.Queue(
                    virtualHost: self.virtualHost(table),
                    name: self.ownName(table),
                    durable: table.flag("durable", default: true),
                    autoDelete: table.flag("auto_delete", default: false),
                    arguments: table.values("arguments")
                )
                if table.has("type") {
                    let type = table.word("type", among: ["classic", "quorum", "stream"], default: "classic")
                    let other = queue.arguments.updateValue(.string(type), forKey: "x-queue-type")
                    if let other, other != .string(type) {
                        table.problem("type", "'\(table.name)' has another type in its arguments: keep one of the two")
                    }
                }
                if self.isNew(.init(.queue, queue.name, in: queue.virtualHost), table) {
                    self.topology.queues.append(queue)
                }
            }
        }

        private mutating func bindings(_ section: ConfigurationTable) {
            let keys = ["vhost", "source", "destination", "destination_type", "routing_key", "arguments"]
            let exchanges = Dictionary(grouping: self.topology.exchanges, by: \.virtualHost)
                .mapValues { Set($0.map(\.name)) }
            let queues = Dictionary(grouping: self.topology.queues, by: \.virtualHost)
                .mapValues { Set($0.map(\.name)) }
            var seen: Set<RabbitMQTopology.Binding> = []
            for table in section.tables("bindings", keys: keys) {
                let kind = table.word("destination_type", among: ["queue", "exchange"], default: "queue")
                let binding = RabbitMQTopology.Binding(
                    virtualHost: self.virtualHost(table),
                    source: table.name("source"),
                    destination: table.name("destination"),
                    destinationType: kind == "exchange" ? .exchange : .queue,
                    routingKey: table.text("routing_key") ?? "",
                    arguments: table.values("arguments")
                )
                let here = exchanges[binding.virtualHost] ?? []
                Self.expect(binding.source, among: here, table, "source", "exchanges")
                if binding.destinationType == .queue {
                    let queues = queues[binding.virtualHost] ?? []
                    Self.expect(binding.destination, among: queues, table, "destination", "queues")
                } else {
                    Self.expect(binding.destination, among: here, table, "destination", "exchanges")
                }
                guard seen.insert(binding).inserted else {
                    table.problem("this binding is there twice: remove one")
                    continue
                }
                self.topology.bindings.append(binding)
            }
        }

        private mutating func policies(_ section: ConfigurationTable) {
            let keys = ["name", "vhost", "pattern", "apply-to", "definition", "priority"]
            let kinds = ["all", "queues", "exchanges", "classic_queues", "quorum_queues", "streams"]
            for table in section.tables("policies", keys: keys) {
                let policy = RabbitMQTopology.Policy(
                    virtualHost: self.virtualHost(table),
                    name: table.name("name"),
                    pattern: table.name("pattern"),
                    applyTo: table.word("apply-to", among: kinds, default: "all"),
                    definition: table.values("definition"),
                    priority: table.number("priority", default: 0)
                )
                if policy.definition.isEmpty {
                    table.problem("definition", "'\(table.name)' needs a definition: {max-length: 1000}")
                }
                if self.isNew(.init(.policy, policy.name, in: policy.virtualHost), table) {
                    self.topology.policies.append(policy)
                }
            }
        }

        // MARK: - What all have in common

        /// The key `vhost`; it may be left away when the file has one only.
        private func virtualHost(_ table: ConfigurationTable) -> String {
            let hosts = self.topology.virtualHosts.map(\.name)
            if !table.has("vhost"), hosts.count == 1, let host = hosts.first { return host }
            let name = table.name("vhost")
            if !hosts.contains(name), !name.isEmpty {
                table.problem(
                    "vhost",
                    "'vhosts' has no '\(name)'" + NearestWord.hint(name, among: hosts)
                        + "; add it there, also when it exists already"
                )
            }
            return name
        }

        /// A name that is not the broker's own.
        private func ownName(_ table: ConfigurationTable) -> String {
            let name = table.name("name")
            if name.hasPrefix("amq.") {
                table.problem("name", "names that begin with 'amq.' are the broker's own: choose another")
            }
            return name
        }

        private static func expect(
            _ name: String,
            among names: Set<String>,
            _ table: ConfigurationTable,
            _ key: String,
            _ list: String
        ) {
            guard !name.isEmpty, !names.contains(name), !name.hasPrefix("amq.") else { return }
            table.problem(
                key,
                "'\(list)' has no '\(name)' in this vhost" + NearestWord.hint(name, among: names) + "; add it there"
            )
        }

        private mutating func isNew(_ resource: TopologyPlan.Resource, _ table: ConfigurationTable) -> Bool {
            guard !resource.name.isEmpty else { return false }
            guard let line = self.seen.updateValue(table.line, forKey: resource) else { return true }
            table.problem("the \(resource) is there already, in line \(line): remove one")
            return false
        }
    }
}
