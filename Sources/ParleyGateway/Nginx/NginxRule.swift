/// Where a directive may stand.
struct NginxContexts: OptionSet, Sendable {
    var rawValue: UInt16

    static let main = NginxContexts(rawValue: 1)
    static let events = NginxContexts(rawValue: 2)
    static let http = NginxContexts(rawValue: 4)
    static let upstream = NginxContexts(rawValue: 8)
    static let server = NginxContexts(rawValue: 16)
    static let location = NginxContexts(rawValue: 32)
    static let serverIf = NginxContexts(rawValue: 64)
    static let locationIf = NginxContexts(rawValue: 128)

    static let everyLevel: NginxContexts = [.http, .server, .location]
    static let httpAndServer: NginxContexts = [.http, .server]
    static let rewriting: NginxContexts = [.server, .location, .serverIf, .locationIf]

    /// What the block is called in messages.
    var text: String {
        let names: [(NginxContexts, String)] = [
            (.main, "outside of every block"), (.events, "events"), (.http, "http"), (.upstream, "upstream"),
            (.server, "server"), (.location, "location"), (.serverIf, "if in server"), (.locationIf, "if in location"),
        ]
        return names.filter { self.contains($0.0) }.map(\.1).joined(separator: ", ")
    }
}

/// A directive: where it may stand, how many arguments it takes, and what reading it does.
struct NginxRule: Sendable {
    typealias Reading =
        @Sendable (inout NginxReader, inout NginxScope, NginxDirective) throws(NginxProblem) -> Void

    enum Block: Sendable { case events, http, server, location, upstream, map, types, condition }

    enum Effect: Sendable {
        case read(Reading)
        case block(Block)
        /// Accepted, and without a meaning here. The text says why, where somebody may rely on it.
        case ignored(String?)
    }

    var name: String
    var contexts: NginxContexts
    var arguments: ClosedRange<Int>
    /// Whether it may stand more than once on a level.
    var repeats = false
    /// Directives of one group fill one list, which a level inherits only if it has none of them itself.
    var group: String?
    /// Empties that list.
    var reset: (@Sendable (inout NginxScope) -> Void)?
    var effect: Effect

    var isBlock: Bool {
        if case .block = self.effect { return true }
        return false
    }
}

/// All directives that the gateway knows.
struct NginxTable: Sendable {
    private(set) var rules: [String: [NginxRule]] = [:]

    static let all: NginxTable = {
        var table = NginxTable()
        table.addStructure()
        table.addConnection()
        table.addLocation()
        table.addLimits()
        table.addLogs()
        table.addProxy()
        table.addTLS()
        table.addUpstream()
        table.addRewrite()
        table.addIgnored()
        return table
    }()

    mutating func add(_ rule: NginxRule) { self.rules[rule.name, default: []].append(rule) }

    mutating func add(
        _ name: String,
        _ contexts: NginxContexts,
        _ arguments: ClosedRange<Int>,
        repeats: Bool = false,
        _ reading: @escaping NginxRule.Reading
    ) {
        self.add(
            NginxRule(name: name, contexts: contexts, arguments: arguments, repeats: repeats, effect: .read(reading))
        )
    }

    /// A directive that adds to a list. The list of the level around is in force only where none stands.
    mutating func list(
        _ name: String,
        _ contexts: NginxContexts,
        _ arguments: ClosedRange<Int>,
        group: String? = nil,
        reset: @escaping @Sendable (inout NginxScope) -> Void,
        _ reading: @escaping NginxRule.Reading
    ) {
        self.add(
            NginxRule(
                name: name,
                contexts: contexts,
                arguments: arguments,
                repeats: true,
                group: group ?? name,
                reset: reset,
                effect: .read(reading)
            )
        )
    }

    mutating func block(
        _ name: String,
        _ contexts: NginxContexts,
        _ arguments: ClosedRange<Int>,
        _ block: NginxRule.Block
    ) {
        let repeats = block != .events && block != .http
        self.add(
            NginxRule(name: name, contexts: contexts, arguments: arguments, repeats: repeats, effect: .block(block))
        )
    }

    // MARK: one value

    mutating func flag(
        _ name: String,
        _ contexts: NginxContexts,
        _ set: @escaping @Sendable (inout NginxScope, Bool) -> Void
    ) {
        self.add(name, contexts, 1...1) { (_, scope, directive) throws(NginxProblem) in
            set(&scope, try directive.flag())
        }
    }

    mutating func milliseconds(
        _ name: String,
        _ contexts: NginxContexts,
        _ set: @escaping @Sendable (inout NginxScope, Int) -> Void
    ) {
        self.add(name, contexts, 1...1) { (_, scope, directive) throws(NginxProblem) in
            set(&scope, try directive.milliseconds())
        }
    }

    mutating func size(
        _ name: String,
        _ contexts: NginxContexts,
        _ set: @escaping @Sendable (inout NginxScope, Int) -> Void
    ) {
        self.add(name, contexts, 1...1) { (_, scope, directive) throws(NginxProblem) in
            set(&scope, try directive.size())
        }
    }

