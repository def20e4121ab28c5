internal import ParleyRabbitMQ
internal import Yams

/// What one reading of a file shares: where its values come from, and what is wrong with it.
final class ConfigurationReading {
    let file: String
    let variables: [String: String]
    private(set) var problems: [ConfigurationError.Problem] = []

    /// More would not be read by anybody.
    private static let maximumProblems = 50
    /// References (`*name`) can make a short file long without end.
    private static let maximumValues = 100_000
    private var values = 0

    init(file: String, variables: [String: String]) {
        self.file = file
        self.variables = variables
    }

    func problem(_ mark: Mark?, _ message: String) {
        guard self.problems.count < Self.maximumProblems else { return }
        self.problems.append(.init(file: self.file, line: mark?.line, column: mark?.column, message: message))
    }

    private var isFull: Bool { self.values > Self.maximumValues }

    /// A scalar's text with its variables replaced; `nil` when one of them is a problem.
    func text(_ scalar: Node.Scalar) -> String? {
        do {
            return try VariableSubstitution.replace(in: scalar.string, with: self.variables)
        } catch {
            switch error {
            case .unset(let name):
                self.problem(
                    scalar.mark,
                    "the environment variable \(name) is not set: set it, or write ${\(name):-a default}"
                )
            case .unclosed:
                self.problem(scalar.mark, "'${' has no '}': write ${NAME}, or $${ for the characters themselves")
            case .invalidName:
                self.problem(
                    scalar.mark,
                    "between '${' and '}' is no variable's name: write ${NAME}, or $${ for the characters themselves"
                )
            }
        }
        return nil
    }

    /// A value of any kind, as a broker's arguments have them.
    func value(_ node: Node, depth: Int = 0) -> RabbitMQValue {
        self.values += 1
        guard depth < 16, self.values <= Self.maximumValues else {
            if self.values <= Self.maximumValues { self.problem(node.mark, "nested deeper than 16") }
            if self.values == Self.maximumValues + 1 {
                self.problem(node.mark, "more than \(Self.maximumValues) values, with all references followed")
            }
            return .null
        }
        switch node {
        case .scalar(let scalar):
            guard let text = self.text(scalar) else { return .null }
            return scalar.style == .plain ? PlainScalar.value(text) : .string(text)
        case .sequence(let items):
            return .list(items.prefix { _ in !self.isFull }.map { self.value($0, depth: depth + 1) })
        case .mapping(let members):
            var table: [String: RabbitMQValue] = [:]
            for (key, value) in members where !self.isFull {
                guard let name = key.scalar?.string else {
                    self.problem(key.mark, "a key must be a word")
                    continue
                }
                table[name] = self.value(value, depth: depth + 1)
            }
            return .table(table)
        case .alias(let alias):
            self.problem(alias.mark, "write it out: a reference is not read here")
            return .null
        }
    }
}

/// What an unquoted word stands for. As in YAML 1.2 (and JSON): `yes`, `on` and `012` are what they look like.
enum PlainScalar {
    static func value(_ text: String) -> RabbitMQValue {
        switch text {
        case "", "~", "null": .null
        case "true": .bool(true)
        case "false": .bool(false)
        default:
            if let value = Self.integer(text) {
                .integer(value)
            } else if text.contains(where: \.isNumber), text.utf8.allSatisfy(Self.isOfNumbers), let value = Double(text)
            {
                .double(value)
            } else {
                .string(text)
            }
        }
    }

    private static func integer(_ text: String) -> Int64? {
        let digits = text.hasPrefix("-") ? text.dropFirst() : text[...]
        guard digits == "0" || !digits.hasPrefix("0"), digits.utf8.allSatisfy({ (48...57).contains($0) }) else {
            return nil
        }
        return Int64(text)
    }

    private static func isOfNumbers(_ byte: UInt8) -> Bool { "0123456789.eE+-".utf8.contains(byte) }
}

/// A mapping whose keys are all known.
struct ConfigurationTable {
    let reading: ConfigurationReading
    let mark: Mark?
    /// What it is, for messages: `queues[0]`.
    let name: String
    private var entries: [String: (key: Mark?, value: Node)] = [:]

