internal import ParleyGateway
internal import ParleyRabbitMQ
internal import Yams

/// How a value is read from YAML and written to it: both in one place, so that they cannot differ.
struct GatewayCodec<Value> {
    /// `nil` when there was a problem, which has then been reported.
    var read: (Node, _ name: String, GatewayReading) -> Value?
    var write: (Value) -> Node
}

enum GatewayNode {
    /// `${` in a value would be taken for a variable of the environment.
    static func text(_ text: String) -> Node {
        var value = ""
        var rest = text[...]
        while let range = rest.firstRange(of: "${") {
            value += rest[..<range.lowerBound] + "$${"
            rest = rest[range.upperBound...]
        }
        value += rest
        // What YAML takes for nothing has to be quoted to be a text.
        let isNothing = ["", "~", "null", "Null", "NULL", "off"].contains(value)
        return Node(value, .implicit, isNothing ? .doubleQuoted : .any)
    }

    static var nothing: Node { Node("off", .implicit, .plain) }

    static func isNothing(_ node: Node) -> Bool {
        guard case .scalar(let scalar) = node, scalar.style == .plain else { return false }
        return ["off", "", "~", "null"].contains(scalar.string)
    }

    static func mapping(_ pairs: [(String, Node)]) -> Node {
        Node(pairs.map { (Self.text($0.0), $0.1) }, .implicit, .block)
    }

    static func list(_ nodes: [Node]) -> Node {
        let isShort = nodes.allSatisfy { $0.scalar != nil } && nodes.count <= 8
        return Node(nodes, .implicit, isShort ? .flow : .block)
    }
}

extension GatewayCodec where Value: Sendable {
    /// A text that stands for the value, with what to write instead of a wrong one.
    static func words(
        _ expected: String,
        read: @escaping (String) -> Value?,
        write: @escaping (Value) -> String
    ) -> Self {
        Self { node, name, reading in
            guard let text = reading.text(node, name) else { return nil }
            guard let value = read(text) else {
                reading.problem(node, "'\(name)' is '\(text.prefix(80))'; it must be \(expected)")
                return nil
            }
            return value
        } write: { value in
            GatewayNode.text(write(value))
        }
    }
}

extension GatewayCodec where Value == String {
    static var text: Self {
        Self { node, name, reading in
            reading.text(node, name)
        } write: {
            GatewayNode.text($0)
        }
    }

    /// A name that must be elsewhere in the section.
    static func reference(_ kind: GatewayReading.Kind) -> Self {
        Self { node, name, reading in
            guard let text = reading.text(node, name) else { return nil }
            reading.refers(to: text, kind, at: node)
            return text
        } write: {
            GatewayNode.text($0)
        }
    }
}

extension GatewayCodec where Value == Bool {
    static var flag: Self { .either("true", "false") }

    /// Two words; the first is `true`.
    static func either(_ yes: String, _ no: String) -> Self {
        .words("\(yes) or \(no)") {
            $0 == yes ? true : $0 == no ? false : nil
        } write: {
            $0 ? yes : no
        }
    }
}

extension GatewayCodec where Value == Int {
    static func number(_ range: ClosedRange<Int> = 0...Int(Int32.max)) -> Self {
        .words("a whole number from \(range.lowerBound) to \(range.upperBound)") { text in
            guard case .integer(let value) = PlainScalar.value(text) else { return nil }
            return Int(exactly: value).flatMap { range.contains($0) ? $0 : nil }
        } write: {
            "\($0)"
        }
    }

    /// Milliseconds.
    static var duration: Self {
        .words("a time with its unit, like 250ms, 30s or 1h30m") {
            UnitText.milliseconds($0)
        } write: {
            UnitText.text(milliseconds: $0)
        }
    }

    /// Whole seconds.
    static var seconds: Self {
        .words("a time in whole seconds, like 10s or 5m") { text in
            UnitText.milliseconds(text).flatMap { $0 % 1_000 == 0 ? $0 / 1_000 : nil }
        } write: { value in
            let (milliseconds, overflows) = value.multipliedReportingOverflow(by: 1_000)
            return overflows ? "\(value)s" : UnitText.text(milliseconds: milliseconds)
        }
    }

    static var size: Self {
        .words("a size, like 512k or 10m") {
            UnitText.bytes($0)
        } write: {
            UnitText.text(bytes: $0)
        }
    }

    static var rate: Self {
        .words("a rate, like 10r/s or 200r/m") {
            UnitText.rate($0)
        } write: {
            UnitText.text(rate: $0)
        }
    }
}

extension GatewayCodec where Value == Int64 {
    static var size: Self {
        .words("a size, like 512k or 10m; 0 is no limit") {
            UnitText.bytes($0).map(Int64.init)
        } write: {
            UnitText.text(bytes: Int($0))
        }
    }
}