    mutating func number(
        _ name: String,
        _ contexts: NginxContexts,
        in range: ClosedRange<Int>? = nil,
        _ set: @escaping @Sendable (inout NginxScope, Int) -> Void
    ) {
        self.add(name, contexts, 1...1) { (_, scope, directive) throws(NginxProblem) in
            set(&scope, try directive.number(in: range))
        }
    }

    /// One of some words, in any case.
    mutating func choice<Value: Sendable>(
        _ name: String,
        _ contexts: NginxContexts,
        _ values: [String: Value],
        _ set: @escaping @Sendable (inout NginxScope, Value) -> Void
    ) {
        self.add(name, contexts, 1...1) { (_, scope, directive) throws(NginxProblem) in
            set(&scope, try directive.choice(values))
        }
    }

    mutating func text(
        _ name: String,
        _ contexts: NginxContexts,
        _ set: @escaping @Sendable (inout NginxScope, String) -> Void
    ) {
        self.add(name, contexts, 1...1) { (_, scope, directive) in set(&scope, directive.argument(0).text) }
    }

    /// A file; relative names are in the folder of the main file.
    mutating func path(
        _ name: String,
        _ contexts: NginxContexts,
        _ set: @escaping @Sendable (inout NginxScope, String) -> Void
    ) {
        self.add(name, contexts, 1...1) { (reader, scope, directive) throws(NginxProblem) in
            set(&scope, try reader.path(directive.argument(0)))
        }
    }

    /// A directive of which only the values that change nothing are supported.
    mutating func only(_ values: [String], _ name: String, _ contexts: NginxContexts, hint: String) {
        self.add(name, contexts, 1...8) { (_, _, directive) throws(NginxProblem) in
            guard directive.arguments.count == 1, values.contains(directive.argument(0).text) else {
                let list = values.map { "\"\($0)\"" }.joined(separator: ", ")
                throw NginxProblem(
                    "\"\(name)\" directive is supported only as \(list)",
                    at: directive.name.place,
                    hint: hint
                )
            }
        }
    }

    mutating func ignore(
        _ names: String,
        _ contexts: NginxContexts,
        _ arguments: ClosedRange<Int> = 1...1,
        because reason: String? = nil
    ) {
        for name in names.split(separator: " ").map(String.init) {
            self.add(
                NginxRule(
                    name: name,
                    contexts: contexts,
                    arguments: arguments,
                    repeats: arguments != 1...1,
                    effect: .ignored(reason)
                )
            )
        }
    }
}

extension NginxDirective {
    func invalid(_ word: NginxWord) -> NginxProblem { NginxProblem("invalid value \"\(word.text)\"", at: word.place) }

    func invalidParameter(_ word: NginxWord, hint: String? = nil) -> NginxProblem {
        NginxProblem("invalid parameter \"\(word.text)\"", at: word.place, hint: hint)
    }

    /// `"name" directive …`
    func problem(_ what: String, hint: String? = nil) -> NginxProblem {
        NginxProblem("\"\(self.name.text)\" directive \(what)", at: self.name.place, hint: hint)
    }

    func flag() throws(NginxProblem) -> Bool {
        switch self.argument(0).text.lowercased() {
        case "on": return true
        case "off": return false
        default:
            throw NginxProblem(
                "invalid value \"\(self.argument(0).text)\" in \"\(self.name.text)\" directive, "
                    + "it must be \"on\" or \"off\"",
                at: self.argument(0).place
            )
        }
    }

    func milliseconds(_ index: Int = 0) throws(NginxProblem) -> Int {
        guard let value = NginxValue.milliseconds(self.argument(index).bytes) else {
            throw NginxProblem(
                "\"\(self.name.text)\" directive invalid value",
                at: self.argument(index).place,
                hint: "a time is a number with ms, s, m, h, d or w: 500ms, 1m30s"
            )
        }
        return min(value, NginxValue.longestTime)
    }

    func size(_ index: Int = 0, allowsGiga: Bool = false) throws(NginxProblem) -> Int {
        guard let value = NginxValue.size(self.argument(index).bytes, allowsGiga: allowsGiga) else {
            throw NginxProblem(
                "\"\(self.name.text)\" directive invalid value",
                at: self.argument(index).place,
                hint: "a size is a number with k or m\(allowsGiga ? " or g" : ""): 8k"
            )
        }
        guard allowsGiga || value <= NginxValue.largestBuffer else {
            throw self.problem("invalid value", hint: "at most \(NginxValue.largestBuffer) bytes")
        }
        return value
    }

    func number(_ index: Int = 0, in range: ClosedRange<Int>? = nil) throws(NginxProblem) -> Int {
        let word = self.argument(index)
        guard let value = NginxValue.number(word.bytes) else {
            throw NginxProblem("\"\(self.name.text)\" directive invalid number", at: word.place)
        }
        if let range, !range.contains(value) {
            throw NginxProblem(
                "\"\(self.name.text)\" directive value must be between \(range.lowerBound) and \(range.upperBound)",
                at: word.place
            )
        }
        return value
    }

    func choice<Value>(_ values: [String: Value]) throws(NginxProblem) -> Value {
        let word = self.argument(0)
        guard let value = values[word.text.lowercased()] else {
            throw NginxProblem(
                "invalid value \"\(word.text)\"",
                at: word.place,
                hint: "one of \(values.keys.sorted().joined(separator: ", "))"
            )
        }
        return value
    }
}
