package import NIOCore

/// `proxy_cookie_domain` and `proxy_cookie_path`: what becomes of the attributes of an upstream's `Set-Cookie`.
package struct CookieRewriter: Sendable {
    private var domains: [TextRule] = []
    private var paths: [TextRule] = []

    package var isEmpty: Bool { self.domains.isEmpty && self.paths.isEmpty }

    package init(domains: [Replacement], paths: [Replacement]) throws(RegexProblem) {
        for rule in domains {
            switch rule.pattern {
            case .text(let domain):
                let domain = Array(domain.utf8.drop { $0 == 0x2E })
                let replacement = Self.withoutLeadingDot(rule.replacement)
                self.domains.append(TextRule(pattern: .domain(domain), replacement: replacement))
            case .regex(var regex):
                // Domains have no case, whatever the expression says.
                regex.ignoresCase = true
                self.domains.append(TextRule(pattern: .regex(try CompiledRegex(regex)), replacement: rule.replacement))
            }
        }
        for rule in paths {
            let pattern: TextRule.Pattern
            switch rule.pattern {
            case .text(let path): pattern = .prefix(Template(path))
            case .regex(let regex): pattern = .regex(try CompiledRegex(regex))
            }
            self.paths.append(TextRule(pattern: pattern, replacement: rule.replacement))
        }
    }

    /// - Parameter value: Of a `Set-Cookie` field.
    /// - Returns: `nil` when no rule fits: the field stays as it is.
    package func rewritten(_ value: ByteBuffer, in scope: some RewriteScope, scratch: RegexScratch) -> ByteBuffer? {
        guard !self.isEmpty else { return nil }
        var result = ByteBuffer()
        var isChanged = false
        var rest = value.readableBytesView
        var isFirst = true
        while true {
            let end = rest.firstIndex(of: 0x3B) ?? rest.endIndex
            let (name, content) = Self.attribute(rest[..<end])
            // Only what looks like a cookie has attributes.
            if isFirst, content == nil { return nil }
            if !isFirst { result.writeStaticString("; ") }
            result.writeBytes(name)
            if let content {
                result.writeStaticString("=")
                let rules = isFirst ? [] : self.rules(for: name)
                if let new = rules.rewritten(ByteBuffer(content), from: 0, in: scope, scratch: scratch) {
                    isChanged = true
                    result.writeImmutableBuffer(new)
                } else {
                    result.writeBytes(content)
                }
            }
            guard end < rest.endIndex else { break }
            rest = rest[(end + 1)...]
            isFirst = false
        }
        return isChanged ? result : nil
    }

    private func rules(for name: ByteBufferView) -> [TextRule] {
        if name.elementsEqual("domain".utf8, by: { $0.lowercased == $1 }) { return self.domains }
        if name.elementsEqual("path".utf8, by: { $0.lowercased == $1 }) { return self.paths }
        return []
    }

    private static func attribute(_ text: ByteBufferView) -> (name: ByteBufferView, value: ByteBufferView?) {
        guard let equals = text.firstIndex(of: 0x3D) else { return (Self.trimmed(text), nil) }
        return (Self.trimmed(text[..<equals]), Self.trimmed(text[(equals + 1)...]))
    }

    private static func trimmed(_ text: ByteBufferView) -> ByteBufferView {
        var text = text.drop { $0 == 0x20 }
        while text.last == 0x20 { text = text.dropLast() }
        return text
    }

    /// A dot before the domain of the cookie stays in place.
    private static func withoutLeadingDot(_ template: Template) -> Template {
        guard case .text(let text) = template.parts.first, text.first == 0x2E else { return template }
        return Template(parts: [.text(Array(text.dropFirst()))] + template.parts.dropFirst())
    }
}
