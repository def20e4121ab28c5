extension NginxTable {
    mutating func addRewrite() {
        let contexts = NginxContexts.rewriting
        self.add("set", contexts, 2...2, repeats: true) { (reader, scope, directive) throws(NginxProblem) in
            let name = try reader.definedName(directive.argument(0))
            scope.rewrites.append(.set(variable: name, value: try reader.template(directive.argument(1))))
        }
        self.add("break", contexts, 0...0, repeats: true) { (_, scope, _) in scope.rewrites.append(.stop) }
        self.add("return", contexts, 1...2, repeats: true) { (reader, scope, directive) throws(NginxProblem) in
            scope.rewrites.append(.respond(try reader.fixedResponse(directive)))
        }
        self.add("rewrite", contexts, 2...3, repeats: true) { (reader, scope, directive) throws(NginxProblem) in
            scope.rewrites.append(try reader.rewrite(directive))
        }
    }
}

extension NginxReader {
    private static func isAddress(_ word: NginxWord) -> Bool {
        ["http://", "https://", "$scheme"].contains { word.bytes.starts(with: $0.utf8) }
    }

    mutating func fixedResponse(_ directive: NginxDirective) throws(NginxProblem) -> FixedResponse {
        let word = directive.argument(0)
        guard let status = NginxValue.number(word.bytes) else {
            guard directive.arguments.count == 1, Self.isAddress(word) else {
                throw NginxProblem("invalid return code \"\(word.text)\"", at: word.place)
            }
            return FixedResponse(status: 302, text: try self.template(word))
        }
        guard status <= 999 else { throw NginxProblem("invalid return code \"\(word.text)\"", at: word.place) }
        guard directive.arguments.count == 2 else { return FixedResponse(status: status) }
        return FixedResponse(status: status, text: try self.template(directive.argument(1)))
    }

    mutating func rewrite(_ directive: NginxDirective) throws(NginxProblem) -> RewriteStep {
        let replacement = directive.argument(1)
        guard !replacement.bytes.isEmpty else { throw NginxProblem("empty replacement", at: replacement.place) }
        var flag = RewriteStep.Flag.none
        if directive.arguments.count == 3 {
            let word = directive.argument(2)
            guard let written = RewriteStep.Flag(rawValue: word.text), written != .none else {
                throw directive.invalidParameter(word, hint: "one of last, break, redirect and permanent")
            }
            flag = written
        }
        if Self.isAddress(replacement), flag != .permanent { flag = .redirect }
        return .rewrite(self.regex(directive.argument(0)), replacement: try self.template(replacement), flag: flag)
    }

    // MARK: if

    mutating func condition(_ directive: NginxDirective, _ scope: inout NginxScope) throws(NginxProblem) {
        let condition = try self.rewriteCondition(directive)
        var inside = scope.inner(scope.context == .server ? .serverIf : .locationIf)
        inside.match = scope.match
        let (steps, others) = Self.separate(directive.block ?? [])
        _ = self.level(steps, &inside)
        for other in others {
            let inLocation = Self.allowedInIf.contains(other.name.text) && scope.context == .location
            let isKnown = NginxTable.all.rules[other.name.text] != nil
            self.report(
                isKnown
                    ? other.problem(
                        inLocation ? "is not supported inside \"if\"" : "is not allowed here",
                        hint: "only set, rewrite, return and break can be inside \"if\": rewrite to another location, "
                            + "or use map and a variable"
                    )
                    : NginxUnsupported.problem(other.name, in: inside.context)
            )
        }
        scope.rewrites.append(.when(condition, inside.rewrites))
    }

    /// What nginx has in an `if` of a location beyond rewriting.
    private static let allowedInIf: Set<String> = [
        "proxy_pass", "grpc_pass", "add_header", "access_log", "error_page", "gzip", "sendfile", "charset", "expires",
        "limit_rate",
    ]

    private static func separate(_ directives: [NginxDirective]) -> ([NginxDirective], [NginxDirective]) {
        var steps: [NginxDirective] = []
        var others: [NginxDirective] = []
        for directive in directives {
            let rules = NginxTable.all.rules[directive.name.text] ?? []
            if rules.contains(where: { !$0.contexts.isDisjoint(with: [.serverIf, .locationIf]) }) {
                steps.append(directive)
            } else {
                others.append(directive)
            }
        }
        return (steps, others)
    }

    private mutating func rewriteCondition(_ directive: NginxDirective) throws(NginxProblem) -> RewriteCondition {
        func invalid(_ word: NginxWord) -> NginxProblem {
            NginxProblem("invalid condition \"\(word.text)\"", at: word.place, hint: "if ($name = value)")
        }
        var words = directive.arguments
        guard let first = words.first, first.bytes.first == 0x28 else { throw invalid(directive.argument(0)) }
        words[0] = first.dropping(1)
        if words[0].bytes.isEmpty { words.removeFirst() }
        guard var last = words.last, last.bytes.last == 0x29 else { throw invalid(words.last ?? first) }
        last = NginxWord(bytes: Array(last.bytes.dropLast()), place: last.place)
        words.removeLast()
        if !last.bytes.isEmpty { words.append(last) }
        guard let subject = words.first else { throw invalid(first) }
        let isTest = subject.text.utf8.count <= 3 && (subject.text.hasPrefix("-") || subject.text.hasPrefix("!-"))
        guard !isTest else {
            throw NginxProblem(
                "invalid condition \"\(subject.text)\": tests of files are not supported",
                at: subject.place,
                hint: "the gateway serves no files"
            )
        }
        guard subject.bytes.count > 1, subject.bytes.first == 0x24, words.count == 1 || words.count == 3 else {
            throw invalid(subject)
        }
        // Here the name is everything behind the "$"; captures have none.
        let value = Template(parts: [.variable(self.variable(subject.dropping(1).text.lowercased(), in: subject))])
        guard words.count == 3 else { return .isTrue(value) }
        let other = words[2]
        switch words[1].text {
        case "=": return .equals(value, try self.template(other))
        case "!=": return .differs(value, try self.template(other))
        case "~": return .matches(value, self.regex(other))
        case "~*": return .matches(value, self.regex(other, ignoresCase: true))
        case "!~": return .matchesNot(value, self.regex(other))
        case "!~*": return .matchesNot(value, self.regex(other, ignoresCase: true))
        default:
            throw NginxProblem(
                "unexpected \"\(words[1].text)\" in condition",
                at: words[1].place,
                hint: "one of =, !=, ~, ~*, !~ and !~*"
            )
        }
    }
}
