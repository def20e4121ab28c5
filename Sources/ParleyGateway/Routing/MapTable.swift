package import NIOCore

/// A `map`, ready for the search: exact texts without regard to case, host names with a star, then the regular
/// expressions in their order.
package struct MapTable: Sendable {
    package let source: Template
    package let fallback: Template
    private let matchesHosts: Bool
    private var values: [Template] = []
    private var exact: ByteTable
    private var wildcards: HostWildcards
    private var regexes: [(regex: CompiledRegex, value: Int)] = []

    package init(_ model: MapModel) throws(RegexProblem) {
        self.source = model.source
        self.fallback = model.fallback
        self.matchesHosts = model.matchesHosts
        var exact: [(key: [UInt8], value: Int)] = []
        var suffixes: [(key: [UInt8], value: Int)] = []
        var prefixes: [(key: [UInt8], value: Int)] = []
        for (value, entry) in model.entries.enumerated() {
            self.values.append(entry.value)
            switch entry.key {
            case .exact(let text): exact.append((Array(text.utf8), value))
            case .regex(let regex): self.regexes.append((try CompiledRegex(regex), value))
            case .wildcard(let text):
                let bytes = Array(text.utf8)
                if bytes.first == 0x2A {
                    suffixes.append((Array(bytes.dropFirst()), value))
                } else if bytes.last == 0x2A {
                    prefixes.append((Array(bytes.dropLast()), value))
                } else if bytes.first == 0x2E {
                    exact.append((Array(bytes.dropFirst()), value))
                    suffixes.append((bytes, value))
                } else {
                    exact.append((bytes, value))
                }
            }
        }
        self.exact = ByteTable(exact)
        self.wildcards = HostWildcards(suffixes: suffixes, prefixes: prefixes)
    }

    /// What the map says for a value of ``source``.
    /// - Parameter variables: Takes the groups of a regular expression that matched.
    package func find(_ value: ByteBuffer, scratch: RegexScratch, variables: inout RequestVariables) -> Template {
        var text = value
        if self.matchesHosts, text.readableBytesView.last == 0x2E {
            text = text.getSlice(at: text.readerIndex, length: text.readableBytes - 1) ?? text
        }
        let bytes = text.readableBytesUInt8Span
        if let value = self.exact.find(bytes) { return self.values[value] }
        guard bytes.count > 0 else { return self.fallback }
        if let value = self.wildcards.find(bytes) { return self.values[value] }
        for (regex, value) in self.regexes where regex.matches(text, scratch: scratch, variables: &variables) {
            return self.values[value]
        }
        return self.fallback
    }
}
