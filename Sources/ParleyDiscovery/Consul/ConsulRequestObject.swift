/// Why a request's body cannot be taken, in the words of Consul's own decoder.
package struct ConsulRequestFault: Error, Equatable {
    package var message: String

    package init(_ message: String) { self.message = message }
}

/// One JSON object of a request, read field by field as Consul does: names in any case and with or without underscores
/// (`EnableTagOverride`, `enable_tag_override`), null for "not given", and nothing that nobody has asked for.
package struct ConsulRequestObject {
    private var fields: [String: (name: String, value: JSONValue)] = [:]

    /// - Parameter type: What Consul calls it when it is not an object.
    package init(_ value: JSONValue, type: String) throws(ConsulRequestFault) {
        switch value {
        case .object(let members):
            // The last of several counts, as in Go.
            for member in members { self.fields[Self.normalized(member.key)] = (member.key, member.value) }
        case .null: break
        default:
            throw ConsulRequestFault("json: cannot unmarshal \(value.goKind) into Go value of type \(type)")
        }
    }

    private static func normalized(_ name: String) -> String { name.lowercased().filter { $0 != "_" } }

    /// The value of the field, which counts as known from now on; `nil` when it is missing or null.
    package mutating func take(_ names: String...) -> JSONValue? {
        var found: JSONValue?
        for name in names {
            guard let field = self.fields.removeValue(forKey: Self.normalized(name)), field.value != .null else {
                continue
            }
            found = field.value
        }
        return found
    }

    /// Ends the reading.
    package func refuseTheRest() throws(ConsulRequestFault) {
        // The same one for the same request.
        guard let name = self.fields.values.map(\.name).min() else { return }
        throw ConsulRequestFault("json: unknown field \"\(name.prefix(200))\"")
    }

    private static func mismatch(_ value: JSONValue, _ field: String, _ type: String) -> ConsulRequestFault {
        var kind = value.goKind
        if case .number(let text) = value, type != "string" { kind += " \(text.prefix(40))" }
        return ConsulRequestFault("json: cannot unmarshal \(kind) into Go struct field .\(field) of type \(type)")
    }

    package mutating func string(_ name: String) throws(ConsulRequestFault) -> String {
        guard let value = self.take(name) else { return "" }
        guard case .string(let text) = value else { throw Self.mismatch(value, name, "string") }
        return text
    }

    package mutating func bool(_ name: String) throws(ConsulRequestFault) -> Bool? {
        guard let value = self.take(name) else { return nil }
        guard case .bool(let isTrue) = value else { throw Self.mismatch(value, name, "bool") }
        return isTrue
    }

    package mutating func integer(_ name: String) throws(ConsulRequestFault) -> Int? {
        guard let value = self.take(name) else { return nil }
        guard case .number(let text) = value, let number = Int(text) else { throw Self.mismatch(value, name, "int") }
        return number
    }

    package mutating func strings(_ name: String) throws(ConsulRequestFault) -> [String] {
        guard let value = self.take(name) else { return [] }
        return try Self.strings(value, name)
    }

    private static func strings(_ value: JSONValue, _ name: String) throws(ConsulRequestFault) -> [String] {
        guard case .array(let values) = value else { throw Self.mismatch(value, name, "[]string") }
        var texts: [String] = []
        for value in values where value != .null {
            guard case .string(let text) = value else { throw Self.mismatch(value, name, "string") }
            texts.append(text)
        }
        return texts
    }

    package mutating func stringMap(_ name: String) throws(ConsulRequestFault) -> [String: String]? {
        guard let value = self.take(name) else { return nil }
        guard case .object(let members) = value else { throw Self.mismatch(value, name, "map[string]string") }
        var map: [String: String] = [:]
        for member in members {
            switch member.value {
            case .string(let text): map[member.key] = text
            case .null: map[member.key] = ""
            default: throw Self.mismatch(member.value, name, "string")
            }
        }
        return map
    }

    package mutating func stringsMap(_ name: String) throws(ConsulRequestFault) -> [String: [String]] {
        guard let value = self.take(name) else { return [:] }
        guard case .object(let members) = value else { throw Self.mismatch(value, name, "map[string][]string") }
        var map: [String: [String]] = [:]
        for member in members { map[member.key] = try Self.strings(member.value, name) }
        return map
    }

    /// Go's text, or whole nanoseconds.
    package mutating func duration(_ name: String) throws(ConsulRequestFault) -> Duration {
        switch self.take(name) {
        case nil: return .zero
        case .string(let text):
            // Consul's clients send "" for "none".
            if text.isEmpty { return .zero }
            do throws(GoDuration.Fault) { return try GoDuration.parse(text) } catch {
                throw ConsulRequestFault(error.message)
            }
        case .number(let text):
            guard let nanoseconds = Double(text), nanoseconds.magnitude < 9.2e18 else {
                throw Self.mismatch(.number(text), name, "time.Duration")
            }
            return .nanoseconds(Int64(nanoseconds))
        case .some(let value): throw Self.mismatch(value, name, "time.Duration")
        }
    }

    package mutating func object(_ name: String, type: String) throws(ConsulRequestFault) -> ConsulRequestObject? {
        guard let value = self.take(name) else { return nil }
        guard case .object = value else { throw Self.mismatch(value, name, type) }
        return try ConsulRequestObject(value, type: type)
    }

    package mutating func objects(_ name: String, type: String) throws(ConsulRequestFault) -> [ConsulRequestObject] {
        guard let value = self.take(name) else { return [] }
        guard case .array(let values) = value else { throw Self.mismatch(value, name, "[]" + type) }
        var objects: [ConsulRequestObject] = []
        for value in values where value != .null {
            guard case .object = value else { throw Self.mismatch(value, name, type) }
            objects.append(try ConsulRequestObject(value, type: type))
        }
        return objects
    }
}
