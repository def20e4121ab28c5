/// A regular expression that takes time in proportion to text times pattern, whatever is in them: the patterns come
/// from outside, and one that tries every way would stop the server.
///
/// Literals, `.`, `[a-z]`, `[^a-z]`, `\d \w \s` and their opposites, `* + ?`, `{n,m}`, `|`, groups, `^` and `$`: the
/// part of Go's RE2 that people write in filters.
struct LinearPattern: Sendable {
    typealias Fault = BooleanExpression.Fault

    enum Step: Sendable {
        case one(CharacterSet)
        case split(Int, Int)
        case jump(Int)
        case atStart
        case atEnd
        case found
    }

    /// Ranges of characters, or all but these.
    struct CharacterSet: Sendable {
        var ranges: [ClosedRange<UInt32>]
        var isNegated = false

        func has(_ scalar: UInt32) -> Bool { self.ranges.contains { $0.contains(scalar) } != self.isNegated }

        static let any = CharacterSet(ranges: [10...10], isNegated: true)
        static func one(_ scalar: UInt32) -> CharacterSet { CharacterSet(ranges: [scalar...scalar]) }
    }

    /// The longest program: what `(a{100}){100}` would become is refused.
    static let maxSteps = 1_024

    private let steps: [Step]

    init(_ text: String) throws(Fault) {
        var compiler = LinearPatternCompiler(text)
        self.steps = try compiler.compile()
    }

    /// Whether the pattern occurs anywhere in `text`.
    ///
    /// - Throws: When to find that out takes more than is left of `work`.
    func isFound(in text: String, _ work: inout FilterWork) throws(Fault) -> Bool {
        try work.take(self.steps.count)
        var current = Threads(count: self.steps.count)
        var next = Threads(count: self.steps.count)
        var isStart = true
        var rest = text.unicodeScalars[...]
        while true {
            // A match may begin at every place.
            if self.follow(0, &current, isStart: isStart, isEnd: rest.isEmpty) { return true }
            guard let scalar = rest.popFirst() else { return false }
            next.clear()
            try work.take(1 + current.list.count)
            for index in current.list {
                guard case .one(let set) = self.steps[index], set.has(scalar.value) else { continue }
                if self.follow(index + 1, &next, isStart: false, isEnd: rest.isEmpty) { return true }
            }
            swap(&current, &next)
            isStart = false
        }
    }

    private struct Threads {
        var list: [Int] = []
        private var isMember: [Bool]

        init(count: Int) { self.isMember = Array(repeating: false, count: count) }

        mutating func insert(_ index: Int) -> Bool {
            guard !self.isMember[index] else { return false }
            self.isMember[index] = true
            self.list.append(index)
            return true
        }

        mutating func clear() {
            for index in self.list { self.isMember[index] = false }
            self.list.removeAll(keepingCapacity: true)
        }
    }

    /// Adds the step and all that can be reached from it without a character; true at the end of the pattern.
    private func follow(_ first: Int, _ threads: inout Threads, isStart: Bool, isEnd: Bool) -> Bool {
        var pending = [first]
        while let index = pending.popLast() {
            guard threads.insert(index) else { continue }
            switch self.steps[index] {
            case .one: break
            case .found: return true
            case .jump(let target): pending.append(target)
            case .split(let first, let second): pending += [second, first]
            case .atStart: if isStart { pending.append(index + 1) }
            case .atEnd: if isEnd { pending.append(index + 1) }
            }
        }
        return false
    }
}

/// From a pattern's text to its steps.
private struct LinearPatternCompiler {
    typealias Fault = BooleanExpression.Fault
    typealias Step = LinearPattern.Step
    typealias CharacterSet = LinearPattern.CharacterSet

    private static let maxDepth = 64

    private var rest: Substring.UnicodeScalarView
    private let text: String

    init(_ text: String) {
        self.text = text
        self.rest = Substring(text).unicodeScalars
    }

    private func fault(_ reason: String) -> Fault {
        Fault(message: "error parsing regexp: \(reason): `\(self.text.prefix(200))`")
    }

    mutating func compile() throws(Fault) -> [Step] {
        let steps = try self.alternatives(depth: 0)
        guard self.rest.isEmpty else { throw self.fault("unexpected )") }
        return steps + [.found]
    }

    // Pieces of a program are relative to their own beginning and are moved when they are put together.
    private static func moved(_ steps: [Step], by offset: Int) -> [Step] {
        steps.map { step in
            switch step {
            case .split(let first, let second): .split(first + offset, second + offset)
            case .jump(let target): .jump(target + offset)
            default: step
            }
        }
    }

    private func checked(_ steps: [Step]) throws(Fault) -> [Step] {
        guard steps.count < LinearPattern.maxSteps else { throw self.fault("expression too large") }
        return steps
    }

    private mutating func alternatives(depth: Int) throws(Fault) -> [Step] {
        guard depth < Self.maxDepth else { throw self.fault("expression nests too deeply") }
        var steps = try self.sequence(depth: depth)
        while self.rest.first == "|" {
            self.rest.removeFirst()
            let other = try self.sequence(depth: depth)
            // split, first, jump over the second, second
            steps =
                [.split(1, steps.count + 2)] + Self.moved(steps, by: 1) + [.jump(steps.count + other.count + 2)]
                + Self.moved(other, by: steps.count + 2)
            steps = try self.checked(steps)
        }
        return steps
    }

    private mutating func sequence(depth: Int) throws(Fault) -> [Step] {
        var steps: [Step] = []
        while let scalar = self.rest.first, scalar != "|", scalar != ")" {
            var piece = try self.atom(depth: depth)
            piece = try self.repeated(piece)
            steps = try self.checked(steps + Self.moved(piece, by: steps.count))
        }
        return steps
    }

