/// Reads a filter by recursive descent, no deeper than ``maxDepth``.
struct BooleanExpressionParser {
    typealias Fault = BooleanExpression.Fault
    typealias Node = BooleanExpression.Node

    static let maxDepth = 64
    /// Operators in one filter: an evaluation goes through all of them for each entry.
    static let maxOperators = 1_024

    private enum Token: Equatable {
        /// Bare: a selector, a value, or one of the language's own words.
        case word(String)
        case quoted(String)
        case symbol(String)
        case end
    }

    private let bytes: [UInt8]
    private var position = 0
    private var token = Token.end
    private var tokenStart = 0
    private var operators = 0

    init(_ text: String) throws(Fault) {
        self.bytes = Array(text.utf8)
        try self.advance()
    }

    mutating func whole() throws(Fault) -> Node {
        let node = try self.or(depth: 0)
        guard self.token == .end else { throw self.expected("\"and\", \"or\" or the end") }
        return node
    }

    private func expected(_ what: String) -> Fault {
        let line = self.bytes[..<self.tokenStart].reduce(1) { $0 + ($1 == 10 ? 1 : 0) }
        let lineStart = self.bytes[..<self.tokenStart].lastIndex(of: 10).map { $0 + 1 } ?? 0
        let column = self.tokenStart - lineStart + 1
        return Fault(message: "\(line):\(column) (\(self.tokenStart)): no match found, expected: \(what)")
    }

