/// Turns the tree of directives into the model, and collects what is wrong on the way.
struct NginxReader {
    /// Where relative paths are.
    let folder: String
    /// Variables that some directive defines, wherever it stands: nginx looks them up when everything is read.
    let defined: Set<String>
    /// The upstreams that are written, from their names in lower case.
    let upstreamNames: [String: String]

    var model = GatewayModel()
    var problems: [NginxProblem] = []
    var warnings: [NginxConfiguration.Warning] = []
    var workerConnections: Int?
    var zones: [String: ZoneKind] = [:]
    var zoneUses: [ZoneUse] = []
    var formats: [String: Format] = [:]
    /// Upstreams that a `proxy_pass` with a plain host makes.
    var implicitUpstreams: Set<String> = []
    /// With each server, where it was written and what its listeners say.
    var sockets: [(server: NginxWord, listens: [NginxScope.Listen], hasCertificate: Bool)] = []

    enum ZoneKind { case requests, connections }

    struct ZoneUse {
        var kind: ZoneKind
        var name: NginxWord
    }

    /// A log format may be used only behind its definition.
    struct Format {
        var name: String
        var order: Int
    }

    init(folder: String, tree: [NginxDirective]) {
        self.folder = folder
        var names = NginxDefinitions()
        names.collect(tree)
        self.defined = names.variables
        self.upstreamNames = names.upstreams
        self.formats["combined"] = Format(name: "combined", order: 0)
    }

    // MARK: what happens on every level

    /// Nobody reads more than the first few; a file that is no configuration at all would have one for each word.
    private static let problemLimit = 200

    mutating func report(_ problem: NginxProblem) { self.problems.append(problem) }

    mutating func reportLate(_ message: String, at place: NginxPlace, hint: String? = nil) {
        self.problems.append(NginxProblem(message, at: place, hint: hint, isLate: true))
    }

    mutating func warn(_ message: String, at place: NginxPlace) {
        guard self.warnings.count < NginxConfiguration.warningLimit else { return }
        self.warnings.append(NginxConfiguration.Warning(place: place, message: message))
    }

    /// Reads the directives of a level, and then the blocks in it: what stands behind a block is in force in it too.
    mutating func level(_ directives: [NginxDirective], _ scope: inout NginxScope) -> [LocationModel] {
        var blocks: [(NginxRule.Block, NginxDirective)] = []
        for directive in directives {
            guard self.problems.count < Self.problemLimit else { return [] }
            guard let rule = self.rule(for: directive, in: scope.context) else { continue }
            let isFirst = scope.seen.insert(rule.group ?? rule.name).inserted
            if !isFirst, !rule.repeats {
                self.report(directive.problem("is duplicate"))
                continue
            }
            if isFirst { rule.reset?(&scope) }
            do throws(NginxProblem) {
                switch rule.effect {
                case .ignored(let reason):
                    if let reason { self.warn("\"\(rule.name)\" has no effect: \(reason)", at: directive.name.place) }
                case .read(let read): try read(&self, &scope, directive)
                case .block(.condition): try self.condition(directive, &scope)
                case .block(.types): self.types(directive, &scope)
                case .block(let block): blocks.append((block, directive))
                }
            } catch {
                self.report(error)
            }
        }
        var locations: [LocationModel] = []
        for (block, directive) in blocks {
            do throws(NginxProblem) {
                switch block {
                case .events:
                    var inside = scope.inner(.events)
                    _ = self.level(directive.block ?? [], &inside)
                case .http:
                    var inside = scope.inner(.http)
                    _ = self.level(directive.block ?? [], &inside)
                case .server: self.server(directive, scope)
                case .upstream: self.upstream(directive, scope)
                case .map: try self.map(directive)
                case .location: locations.append(try self.location(directive, scope))
                case .condition, .types: break
                }
            } catch {
                self.report(error)
            }
        }
        self.checkLocations(blocks.map(\.1), locations)
        return locations
    }

    /// The rule of a directive that may stand here and is well formed; otherwise what is wrong has been reported.
    private mutating func rule(for directive: NginxDirective, in context: NginxContexts) -> NginxRule? {
        let name = directive.name
        guard let rules = NginxTable.all.rules[name.text] else {
            self.report(NginxUnsupported.problem(name, in: context))
            return nil
        }
        guard let rule = rules.first(where: { $0.contexts.contains(context) }) else {
            let elsewhere = rules.reduce(NginxContexts()) { $0.union($1.contexts) }
            self.report(
                directive.problem(
                    "is not allowed here",
                    hint: "this is \(context.text); it belongs in \(elsewhere.text)"
                )
            )
            return nil
        }
        if !rule.isBlock, directive.block != nil {
            self.report(
                NginxProblem("directive \"\(name.text)\" is not terminated by \";\"", at: name.place)
            )
            return nil
        }
        if rule.isBlock, directive.block == nil {
            self.report(NginxProblem("directive \"\(name.text)\" has no opening \"{\"", at: name.place))
            return nil
        }
        guard rule.arguments.contains(directive.arguments.count) else {
            let bounds = rule.arguments
            let expected =
                bounds.lowerBound == bounds.upperBound
                ? "\(bounds.lowerBound)"
                : bounds.upperBound == Int.max
                    ? "at least \(bounds.lowerBound)"
                    : "\(bounds.lowerBound) to \(bounds.upperBound)"
            self.report(
                NginxProblem(
                    "invalid number of arguments in \"\(name.text)\" directive",
                    at: name.place,
                    hint: "it takes \(expected), here are \(directive.arguments.count)"
                )
            )
            return nil
        }
        return rule
    }