extension GatewayCodec where Value == Template {
    static var template: Self {
        Self { node, name, reading in
            reading.template(node, name)
        } write: {
            GatewayNode.text(TemplateText.write($0))
        }
    }
}

extension GatewayCodec where Value == RegexModel {
    static var regex: Self {
        .words("a regular expression: '~ pattern', or '~* pattern' without regard to case") { text in
            guard text.hasPrefix("~") else { return nil }
            let ignoresCase = text.hasPrefix("~*")
            var pattern = text.dropFirst(ignoresCase ? 2 : 1)
            if pattern.hasPrefix(" ") { pattern = pattern.dropFirst() }
            return pattern.isEmpty ? nil : RegexModel(pattern: String(pattern), ignoresCase: ignoresCase)
        } write: {
            $0.ignoresCase ? "~* \($0.pattern)" : "~ \($0.pattern)"
        }
    }
}

extension GatewayCodec where Value == CIDR {
    static var block: Self {
        .words("an address or a block, like 10.0.0.0/8") {
            CIDR($0)
        } write: {
            $0.description
        }
    }
}

extension GatewayCodec where Value: RawRepresentable & Sendable, Value.RawValue == String {
    /// One of some words.
    static func word(_ values: [Value]) -> Self {
        Self { node, name, reading in
            guard let text = reading.text(node, name) else { return nil }
            if let value = values.first(where: { $0.rawValue == text }) { return value }
            let words = values.map(\.rawValue)
            reading.problem(
                node,
                "'\(name)' is '\(text.prefix(80))'" + NearestWord.hint(text, among: words)
                    + "; it is one of: \(words.joined(separator: ", "))"
            )
            return nil
        } write: {
            GatewayNode.text($0.rawValue)
        }
    }
}

extension GatewayCodec {
    /// A list; one value may stand for a list of one.
    static func list<Element>(_ element: GatewayCodec<Element>) -> Self where Value == [Element] {
        Self { node, name, reading in
            if GatewayNode.isNothing(node) { return [] }
            guard case .sequence(let items) = node else { return element.read(node, name, reading).map { [$0] } }
            var values: [Element] = []
            for (index, item) in items.enumerated() {
                if let value = element.read(item, "\(name)[\(index)]", reading) { values.append(value) }
            }
            return values
        } write: {
            GatewayNode.list($0.map(element.write))
        }
    }

    /// `off` is none.
    static func optional<Wrapped>(_ wrapped: GatewayCodec<Wrapped>) -> Self where Value == Wrapped? {
        Self { node, name, reading in
            if GatewayNode.isNothing(node) { return .some(nil) }
            return wrapped.read(node, name, reading).map { .some($0) }
        } write: {
            $0.map(wrapped.write) ?? GatewayNode.nothing
        }
    }

    /// Values that have names: a mapping from name to value, in the order of the file.
    static func named<Element>(
        _ key: WritableKeyPath<Element, String>,
        _ element: GatewayCodec<Element>
    ) -> Self where Value == [Element] {
        Self { node, name, reading in
            if GatewayNode.isNothing(node) { return [] }
            guard case .mapping(let mapping) = node else {
                reading.problem(node, "'\(name)' must have names as keys")
                return nil
            }
            var values: [Element] = []
            for (key1, item) in mapping {
                guard let word = reading.text(key1, name), !word.isEmpty else { continue }
                guard var value = element.read(item, "\(name).\(word)", reading) else { continue }
                value[keyPath: key] = word
                values.append(value)
            }
            return values
        } write: { values in
            GatewayNode.mapping(values.map { ($0[keyPath: key], element.write($0)) })
        }
    }

    /// A mapping with keys of its own; what is not there stays as in `blank`.
    static func section(_ blank: @escaping @autoclosure () -> Value, _ fields: [GatewayField<Value>]) -> Self {
        Self { node, name, reading in
            var value = blank()
            return GatewayField.read(fields, node, name, &value, reading) ? value : nil
        } write: { value in
            GatewayNode.mapping(GatewayField.write(fields, value, than: blank()))
        }
    }

    /// A section that one word may stand for.
    func orWord(
        _ read: @escaping (Node, _ name: String, GatewayReading) -> Value?,
        _ write: @escaping (Value) -> Node?
    )
        -> Self
    {
        Self { node, name, reading in
            if case .mapping = node { return self.read(node, name, reading) }
            return read(node, name, reading)
        } write: {
            write($0) ?? self.write($0)
        }
    }

    /// The value in another form.
    func map<Other>(_ to: @escaping (Value) -> Other, _ from: @escaping (Other) -> Value) -> GatewayCodec<Other> {
        GatewayCodec<Other> { node, name, reading in
            self.read(node, name, reading).map(to)
        } write: {
            self.write(from($0))
        }
    }
}
