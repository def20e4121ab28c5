package import NIOCore

/// What came of running the rules of a server or a location.
package enum RewriteResult: Sendable, Hashable {
    /// They are through: the request goes on.
    case next
    /// The path is another: a location is looked for anew.
    case relocate
    /// Without a text, it is the page for the status.
    case respond(status: Int, text: ByteBuffer?)
    /// The location as the rules gave it (``RedirectLocation`` makes it absolute).
    case redirect(status: Int, location: ByteBuffer)
    /// 500: the path changed too often, became empty, or a value too long.
    case failed(RewriteFailure)
    /// 444: the connection is closed without an answer.
    case close
}

package enum RewriteFailure: String, Error, Sendable, Hashable, CustomStringConvertible {
    case cycle, emptyPath, valueTooLong

    package var description: String {
        switch self {
        case .cycle:
            "The rewrite rules sent a request to another path more than \(RewriteState.maxChanges) times. They lead in "
                + "a circle; end one of them with break."
        case .emptyPath: "A rewrite rule made the path of a request empty. Its replacement must begin with a slash."
        case .valueTooLong:
            "A rewrite rule made a value of more than \(RewriteState.maxValueSize) bytes. It probably repeats itself."
        }
    }
}

/// The steps of nginx's rewrite module, in their order, ready to run.
package struct RewriteProgram: Sendable {
    package enum Place: Sendable {
        /// Before a location is looked for.
        case server
        case location
    }

    private enum Step: Sendable {
        case set(String, Template)
        case setArgs(Template)
        case rewrite(RewriteRule)
        case respond(FixedResponse)
        case stop
        indirect case when(Condition, [Step])
    }

    private enum Condition: Sendable {
        case isTrue(Template)
        case equals(Template, Template, expected: Bool)
        case matches(Template, CompiledRegex, expected: Bool)
    }

    private let steps: [Step]

    package var isEmpty: Bool { self.steps.isEmpty }

    package init(_ steps: [RewriteStep]) throws(RegexProblem) {
        self.steps = try Self.compile(steps)
    }

    private static func compile(_ steps: [RewriteStep]) throws(RegexProblem) -> [Step] {
        var compiled: [Step] = []
        for step in steps {
            switch step {
            case .set("args", let value): compiled.append(.setArgs(value))
            case .set(let variable, let value): compiled.append(.set(variable, value))
            case .rewrite(let regex, let replacement, let flag):
                compiled.append(.rewrite(RewriteRule(try CompiledRegex(regex), replacement: replacement, flag: flag)))
            case .respond(let response): compiled.append(.respond(response))
            case .stop: compiled.append(.stop)
            case .when(let condition, let inner): compiled.append(.when(try compile(condition), try compile(inner)))
            }
        }
        return compiled
    }

    private static func compile(_ condition: RewriteCondition) throws(RegexProblem) -> Condition {
        switch condition {
        case .isTrue(let value): .isTrue(value)
        case .equals(let one, let other): .equals(one, other, expected: true)
        case .differs(let one, let other): .equals(one, other, expected: false)
        case .matches(let value, let regex): .matches(value, try CompiledRegex(regex), expected: true)
        case .matchesNot(let value, let regex): .matches(value, try CompiledRegex(regex), expected: false)
        }
    }
}

// MARK: - Running

extension RewriteProgram {
    /// Runs the steps on the scope's ``RewriteScope/rewriteState``.
    package func run(in scope: some RewriteScope, at place: Place, scratch: RegexScratch) -> RewriteResult {
        guard !self.steps.isEmpty else { return .next }
        var run = Run(scope: scope, scratch: scratch)
        if let result = run.perform(self.steps), result != .next { return result }
        guard scope.rewriteState.isMoved else { return .next }
        scope.rewriteState.isMoved = false
        if place == .server { return .next }
        return scope.rewriteState.countChange() ? .relocate : .failed(.cycle)
    }

    private struct Run<Scope: RewriteScope> {
        let scope: Scope
        let scratch: RegexScratch
        /// nginx escapes captures in values until the first rewrite of the run has matched.
        var escapesValues = true