    // MARK: texts

    mutating func template(_ word: NginxWord) throws(NginxProblem) -> Template {
        var parts: [Template.Part] = []
        for piece in try NginxVariables.pieces(word) {
            switch piece {
            case .text(let bytes): parts.append(.text(bytes))
            case .capture(let number): parts.append(.variable(.capture(number)))
            case .name(let name): parts.append(.variable(self.variable(name, in: word)))
            }
        }
        return Template(parts: parts)
    }

    /// A name that nobody defines is reported; reading goes on with it.
    mutating func variable(_ name: String, in word: NginxWord) -> Variable {
        if self.defined.contains(name), !NginxVariables.isFixed(name), name != "args" { return .named(name) }
        if let variable = NginxVariables.variable(name) { return variable }
        if NginxVariables.isUnsupported(name) {
            self.report(
                NginxProblem(
                    "the variable \"\(name)\" is not supported",
                    at: word.place,
                    hint: self.nearestVariable(name)
                )
            )
        } else {
            self.reportLate("unknown \"\(name)\" variable", at: word.place, hint: self.nearestVariable(name))
        }
        return .named(name)
    }

    private func nearestVariable(_ name: String) -> String? {
        NginxUnsupported.nearest(to: name, among: Array(NginxVariables.names.keys) + self.defined)
            .map { "did you mean \"$\($0)\"?" }
    }

    /// A `$name` that a directive defines.
    func definedName(_ word: NginxWord) throws(NginxProblem) -> String {
        guard word.bytes.first == 0x24 else {
            throw NginxProblem(
                "invalid variable name \"\(word.text)\"",
                at: word.place,
                hint: "it begins with a \"$\""
            )
        }
        let name = word.dropping(1).text.lowercased()
        guard !name.isEmpty else { throw NginxProblem("invalid variable name \"$\"", at: word.place) }
        guard !NginxVariables.isFixed(name) else {
            throw NginxProblem("the duplicate \"\(name)\" variable", at: word.place, hint: "it has a meaning already")
        }
        return name
    }

    /// A file; variables cannot be part of its name.
    func path(_ word: NginxWord) throws(NginxProblem) -> String {
        guard !word.bytes.contains(0x24) else {
            throw NginxProblem("variables in the name of a file are not supported", at: word.place)
        }
        return nginxPath(word.text, in: self.folder)
    }

    func regex(_ word: NginxWord, ignoresCase: Bool = false) -> RegexModel {
        RegexModel(pattern: word.text, ignoresCase: ignoresCase)
    }

    /// `~…` and `~*…`
    func tildeRegex(_ word: NginxWord) -> RegexModel? {
        guard word.bytes.first == 0x7E else { return nil }
        let rest = word.dropping(1)
        return rest.bytes.first == 0x2A ? self.regex(rest.dropping(1), ignoresCase: true) : self.regex(rest)
    }
}

/// The names that a configuration defines, gathered before it is read, because they hold before their definition too.
struct NginxDefinitions {
    private(set) var variables: Set<String> = []
    private(set) var upstreams: [String: String] = [:]

    mutating func collect(_ directives: [NginxDirective]) {
        for directive in directives {
            switch directive.name.text {
            case "set": self.define(directive.argument(0))
            case "geo", "map", "split_clients":
                // What stands before it is where the value comes from.
                if let word = directive.arguments.last { self.define(word) }
            case "perl_set", "auth_request_set", "js_set", "js_var":
                self.define(directive.argument(0))
            case "location", "server_name", "rewrite", "if":
                for word in directive.arguments { self.variables.formUnion(NginxVariables.captures(of: word.bytes)) }
            case "upstream":
                let name = directive.argument(0).text
                if self.upstreams[name.lowercased()] == nil { self.upstreams[name.lowercased()] = name }
            default: break
            }
            guard let block = directive.block else { continue }
            if directive.name.text == "map" {
                for entry in block { self.variables.formUnion(NginxVariables.captures(of: entry.name.bytes)) }
            } else {
                self.collect(block)
            }
        }
    }

    private mutating func define(_ word: NginxWord) {
        guard word.bytes.first == 0x24, word.bytes.dropFirst().allSatisfy(NginxVariables.isNamePart) else { return }
        self.variables.insert(word.dropping(1).text.lowercased())
    }
}