    /// Reports what is no mapping, and every key that is not among `keys`.
    init(_ node: Node, _ name: String, keys: [String], _ reading: ConfigurationReading) {
        self.reading = reading
        self.mark = node.mark
        self.name = name
        guard case .mapping(let mapping) = node else {
            // An empty section is a section.
            if case .scalar(let scalar) = node, PlainScalar.value(scalar.string) == .null { return }
            reading.problem(node.mark, "'\(name)' must have keys: \(keys.joined(separator: ", "))")
            return
        }
        for (key, value) in mapping {
            guard let word = key.scalar?.string, keys.contains(word) else {
                let word = key.scalar?.string ?? ""
                reading.problem(
                    key.mark,
                    "'\(name)' has no key '\(word)'" + NearestWord.hint(word, among: keys)
                        + "; it knows: \(keys.joined(separator: ", "))"
                )
                continue
            }
            self.entries[word] = (key.mark, value)
        }
    }

    var line: Int { self.mark?.line ?? 0 }

    func problem(_ message: String) { self.reading.problem(self.mark, message) }

    func has(_ key: String) -> Bool { self.entries[key] != nil }

    /// A value whose keys somebody else knows.
    func node(_ key: String) -> Node? { self.entries[key]?.value }

    /// Where a problem with `key` is shown.
    func mark(of key: String) -> Mark? { self.entries[key]?.value.mark ?? self.mark }

    func problem(_ key: String, _ message: String) { self.reading.problem(self.mark(of: key), message) }

    func text(_ key: String) -> String? {
        guard let entry = self.entries[key] else { return nil }
        guard case .scalar(let scalar) = entry.value else {
            self.problem(key, "'\(key)' of '\(self.name)' must be a text")
            return nil
        }
        return self.reading.text(scalar)
    }

    /// A text that must be there, and not be empty.
    func name(_ key: String) -> String {
        guard self.has(key) else {
            self.reading.problem(self.mark, "'\(self.name)' needs the key '\(key)'")
            return ""
        }
        guard let text = self.text(key) else { return "" }
        if text.isEmpty || text.utf8.count > 255 {
            self.problem(key, "'\(key)' of '\(self.name)' must have 1 to 255 bytes")
        }
        return text
    }

    func flag(_ key: String, default standard: Bool) -> Bool {
        guard let text = self.text(key) else { return standard }
        guard case .bool(let value) = PlainScalar.value(text) else {
            self.problem(key, "'\(key)' of '\(self.name)' must be true or false")
            return standard
        }
        return value
    }

    func number(_ key: String, default standard: Int) -> Int {
        guard let text = self.text(key) else { return standard }
        guard case .integer(let value) = PlainScalar.value(text), let number = Int(exactly: value) else {
            self.problem(key, "'\(key)' of '\(self.name)' must be a whole number")
            return standard
        }
        return number
    }

    /// One of `words`.
    func word(_ key: String, among words: [String], default standard: String) -> String {
        guard let text = self.text(key) else { return standard }
        if !words.contains(text) {
            self.problem(
                key,
                "'\(key)' of '\(self.name)' is '\(text)'" + NearestWord.hint(text, among: words)
                    + "; it is one of: \(words.joined(separator: ", "))"
            )
        }
        return text
    }

    func texts(_ key: String) -> [String]? {
        guard let entry = self.entries[key] else { return nil }
        guard case .sequence(let items) = entry.value else {
            self.problem(key, "'\(key)' of '\(self.name)' must be a list: [one, two]")
            return nil
        }
        return items.compactMap { item in
            guard case .scalar(let scalar) = item else {
                self.reading.problem(item.mark, "'\(key)' of '\(self.name)' must be a list of texts")
                return nil
            }
            return self.reading.text(scalar)
        }
    }

    func values(_ key: String) -> [String: RabbitMQValue] {
        guard let entry = self.entries[key] else { return [:] }
        switch self.reading.value(entry.value) {
        case .table(let table): return table
        case .null: return [:]
        default:
            self.problem(key, "'\(key)' of '\(self.name)' must have keys: {x-max-length: 1000}")
            return [:]
        }
    }

    /// A list of mappings.
    func tables(_ key: String, keys: [String]) -> [ConfigurationTable] {
        guard let entry = self.entries[key] else { return [] }
        if case .scalar(let scalar) = entry.value, PlainScalar.value(scalar.string) == .null { return [] }
        guard case .sequence(let items) = entry.value else {
            self.problem(key, "'\(key)' must be a list: each entry begins with '- '")
            return []
        }
        return items.enumerated().map {
            ConfigurationTable($0.element, "\(key)[\($0.offset)]", keys: keys, self.reading)
        }
    }

    func table(_ key: String, keys: [String]) -> ConfigurationTable? {
        self.entries[key].map { ConfigurationTable($0.value, key, keys: keys, self.reading) }
    }
}