    private mutating func atom(depth: Int) throws(Fault) -> [Step] {
        let scalar = self.rest.removeFirst()
        switch scalar {
        case ".": return [.one(.any)]
        case "^": return [.atStart]
        case "$": return [.atEnd]
        case "[": return [.one(try self.set())]
        case "\\": return [.one(try self.escape())]
        case "*", "+", "?": throw self.fault("missing argument to repetition operator")
        case "(":
            if self.rest.first == "?" {
                self.rest.removeFirst()
                guard self.rest.first == ":" else { throw self.fault("invalid or unsupported group") }
                self.rest.removeFirst()
            }
            let steps = try self.alternatives(depth: depth + 1)
            guard self.rest.first == ")" else { throw self.fault("missing closing )") }
            self.rest.removeFirst()
            return steps
        default: return [.one(.one(scalar.value))]
        }
    }

    private mutating func repeated(_ piece: [Step]) throws(Fault) -> [Step] {
        var piece = piece
        while let scalar = self.rest.first {
            switch scalar {
            case "*": piece = Self.anyNumber(piece)
            case "+": piece += Self.moved(Self.anyNumber(piece), by: piece.count)
            case "?": piece = Self.optional(piece)
            case "{":
                guard let (low, high, length) = self.bounds() else { return piece }
                self.rest.removeFirst(length)
                piece = try self.times(piece, low, high)
                continue
            default: return piece
            }
            piece = try self.checked(piece)
            self.rest.removeFirst()
        }
        return piece
    }

    private static func anyNumber(_ piece: [Step]) -> [Step] {
        [.split(1, piece.count + 2)] + self.moved(piece, by: 1) + [.jump(0)]
    }

    private static func optional(_ piece: [Step]) -> [Step] {
        [.split(1, piece.count + 1)] + self.moved(piece, by: 1)
    }

    /// `{2}`, `{2,}`, `{2,5}`; anything else in braces is literal, as in Go.
    private func bounds() -> (low: Int, high: Int?, length: Int)? {
        guard let end = self.rest.prefix(16).firstIndex(of: "}") else { return nil }
        let inside = String(self.rest[self.rest.startIndex..<end].dropFirst())
        let parts = inside.split(separator: ",", omittingEmptySubsequences: false)
        guard let first = parts.first, let low = Int(first), low >= 0, parts.count <= 2 else { return nil }
        let length = inside.unicodeScalars.count + 2
        if parts.count == 1 { return (low, low, length) }
        if parts[1].isEmpty { return (low, nil, length) }
        guard let high = Int(parts[1]), high >= low else { return nil }
        return (low, high, length)
    }

    private func times(_ piece: [Step], _ low: Int, _ high: Int?) throws(Fault) -> [Step] {
        let most = max(low, high ?? 1)
        guard most < LinearPattern.maxSteps, piece.count * most < LinearPattern.maxSteps else {
            throw self.fault("invalid repeat count")
        }
        var steps: [Step] = []
        for _ in 0..<low { steps += Self.moved(piece, by: steps.count) }
        guard let high else { return try self.checked(steps + Self.moved(Self.anyNumber(piece), by: steps.count)) }
        for _ in low..<high { steps += Self.moved(Self.optional(piece), by: steps.count) }
        return try self.checked(steps)
    }

    private static let digits: [ClosedRange<UInt32>] = [48...57]
    private static let letters: [ClosedRange<UInt32>] = [48...57, 65...90, 95...95, 97...122]
    private static let spaces: [ClosedRange<UInt32>] = [9...10, 12...13, 32...32]

    private mutating func escape() throws(Fault) -> CharacterSet {
        guard let scalar = self.rest.popFirst() else { throw self.fault("trailing backslash at end of expression") }
        switch scalar {
        case "d": return CharacterSet(ranges: Self.digits)
        case "D": return CharacterSet(ranges: Self.digits, isNegated: true)
        case "w": return CharacterSet(ranges: Self.letters)
        case "W": return CharacterSet(ranges: Self.letters, isNegated: true)
        case "s": return CharacterSet(ranges: Self.spaces)
        case "S": return CharacterSet(ranges: Self.spaces, isNegated: true)
        case "n": return .one(10)
        case "t": return .one(9)
        case "r": return .one(13)
        case "a"..."z", "A"..."Z", "0"..."9": throw self.fault("invalid escape sequence")
        default: return .one(scalar.value)
        }
    }

    private mutating func set() throws(Fault) -> CharacterSet {
        var set = CharacterSet(ranges: [])
        if self.rest.first == "^" {
            self.rest.removeFirst()
            set.isNegated = true
        }
        var isFirst = true
        while let scalar = self.rest.popFirst() {
            if scalar == "]", !isFirst { return set }
            isFirst = false
            var low = scalar.value
            if scalar == "\\" {
                let escaped = try self.escape()
                guard !escaped.isNegated, escaped.ranges.count == 1, escaped.ranges[0].count == 1 else {
                    guard !escaped.isNegated else { throw self.fault("unsupported class in []") }
                    set.ranges += escaped.ranges
                    continue
                }
                low = escaped.ranges[0].lowerBound
            }
            guard self.rest.first == "-", self.rest.dropFirst().first != "]", self.rest.count > 1 else {
                set.ranges.append(low...low)
                continue
            }
            self.rest.removeFirst()
            let last = self.rest.removeFirst()
            let high = last == "\\" ? try self.escape().ranges.first?.lowerBound ?? low : last.value
            guard low <= high else { throw self.fault("invalid character class range") }
            set.ranges.append(low...high)
        }
        throw self.fault("missing closing ]")
    }
}
