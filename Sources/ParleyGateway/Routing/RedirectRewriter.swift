package import NIOCore

/// `proxy_redirect`: what becomes of `Location` and `Refresh` of an upstream.
package struct RedirectRewriter: Sendable {
    private var rules: [TextRule] = []

    /// - Parameters:
    ///   - target: Where the location's `proxy_pass` goes; with variables in it there is no standard rule.
    ///   - match: Of the location.
    package init(_ redirects: Redirects, target: ProxyTarget, match: LocationModel.Match) throws(RegexProblem) {
        switch redirects {
        case .off: break
        case .standard: self.rules = [Self.standard(target, match)].compactMap(\.self)
        case .rules(let rules):
            for rule in rules {
                switch rule.pattern {
                case .standard: if let rule = Self.standard(target, match) { self.rules.append(rule) }
                case .prefix(let prefix):
                    self.rules.append(TextRule(pattern: .prefix(prefix), replacement: rule.replacement))
                case .regex(let regex):
                    let pattern = TextRule.Pattern.regex(try CompiledRegex(regex))
                    self.rules.append(TextRule(pattern: pattern, replacement: rule.replacement))
                }
            }
        }
    }

    /// - Returns: `nil` when no rule fits: the field stays as it is. Else the gateway itself answers for the location,
    ///   and a path is made absolute (``RedirectLocation``).
    package func location(_ value: ByteBuffer, in scope: some RewriteScope, scratch: RegexScratch) -> ByteBuffer? {
        self.rules.rewritten(value, from: 0, in: scope, scratch: scratch)
    }

    /// - Returns: `nil` when no rule fits, or there is no address in it.
    package func refresh(_ value: ByteBuffer, in scope: some RewriteScope, scratch: RegexScratch) -> ByteBuffer? {
        guard !self.rules.isEmpty else { return nil }
        let bytes = value.readableBytesUInt8Span
        var start = 0
        while start + 4 <= bytes.count {
            if bytes[start].lowercased == 0x75, bytes[start + 1].lowercased == 0x72,
                bytes[start + 2].lowercased == 0x6C, bytes[start + 3] == 0x3D
            {
                return self.rules.rewritten(value, from: start + 4, in: scope, scratch: scratch)
            }
            start += 1
        }
        return nil
    }

    /// What `proxy_pass` says becomes the prefix of the location.
    private static func standard(_ target: ProxyTarget, _ match: LocationModel.Match) -> TextRule? {
        guard case .upstream = target.destination else { return nil }
        let origin = "\(target.scheme.rawValue)://\(target.host)"
        guard let uri = target.uri, !uri.isEmpty else {
            return TextRule(pattern: .prefix(Template(origin + "/")), replacement: Template("/"))
        }
        let pattern = Template(parts: [.text(Array(origin.utf8))] + uri.parts)
        switch match {
        case .exact(let path), .prefix(let path, _), .segments(let path):
            return TextRule(pattern: .prefix(pattern), replacement: Template(path))
        case .regex, .named: return TextRule(pattern: .prefix(pattern), replacement: Template(""))
        }
    }
}

/// One rule for the value of a header field, or of an attribute in it.
struct TextRule: Sendable {
    enum Pattern: Sendable {
        /// What it begins with.
        case prefix(Template)
        /// The whole, without regard to case; a dot before it may be there.
        case domain([UInt8])
        case regex(CompiledRegex)
    }

    var pattern: Pattern
    var replacement: Template

    /// - Parameter start: How much of the value stands before what the rule is about.
    /// - Returns: The new value with that before it, or `nil` when the rule does not fit.
    fileprivate func rewritten(
        _ value: ByteBuffer,
        from start: Int,
        in scope: some RewriteScope,
        scratch: RegexScratch
    ) -> ByteBuffer? {
        let text = value.readableBytesView.dropFirst(start)
        var kept = start
        var replaced = text.count
        switch self.pattern {
        case .prefix(let template):
            let prefix = template.evaluated(in: scope).readableBytesView
            guard text.starts(with: prefix) else { return nil }
            replaced = prefix.count
        case .domain(let domain):
            let dots = text.first == 0x2E ? 1 : 0
            guard domain.count == text.count - dots,
                zip(domain, text.dropFirst(dots)).allSatisfy({ $0.lowercased == $1.lowercased })
            else { return nil }
            kept += dots
            replaced -= dots
        case .regex(let regex):
            let subject = value.getSlice(at: value.readerIndex + start, length: text.count) ?? ByteBuffer()
            guard regex.matches(subject, scratch: scratch, variables: &scope.rewriteState.variables) else { return nil }
        }
        var rewritten = ByteBuffer()
        rewritten.writeBytes(value.readableBytesView.prefix(kept))
        self.replacement.write(into: &rewritten, scope: scope)
        rewritten.writeBytes(value.readableBytesView.dropFirst(kept + replaced))
        return rewritten
    }
}

extension [TextRule] {
    /// By the first rule that fits.
    func rewritten(
        _ value: ByteBuffer,
        from start: Int,
        in scope: some RewriteScope,
        scratch: RegexScratch
    ) -> ByteBuffer? {
        for rule in self {
            if let value = rule.rewritten(value, from: start, in: scope, scratch: scratch) { return value }
        }
        return nil
    }
}
