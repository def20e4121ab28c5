internal import NIOCore

/// The conditions of a location, ready to be held against a request. All must hold.
struct ConditionSet: Sendable {
    private enum Value: Sendable {
        case any
        case whole([UInt8])
        case regex(CompiledRegex)
    }

    private struct FieldCondition: Sendable {
        /// In lower case.
        var name: [UInt8]
        var known: KnownField
        var value: Value
    }

    private var methods: [[[UInt8]]] = []
    private var fields: [FieldCondition] = []

    init(_ conditions: [RouteCondition]) throws(RegexProblem) {
        for condition in conditions {
            switch condition {
            case .methods(let methods): self.methods.append(methods.map { Array($0.utf8) })
            case .header(let name, let value):
                self.add(name, value.map { .whole(Array($0.utf8)) } ?? .any)
            case .headerRegex(let name, let regex):
                self.add(name, .regex(try CompiledRegex(regex)))
            }
        }
    }

    var count: Int { self.methods.count + self.fields.count }

    func hold(for head: RequestHead, scratch: RegexScratch) -> Bool {
        if !self.methods.isEmpty {
            let method = head.block.view(head.methodName)
            for allowed in self.methods where !allowed.contains(where: { $0.elementsEqual(method) }) { return false }
        }
        for field in self.fields where !self.holds(field, in: head.block, scratch: scratch) { return false }
        return true
    }

    /// A field that comes more than once is enough in one of its lines.
    private func holds(_ condition: FieldCondition, in block: FieldBlock, scratch: RegexScratch) -> Bool {
        for field in block.fields where field.known == condition.known {
            if field.known == .other, !Self.isSame(block.view(field.name), condition.name) { continue }
            switch condition.value {
            case .any: return true
            case .whole(let value): if block.view(field.value).elementsEqual(value) { return true }
            case .regex(let regex):
                let start = block.bytes.readerIndex + field.value.lowerBound
                let value = block.bytes.getSlice(at: start, length: Int(field.value.count)) ?? ByteBuffer()
                if regex.matches(value, scratch: scratch) { return true }
            }
        }
        return false
    }

    private mutating func add(_ name: String, _ value: Value) {
        let name = name.utf8.map(\.lowercased)
        self.fields.append(FieldCondition(name: name, known: KnownField(name.span), value: value))
    }

    private static func isSame(_ name: ByteBufferView, _ lowercased: [UInt8]) -> Bool {
        name.count == lowercased.count && zip(name, lowercased).allSatisfy { $0.lowercased == $1 }
    }
}
