internal import ParleyDiscovery

/// A filter as Consul takes it: `Service.Meta.ver == 1 and "v1" in Service.Tags`.
///
/// It looks into the answer itself: a selector is the path in the JSON, through lists too, where one match is enough.
/// `==`, `!=`, `in`, `not in`, `contains`, `not contains`, `is empty`, `is not empty`, `matches`, `not matches`,
/// `and`, `or`, `not` and parentheses; values are quoted or bare.
struct BooleanExpression: Sendable {
    /// Why a text is no expression.
    struct Fault: Error, Equatable {
        var message: String
    }

    indirect enum Node: Sendable {
        case and(Node, Node)
        case or(Node, Node)
        case not(Node)
        case equal([String], String)
        case contains([String], String)
        case isEmpty([String])
        case matches([String], LinearPattern)
    }

    private let root: Node

    init(_ text: String) throws(Fault) {
        var parser = try BooleanExpressionParser(text)
        self.root = try parser.whole()
    }

    /// The elements of a list, or the members of an object, that match; everything else as it is.
    func filtered(_ value: JSONValue) -> JSONValue {
        switch value {
        case .array(let elements): .array(elements.filter { self.matches($0) })
        case .object(let members): .object(members.filter { self.matches($0.value) })
        default: value
        }
    }

    func matches(_ value: JSONValue) -> Bool { Self.evaluate(self.root, value) }

    // The parser bounds the depth.
    private static func evaluate(_ node: Node, _ value: JSONValue) -> Bool {
        switch node {
        case .and(let first, let second): self.evaluate(first, value) && self.evaluate(second, value)
        case .or(let first, let second): self.evaluate(first, value) || self.evaluate(second, value)
        case .not(let node): !self.evaluate(node, value)
        case .equal(let path, let text): self.find(path[...], value).contains { self.isEqual($0, text) }
        case .contains(let path, let text): self.find(path[...], value).contains { self.contains($0, text) }
        case .isEmpty(let path): self.find(path[...], value).allSatisfy(self.isEmpty)
        case .matches(let path, let pattern):
            self.find(path[...], value).contains { self.text($0).map(pattern.isFound(in:)) ?? false }
        }
    }

    private static func find(_ path: ArraySlice<String>, _ value: JSONValue) -> [JSONValue] {
        guard let name = path.first else { return [value] }
        switch value {
        case .array(let elements): return elements.flatMap { self.find(path, $0) }
        case .object:
            if let member = value[name] { return self.find(path.dropFirst(), member) }
            // Consul leaves out a port of 0.
            return name == "Port" ? [.number("0")] : []
        default: return []
        }
    }

    private static func text(_ value: JSONValue) -> String? {
        switch value {
        case .string(let text), .number(let text): text
        case .bool(let isTrue): isTrue ? "true" : "false"
        default: nil
        }
    }

    private static func isEqual(_ value: JSONValue, _ text: String) -> Bool {
        switch value {
        case .string(let own): own == text
        case .number(let own): own == text || Double(own).map { $0 == Double(text) } ?? false
        case .bool(let own): RegistryAPI.goBool(text) == own
        case .array(let elements): elements.contains { self.isEqual($0, text) }
        default: false
        }
    }

    /// A list that has it, an object with this key, or a text in which it occurs.
    private static func contains(_ value: JSONValue, _ text: String) -> Bool {
        switch value {
        case .string(let own): text.isEmpty || own.firstRange(of: text) != nil
        case .array(let elements): elements.contains { self.isEqual($0, text) }
        case .object: value[text] != nil
        default: false
        }
    }

    private static func isEmpty(_ value: JSONValue) -> Bool {
        switch value {
        case .null: true
        case .string(let text): text.isEmpty
        case .array(let elements): elements.isEmpty
        case .object(let members): members.isEmpty
        default: false
        }
    }
}
