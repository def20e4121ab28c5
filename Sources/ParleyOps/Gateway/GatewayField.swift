internal import Yams

/// A key of a mapping, and the part of a value that it stands for.
struct GatewayField<Root> {
    var key: String
    var isRequired = false
    /// Called when the key is there; in the order of the fields, not of the file.
    var read: (Node, _ name: String, inout Root, GatewayReading) -> Void
    /// `nil` when the value says no more than the one that it begins from.
    var write: (Root, _ base: Root) -> Node?

    init(
        _ key: String,
        isRequired: Bool = false,
        read: @escaping (Node, String, inout Root, GatewayReading) -> Void,
        write: @escaping (Root, Root) -> Node?
    ) {
        self.key = key
        self.isRequired = isRequired
        self.read = read
        self.write = write
    }

    init<Value: Equatable>(
        _ key: String,
        _ path: WritableKeyPath<Root, Value>,
        _ codec: GatewayCodec<Value>,
        isRequired: Bool = false
    ) {
        self.init(key, isRequired: isRequired) { node, name, root, reading in
            if let value = codec.read(node, name, reading) { root[keyPath: path] = value }
        } write: { root, base in
            if !isRequired, root[keyPath: path] == base[keyPath: path] { return nil }
            return codec.write(root[keyPath: path])
        }
    }

    /// A part that is always there, with keys of its own; each of them overrides.
    init<Value: Equatable>(_ key: String, in path: WritableKeyPath<Root, Value>, _ fields: [GatewayField<Value>]) {
        self.init(key) { node, name, root, reading in
            _ = GatewayField<Value>.read(fields, node, name, &root[keyPath: path], reading)
        } write: { root, base in
            let pairs = GatewayField<Value>.write(fields, root[keyPath: path], than: base[keyPath: path])
            return pairs.isEmpty ? nil : GatewayNode.mapping(pairs)
        }
    }

    /// The same key for what holds a `Root`.
    func lifted<Outer>(_ path: WritableKeyPath<Outer, Root>) -> GatewayField<Outer> {
        GatewayField<Outer>(self.key, isRequired: self.isRequired) { node, name, outer, reading in
            self.read(node, name, &outer[keyPath: path], reading)
        } write: { outer, base in
            self.write(outer[keyPath: path], base[keyPath: path])
        }
    }

    /// `false` when it is no mapping.
    static func read(
        _ fields: [GatewayField],
        _ node: Node,
        _ name: String,
        _ root: inout Root,
        _ reading: GatewayReading
    ) -> Bool {
        let keys = fields.map(\.key)
        var values: [String: Node] = [:]
        switch node {
        case .mapping(let mapping):
            for (key, value) in mapping {
                let word = key.scalar?.string ?? ""
                if keys.contains(word) {
                    values[word] = value
                } else {
                    reading.problem(
                        key,
                        "'\(name)' has no key '\(word)'" + NearestWord.hint(word, among: keys)
                            + "; it knows: \(keys.joined(separator: ", "))"
                    )
                }
            }
        case .scalar where GatewayNode.isNothing(node): break
        default:
            reading.problem(node, "'\(name)' must have keys: \(keys.joined(separator: ", "))")
            return false
        }
        for field in fields {
            if let value = values[field.key] {
                field.read(value, "\(name).\(field.key)", &root, reading)
            } else if field.isRequired {
                reading.problem(node, "'\(name)' needs the key '\(field.key)'")
            }
        }
        return true
    }

    static func write(_ fields: [GatewayField], _ root: Root, than base: Root) -> [(String, Node)] {
        fields.compactMap { field in field.write(root, base).map { (field.key, $0) } }
    }
}
