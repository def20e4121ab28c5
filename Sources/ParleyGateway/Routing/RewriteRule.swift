internal import NIOCore

/// `rewrite`: what the path becomes where it matches.
struct RewriteRule: Sendable {
    enum Outcome {
        case unmatched
        case matched
        case ended(RewriteResult)
    }

    private let regex: CompiledRegex
    private let flag: RewriteStep.Flag
    /// Of a redirect; `nil` within the server.
    private let redirectStatus: Int?
    private let path: Template
    /// What is behind the first question mark; of a redirect it stays in ``path``.
    private let args: Template?
    /// Whether a question mark is in the text, so that more arguments follow an `&`.
    private let hasArgs: Bool
    /// Unless the replacement ends in a question mark.
    private let keepsArgs: Bool

    init(_ regex: CompiledRegex, replacement: Template, flag: RewriteStep.Flag) {
        self.regex = regex
        self.flag = flag
        var parts = replacement.parts
        if case .text(let text) = parts.last, text.last == 0x3F {
            parts[parts.count - 1] = .text(Array(text.dropLast()))
            self.keepsArgs = false
        } else {
            self.keepsArgs = true
        }
        self.redirectStatus = flag == .permanent ? 301 : flag == .redirect || Self.isAbsolute(parts) ? 302 : nil
        let mark = Self.questionMark(in: parts)
        self.hasArgs = mark != nil
        guard self.redirectStatus == nil, let mark, case .text(let text) = parts[mark.part] else {
            self.path = Template(parts: parts)
            self.args = nil
            return
        }
        let before = Template.Part.text(Array(text[..<mark.byte]))
        let behind = Template.Part.text(Array(text[(mark.byte + 1)...]))
        self.path = Template(parts: parts[..<mark.part] + [before])
        self.args = Template(parts: [behind] + parts[(mark.part + 1)...])
    }

    func apply(in scope: some RewriteScope, scratch: RegexScratch) -> Outcome {
        let path = scope.rewriteState.path
        guard self.regex.matches(path, scratch: scratch, variables: &scope.rewriteState.variables) else {
            return .unmatched
        }
        scope.rewriteState.isInternal = true
        scope.rewriteState.isRawUsable = false
        if self.flag == .break {
            scope.rewriteState.isLocationUsable = false
            scope.rewriteState.isMoved = false
        } else {
            scope.rewriteState.isMoved = true
        }
        if let status = self.redirectStatus { return self.redirect(status, in: scope) }

        var newPath = ByteBuffer()
        scope.write(self.path, into: &newPath, escapesCaptures: false)
        var newArgs = self.keepsArgs ? scope.rewriteState.args : ByteBuffer()
        if let args = self.args {
            var buffer = ByteBuffer()
            scope.write(args, into: &buffer, escapesCaptures: true)
            if self.keepsArgs, scope.rewriteState.args.readableBytes > 0 {
                buffer.writeInteger(0x26 as UInt8)
                buffer.writeImmutableBuffer(scope.rewriteState.args)
            }
            newArgs = buffer
        }
        scope.rewriteState.args = newArgs
        guard newPath.readableBytes > 0 else { return .ended(.failed(.emptyPath)) }
        guard max(newPath.readableBytes, newArgs.readableBytes) <= RewriteState.maxValueSize else {
            return .ended(.failed(.valueTooLong))
        }
        scope.rewriteState.path = newPath
        switch self.flag {
        case .last, .break: return .ended(.next)
        case .none, .redirect, .permanent: return .matched
        }
    }

    private func redirect(_ status: Int, in scope: some RewriteScope) -> Outcome {
        var text = ByteBuffer()
        scope.write(self.path, into: &text, escapesCaptures: true)
        var location = ByteBuffer()
        Self.writeUnescaped(text.readableBytesView, into: &location)
        if self.keepsArgs, scope.rewriteState.args.readableBytes > 0 {
            location.writeInteger(self.hasArgs ? 0x26 : 0x3F as UInt8)
            location.writeImmutableBuffer(scope.rewriteState.args)
        }
        guard location.readableBytes <= RewriteState.maxValueSize else { return .ended(.failed(.valueTooLong)) }
        return .ended(.redirect(status: status, location: location))
    }

    private static func isAbsolute(_ parts: [Template.Part]) -> Bool {
        switch parts.first {
        case .text(let text): text.starts(with: "http://".utf8) || text.starts(with: "https://".utf8)
        case .variable(let variable): variable == .scheme
        case nil: false
        }
    }

    private static func questionMark(in parts: [Template.Part]) -> (part: Int, byte: Int)? {
        for (part, content) in parts.enumerated() {
            if case .text(let text) = content, let byte = text.firstIndex(of: 0x3F) { return (part, byte) }
        }
        return nil
    }

    /// Takes the escapes off a redirect's path that nothing needs: those of printable characters above the percent
    /// sign. From the question mark on nothing is changed. An escape that is none loses its percent sign, as in nginx.
    private static func writeUnescaped(_ text: ByteBufferView, into buffer: inout ByteBuffer) {
        var index = text.startIndex
        while index < text.endIndex {
            let byte = text[index]
            index += 1
            guard byte == 0x25 else {
                buffer.writeInteger(byte)
                if byte == 0x3F { break }
                continue
            }
            guard index < text.endIndex else { break }
            let first = text[index]
            index += 1
            guard let high = Hexadecimal.value(of: first) else {
                buffer.writeInteger(first)
                continue
            }
            guard index < text.endIndex else { break }
            let second = text[index]
            index += 1
            guard let low = Hexadecimal.value(of: second) else { continue }
            let value = high << 4 | low
            if value > 0x25, value < 0x7F {
                buffer.writeInteger(value)
                // Written with a letter (`%3f`), it begins the arguments.
                if value == 0x3F { break }
            } else {
                buffer.writeBytes([0x25, first, second])
            }
        }
        buffer.writeBytes(text[index...])
    }
}