        /// - Returns: How the run ended, or `nil` when it goes on behind the steps.
        mutating func perform(_ steps: [Step]) -> RewriteResult? {
            for step in steps {
                switch step {
                case .set(let name, let template):
                    guard let value = self.value(of: template) else { return .failed(.valueTooLong) }
                    self.scope.rewriteState.variables.set(name, to: value)
                case .setArgs(let template):
                    guard let value = self.value(of: template) else { return .failed(.valueTooLong) }
                    self.scope.rewriteState.args = value
                    self.scope.rewriteState.isRawUsable = false
                case .rewrite(let rule):
                    switch rule.apply(in: self.scope, scratch: self.scratch) {
                    case .unmatched: self.scope.rewriteState.variables.clearCaptures()
                    case .matched: self.escapesValues = false
                    case .ended(let result): return result
                    }
                case .respond(let response): return self.respond(response)
                case .stop:
                    if self.scope.rewriteState.isMoved {
                        self.scope.rewriteState.isLocationUsable = false
                        self.scope.rewriteState.isMoved = false
                    }
                    return .next
                case .when(let condition, let inner):
                    guard let holds = self.holds(condition) else { return .failed(.valueTooLong) }
                    if holds, let result = self.perform(inner) { return result }
                }
            }
            return nil
        }

        /// - Returns: `nil` when a value is too long.
        private func holds(_ condition: Condition) -> Bool? {
            switch condition {
            case .isTrue(let template):
                guard let value = self.value(of: template) else { return nil }
                return value.readableBytes > 1 || (value.readableBytesView.first ?? 0x30) != 0x30
            case .equals(let one, let other, let expected):
                guard let one = self.value(of: one), let other = self.value(of: other) else { return nil }
                return (one == other) == expected
            case .matches(let template, let regex, let expected):
                guard let value = self.value(of: template) else { return nil }
                let isMatch = regex.matches(
                    value,
                    scratch: self.scratch,
                    variables: &self.scope.rewriteState.variables
                )
                if !isMatch { self.scope.rewriteState.variables.clearCaptures() }
                return isMatch == expected
            }
        }

        private func respond(_ response: FixedResponse) -> RewriteResult {
            if response.status == 444, response.text == nil { return .close }
            guard let template = response.text else {
                switch response.status {
                case 301, 302, 303, 307, 308: return .redirect(status: response.status, location: ByteBuffer())
                case ..<400: return .respond(status: response.status, text: ByteBuffer())
                default: return .respond(status: response.status, text: nil)
                }
            }
            self.scope.willRespond(response.status)
            let text = template.evaluated(in: self.scope)
            guard text.readableBytes <= RewriteState.maxValueSize else { return .failed(.valueTooLong) }
            switch response.status {
            case 301, 302, 303, 307, 308: return .redirect(status: response.status, location: text)
            default: return .respond(status: response.status, text: text)
            }
        }

        private func value(of template: Template) -> ByteBuffer? {
            var buffer = ByteBuffer()
            self.scope.write(template, into: &buffer, escapesCaptures: self.escapesValues)
            return buffer.readableBytes <= RewriteState.maxValueSize ? buffer : nil
        }
    }
}

extension RewriteScope {
    /// - Parameter escapesCaptures: As within arguments, when the client's path was escaped.
    func write(_ template: Template, into buffer: inout ByteBuffer, escapesCaptures: Bool) {
        let escapes = escapesCaptures && (self.rewriteState.hasEscapes || self.rewriteState.hasPlus)
        for part in template.parts {
            switch part {
            case .text(let text): buffer.writeBytes(text)
            case .variable(.capture(let number)):
                guard let capture = self.rewriteState.variables.capture(number) else { continue }
                if escapes {
                    EscapeTable.args.write(capture.readableBytesView, into: &buffer)
                } else {
                    buffer.writeImmutableBuffer(capture)
                }
            case .variable(let variable): self.write(variable, into: &buffer)
            }
        }
    }
}
