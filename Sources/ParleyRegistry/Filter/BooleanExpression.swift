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

    /// - Throws: When it asks about something that `fields` does not have.
    func check(_ fields: FilterFields) throws(Fault) { try Self.check(self.root, fields) }

    private static func check(_ node: Node, _ fields: FilterFields) throws(Fault) {
        switch node {
        case .and(let first, let second), .or(let first, let second):
            try self.check(first, fields)
            try self.check(second, fields)
        case .not(let node): try self.check(node, fields)
        case .equal(let path, _), .contains(let path, _), .isEmpty(let path), .matches(let path, _):
            guard fields.has(path[...]) else {
                throw Fault(message: "Selector \"\(path.joined(separator: "."))\" is not valid")
            }
        }
    }

    /// The elements of a list, or the members of an object, that match; everything else as it is.
    ///
    /// - Throws: When that takes more than is left of `work`.
    func filtered(_ value: JSONValue, _ work: inout FilterWork) throws(Fault) -> JSONValue {
        switch value {
        case .array(let elements):
            var kept: [JSONValue] = []
            for element in elements where try self.matches(element, &work) { kept.append(element) }
            return .array(kept)
        case .object(let members):
            var kept: [JSONValue.Member] = []
            for member in members where try self.matches(member.value, &work) { kept.append(member) }
            return .object(kept)
        default: return value
        }
    }

    func matches(_ value: JSONValue, _ work: inout FilterWork) throws(Fault) -> Bool {
        try Self.evaluate(self.root, value, &work)
    }

    // The parser bounds the depth.
    private static func evaluate(_ node: Node, _ value: JSONValue, _ work: inout FilterWork) throws(Fault) -> Bool {
        try work.take(1)
        switch node {
        case .and(let first, let second):
            guard try self.evaluate(first, value, &work) else { return false }
            return try self.evaluate(second, value, &work)
        case .or(let first, let second):
            if try self.evaluate(first, value, &work) { return true }
            return try self.evaluate(second, value, &work)
        case .not(let node): return try !self.evaluate(node, value, &work)
        case .equal(let path, let text):
            for found in try self.find(path[...], value, &work) where self.isEqual(found, text) { return true }
            return false
        case .contains(let path, let text):
            for found in try self.find(path[...], value, &work) where self.contains(found, text) { return true }
            return false
        case .isEmpty(let path): return try self.find(path[...], value, &work).allSatisfy(self.isEmpty)
        case .matches(let path, let pattern):
            for found in try self.find(path[...], value, &work) {
                guard let text = self.text(found) else { continue }
                if try pattern.isFound(in: text, &work) { return true }
            }
            return false
        }
    }

    /// What the path leads to; each costs as many steps as whoever looks at it takes.
    private static func find(
        _ path: ArraySlice<String>,
        _ value: JSONValue,
        _ work: inout FilterWork
    ) throws(Fault) -> [JSONValue] {
        guard let name = path.first else {
            try work.take(self.size(value))
            return [value]
        }
        switch value {
        case .array(let elements):
            var found: [JSONValue] = []
            for element in elements { found += try self.find(path, element, &work) }
            return found
        case .object(let members):
            try work.take(members.count)
            if let member = value[name] { return try self.find(path.dropFirst(), member, &work) }
            // Consul leaves out a port of 0.
            return name == "Port" ? [.number("0")] : []
        default: return []
        }
    }

    private static func size(_ value: JSONValue) -> Int {
        switch value {
        case .string(let text), .number(let text): 1 + text.utf8.count
        case .array(let elements): elements.reduce(1) { $0 + self.size($1) }
        case .object(let members): 1 + members.count
        default: 1
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
