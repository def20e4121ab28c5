/// Names of header fields, looked up for each field of each message: one bit for a name that the gateway knows.
struct FieldNameSet: Sendable {
    private var known: UInt64 = 0
    /// In lower case.
    private var others: [[UInt8]] = []

    init(_ names: some Sequence<String> = [String]()) {
        for name in names { self.insert(name) }
    }

    mutating func insert(_ name: String) {
        let bytes = Array(name.lowercased().utf8)
        let field = KnownField(bytes.span)
        if field == .other {
            if !self.others.contains(bytes) { self.others.append(bytes) }
        } else {
            self.insert(field)
        }
    }

    mutating func insert(_ field: KnownField) { self.known |= 1 &<< UInt64(field.rawValue) }

    mutating func remove(_ name: String) {
        let bytes = Array(name.lowercased().utf8)
        self.others.removeAll { $0 == bytes }
        self.known &= ~(1 &<< UInt64(KnownField(bytes.span).rawValue))
    }

    @inline(__always)
    func contains(_ field: KnownField) -> Bool { self.known & (1 &<< UInt64(field.rawValue)) != 0 }

    @inline(__always)
    func contains(_ field: FieldBlock.Field, in bytes: Span<UInt8>) -> Bool {
        if field.known != .other { return self.contains(field.known) }
        if self.others.isEmpty { return false }
        return self.containsOther(bytes.extracting(field.name.lowerBound..<field.name.upperBound))
    }

    private func containsOther(_ name: Span<UInt8>) -> Bool {
        candidates: for other in self.others where other.count == name.count {
            for index in 0..<name.count {
                var byte = name[index]
                if byte >= 65, byte <= 90 { byte |= 0x20 }
                if byte != other[index] { continue candidates }
            }
            return true
        }
        return false
    }
}