    // MARK: Words

    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 48...57, 65...90, 97...122, UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "/"),
            UInt8(ascii: ":"), 128...:
            true
        default: false
        }
    }

    private mutating func advance() throws(Fault) {
        while self.position < self.bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(self.bytes[self.position]) {
            self.position += 1
        }
        self.tokenStart = self.position
        guard self.position < self.bytes.count else {
            self.token = .end
            return
        }
        let byte = self.bytes[self.position]
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "`"): self.token = .quoted(try self.quoted(byte))
        case UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "["), UInt8(ascii: "]"):
            self.position += 1
            self.token = .symbol(String(Character(UnicodeScalar(byte))))
        case UInt8(ascii: "="), UInt8(ascii: "!"):
            guard self.bytes[self.position...].dropFirst().first == UInt8(ascii: "=") else {
                throw self.expected("\"==\" or \"!=\"")
            }
            self.position += 2
            self.token = .symbol(byte == UInt8(ascii: "=") ? "==" : "!=")
        case _ where Self.isWordByte(byte):
            let word = self.bytes[self.position...].prefix(while: Self.isWordByte)
            self.position += word.count
            self.token = .word(String(decoding: word, as: UTF8.self))
        default: throw self.expected("a selector, a value or an operator")
        }
    }

    private mutating func quoted(_ quote: UInt8) throws(Fault) -> String {
        self.position += 1
        var text: [UInt8] = []
        while self.position < self.bytes.count {
            var byte = self.bytes[self.position]
            self.position += 1
            if byte == quote { return String(decoding: text, as: UTF8.self) }
            if byte == UInt8(ascii: "\\"), quote == UInt8(ascii: "\""), self.position < self.bytes.count {
                byte = self.bytes[self.position]
                self.position += 1
                let known: [UInt8: UInt8] = [110: 10, 116: 9, 114: 13]
                // In Go an unknown escape is an error; in a pattern it is what the writer meant.
                if let plain = known[byte] {
                    byte = plain
                } else if byte != quote, byte != UInt8(ascii: "\\") {
                    text.append(UInt8(ascii: "\\"))
                }
            }
            text.append(byte)
        }
        throw Fault(message: "\(1):\(self.tokenStart + 1) (\(self.tokenStart)): Unterminated string literal")
    }

    private mutating func take(word: String) throws(Fault) -> Bool {
        guard self.token == .word(word) else { return false }
        try self.advance()
        return true
    }

    private mutating func take(symbol: String) throws(Fault) -> Bool {
        guard self.token == .symbol(symbol) else { return false }
        try self.advance()
        return true
    }

    // MARK: Expressions

    private mutating func count() throws(Fault) {
        self.operators += 1
        guard self.operators <= Self.maxOperators else {
            throw Fault(message: "more than \(Self.maxOperators) operators")
        }
    }

    private mutating func or(depth: Int) throws(Fault) -> Node {
        var node = try self.and(depth: depth)
        var terms = 0
        while try self.take(word: "or") {
            try self.count()
            terms += 1
            // Each term of a chain is one level for those who evaluate it.
            guard terms + depth < Self.maxDepth else { throw self.tooDeep() }
            node = .or(node, try self.and(depth: depth))
        }
        return node
    }

    private mutating func and(depth: Int) throws(Fault) -> Node {
        var node = try self.not(depth: depth)
        var terms = 0
        while try self.take(word: "and") {
            try self.count()
            terms += 1
            guard terms + depth < Self.maxDepth else { throw self.tooDeep() }
            node = .and(node, try self.not(depth: depth))
        }
        return node
    }

    private func tooDeep() -> Fault { Fault(message: "nested deeper than \(Self.maxDepth)") }

    private mutating func not(depth: Int) throws(Fault) -> Node {
        guard depth < Self.maxDepth else { throw self.tooDeep() }
        if try self.take(word: "not") {
            try self.count()
            return .not(try self.not(depth: depth + 1))
        }
        if try self.take(symbol: "(") {
            let node = try self.or(depth: depth + 1)
            guard try self.take(symbol: ")") else { throw self.expected("\")\"") }
            return node
        }
        return try self.match()
    }

    private mutating func match() throws(Fault) -> Node {
        try self.count()
        switch self.token {
        case .quoted(let text):
            try self.advance()
            return try self.membership(of: text)
        case .word(let text):
            try self.advance()
            var path = text.split(separator: ".").map(String.init)
            guard !path.isEmpty else { throw self.expected("a selector") }
            while try self.take(symbol: "[") {
                path.append(try self.value())
                guard try self.take(symbol: "]") else { throw self.expected("\"]\"") }
                if case .word(let rest) = self.token, rest.hasPrefix(".") {
                    try self.advance()
                    path += rest.split(separator: ".").map(String.init)
                }
            }
            return try self.comparison(of: path, bare: text)
        case .symbol, .end: throw self.expected("\"(\", \"not\", a selector or a value")
        }
    }

    private mutating func membership(of text: String) throws(Fault) -> Node {
        let isNegated = try self.take(word: "not")
        guard try self.take(word: "in") else { throw self.expected("\"in\" or \"not in\"") }
        let node = Node.contains(try self.selector(), text)
        return isNegated ? .not(node) : node
    }

    private mutating func selector() throws(Fault) -> [String] {
        guard case .word(let text) = self.token else { throw self.expected("a selector") }
        try self.advance()
        var path = text.split(separator: ".").map(String.init)
        while try self.take(symbol: "[") {
            path.append(try self.value())
            guard try self.take(symbol: "]") else { throw self.expected("\"]\"") }
        }
        guard !path.isEmpty else { throw self.expected("a selector") }
        return path
    }

    private mutating func value() throws(Fault) -> String {
        switch self.token {
        case .word(let text), .quoted(let text):
            try self.advance()
            return text
        case .symbol, .end: throw self.expected("a value")
        }
    }

    private mutating func comparison(of path: [String], bare: String) throws(Fault) -> Node {
        if try self.take(symbol: "==") { return .equal(path, try self.value()) }
        if try self.take(symbol: "!=") { return .not(.equal(path, try self.value())) }
        if try self.take(word: "is") {
            let isNegated = try self.take(word: "not")
            guard try self.take(word: "empty") else { throw self.expected("\"empty\" or \"not empty\"") }
            return isNegated ? .not(.isEmpty(path)) : .isEmpty(path)
        }
        if self.token == .word("in") { return try self.membership(of: bare) }
        let isNegated = try self.take(word: "not")
        let node: Node
        if isNegated, self.token == .word("in") {
            node = try self.membership(of: bare)
        } else if try self.take(word: "contains") {
            node = .contains(path, try self.value())
        } else if try self.take(word: "matches") {
            node = .matches(path, try LinearPattern(self.value()))
        } else {
            throw self.expected("\"!=\", \"==\", \"contains\", \"in\", \"is\", \"matches\" or \"not\"")
        }
        return isNegated ? .not(node) : node
    }
}
