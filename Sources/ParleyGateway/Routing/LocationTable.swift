package import NIOCore

/// A location that cannot be used: found when a configuration is compiled.
package enum LocationProblem: Error, Sendable, Hashable, CustomStringConvertible {
    case duplicate(String)
    case regex(RegexProblem, location: String)

    package var description: String {
        switch self {
        case .duplicate(let name):
            "The location \"\(name)\" is there twice with the same conditions, so that the second is never reached. "
                + "Remove one of them."
        case .regex(let problem, let location): "In the location \"\(location)\": \(problem)"
        }
    }
}

/// The locations of one server, ready for the search, with those inside others.
///
/// The search is nginx's: exact, then the longest prefix; then, unless that one is final (`^~`), the regular
/// expressions in their order; the same again inside the one that was found. Beyond nginx's language, a location may be
/// meant by whole segments, and may have conditions: where they do not hold it is as if it were not there. Of several
/// with the same path, the one with the most conditions is asked first.
package struct LocationTable: Sendable {
    package struct Found: Sendable, Hashable {
        /// Among ``LocationTable/locations``.
        package var index: Int
        /// The path lacks the last slash of the location: the client is sent to
        /// ``LocationTable/slashRedirect(to:args:)``.
        package var lacksSlash: Bool
    }

    /// All of them: each is followed by those inside it.
    package private(set) var locations: [LocationModel] = []
    /// The level of the server itself is the first.
    private var levels: [LocationLevel] = []
    /// The level inside each location, or -1.
    private var inner: [Int] = []
    private var conditions: [ConditionSet?] = []
    private var isFinal: [Bool] = []
    private var named: [(name: [UInt8], index: Int)] = []

    package init(_ models: [LocationModel]) throws(LocationProblem) {
        _ = try self.add(models)
    }

    /// - Parameters:
    ///   - head: What conditions are held against.
    ///   - variables: Takes the groups of a regular expression that matched.
    /// - Returns: `nil` when nothing is there for this path.
    package func find(
        _ path: ByteBuffer,
        head: RequestHead,
        scratch: RegexScratch,
        variables: inout RequestVariables
    ) -> Found? {
        var current: Int?
        let outcome = self.find(path, level: 0, head: head, scratch: scratch, variables: &variables, current: &current)
        return current.map { Found(index: $0, lacksSlash: outcome == .lacksSlash) }
    }

    /// `@name`, without the sign.
    package func named(_ name: some Collection<UInt8>) -> Int? {
        self.named.first { $0.name.elementsEqual(name) }?.index
    }

    /// Where a client goes that left out the last slash of a location.
    package func slashRedirect(to index: Int, args: ByteBuffer) -> ByteBuffer {
        var location = ByteBuffer()
        switch self.locations[index].match {
        case .exact(let path), .prefix(let path, _):
            EscapeTable.uri.write(ByteBuffer(string: path).readableBytesView, into: &location)
        case .segments, .regex, .named: break
        }
        if args.readableBytes > 0 {
            location.writeInteger(0x3F as UInt8)
            location.writeImmutableBuffer(args)
        }
        return location
    }
}

// MARK: - The search

extension LocationTable {
    private enum Outcome {
        case nothing, prefix, exact, lacksSlash
    }

    /// - Parameter current: The best so far; stays when nothing better is found further inside.
    private func find(
        _ path: ByteBuffer,
        level number: Int,
        head: RequestHead,
        scratch: RegexScratch,
        variables: inout RequestVariables,
        current: inout Int?
    ) -> Outcome {
        var outcome = self.findPath(path, level: number, head: head, scratch: scratch, current: &current)
        var triesRegexes = true
        if outcome == .prefix, let index = current {
            triesRegexes = !self.isFinal[index]
            let inner = self.inner[index]
            if inner >= 0 {
                let inside = self.find(
                    path,
                    level: inner,
                    head: head,
                    scratch: scratch,
                    variables: &variables,
                    current: &current
                )
                if inside != .nothing { outcome = inside }
            }
        }
        guard triesRegexes, outcome == .nothing || outcome == .prefix else { return outcome }
        for (regex, index) in self.levels[number].regexes where self.conditionsHold(index, head, scratch) {
            guard regex.matches(path, scratch: scratch, variables: &variables) else { continue }
            current = index
            let inner = self.inner[index]
            if inner >= 0 {
                _ = self.find(
                    path,
                    level: inner,
                    head: head,
                    scratch: scratch,
                    variables: &variables,
                    current: &current
                )
            }
            return .exact
        }
        return outcome
    }

    private func findPath(
        _ text: ByteBuffer,
        level number: Int,
        head: RequestHead,
        scratch: RegexScratch,
        current: inout Int?
    ) -> Outcome {
        let path = text.readableBytesUInt8Span
        let found = self.levels[number].tree.search(path)
        if found.isWhole, let whole = found.longest {
            for index in self.levels[number].exact[whole] where self.conditionsHold(index, head, scratch) {
                current = index
                return .exact
            }
            for prefix in self.levels[number].prefixes[whole] where self.conditionsHold(prefix.index, head, scratch) {
                current = prefix.index
                return .prefix
            }
        }
        if let slashed = found.withSlash {
            for index in self.levels[number].redirects[slashed] where self.conditionsHold(index, head, scratch) {
                current = index
                return .lacksSlash
            }
        }
        var longest = found.longest
        while let place = longest {
            // By whole segments: behind the location's path the next one begins.
            let end = self.levels[number].lengths[place]
            let isAtBoundary = end >= path.count || path[end] == 0x2F || (end > 0 && path[end - 1] == 0x2F)
            for prefix in self.levels[number].prefixes[place] {
                guard isAtBoundary || !prefix.isSegments, self.conditionsHold(prefix.index, head, scratch) else {
                    continue
                }
                current = prefix.index
                return .prefix
            }
            longest = self.levels[number].tree.shorter(than: place)
        }
        return .nothing
    }

    private func conditionsHold(_ index: Int, _ head: RequestHead, _ scratch: RegexScratch) -> Bool {
        guard let conditions = self.conditions[index] else { return true }
        return conditions.hold(for: head, scratch: scratch)
    }
}

// MARK: - Compiling

/// The locations of a server, or those directly inside one location.
private struct LocationLevel: Sendable {
    struct Prefix: Sendable {
        var index: Int
        var isSegments: Bool
    }

    var tree = PathTree([])
    /// By the places of the tree's paths.
    var lengths: [Int] = []
    var exact: [[Int]] = []
    var prefixes: [[Prefix]] = []
    /// Where a path that lacks only the last slash is sent.
    var redirects: [[Int]] = []
    var regexes: [(regex: CompiledRegex, index: Int)] = []
}

extension LocationTable {
    private mutating func add(_ models: [LocationModel]) throws(LocationProblem) -> Int {
        let number = self.levels.count
        self.levels.append(LocationLevel())
        var level = LocationLevel()
        var byPath: [[UInt8]: [Int]] = [:]
        for model in models {
            let index = self.locations.count
            self.locations.append(model)
            self.inner.append(-1)
            var isFinal = false
            switch model.match {
            case .exact(let path), .segments(let path): byPath[Array(path.utf8), default: []].append(index)
            case .prefix(let path, let final):
                byPath[Array(path.utf8), default: []].append(index)
                isFinal = final
            case .regex(let regex):
                let compiled = try Self.located(model) { () throws(RegexProblem) in try CompiledRegex(regex) }
                level.regexes.append((compiled, index))
            case .named(let name):
                let name = Array(name.utf8)
                if self.named(name) != nil { throw .duplicate(model.name) }
                self.named.append((name, index))
            }
            self.isFinal.append(isFinal)
            let conditions = try Self.located(model) { () throws(RegexProblem) in try ConditionSet(model.conditions) }
            self.conditions.append(model.conditions.isEmpty ? nil : conditions)
            if !model.locations.isEmpty { self.inner[index] = try self.add(model.locations) }
        }
        let paths = byPath.keys.sorted { $0.lexicographicallyPrecedes($1) }
        level.tree = PathTree(paths)
        level.lengths = paths.map(\.count)
        for path in paths { try self.add(byPath[path] ?? [], at: path, to: &level) }
        self.levels[number] = level
        return number
    }

    /// The locations of one path, in the order in which they are asked.
    private func add(_ indices: [Int], at path: [UInt8], to level: inout LocationLevel) throws(LocationProblem) {
        // What is more particular comes first; what is equally so, in the order of the file.
        let order = indices.sorted { one, other in
            let counts = (self.conditions[one]?.count ?? 0, self.conditions[other]?.count ?? 0)
            return counts.0 == counts.1 ? one < other : counts.0 > counts.1
        }
        var exact: [Int] = []
        var prefixes: [LocationLevel.Prefix] = []
        for (offset, index) in order.enumerated() {
            let model = self.locations[index]
            for earlier in order[..<offset] where Self.isSame(self.locations[earlier], model) {
                throw .duplicate(model.name)
            }
            switch model.match {
            case .exact: exact.append(index)
            case .segments: prefixes.append(.init(index: index, isSegments: true))
            case .prefix, .regex, .named: prefixes.append(.init(index: index, isSegments: false))
            }
        }
        let slashed = exact + prefixes.lazy.filter { !$0.isSegments }.map(\.index)
        let isProxied = slashed.contains { if case .proxy = self.locations[$0].action { true } else { false } }
        level.exact.append(exact)
        level.prefixes.append(prefixes)
        level.redirects.append(path.last == 0x2F && isProxied ? slashed : [])
    }

    private static func located<Result>(
        _ model: LocationModel,
        _ body: () throws(RegexProblem) -> Result
    ) throws(LocationProblem) -> Result {
        do { return try body() } catch { throw .regex(error, location: model.name) }
    }

    private static func isSame(_ one: LocationModel, _ other: LocationModel) -> Bool {
        guard one.conditions == other.conditions else { return false }
        switch (one.match, other.match) {
        case (.exact, .exact), (.prefix, .prefix), (.segments, .segments): return true
        default: return false
        }
    }
}
