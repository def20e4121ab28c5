package import NIOCore

/// What a request is sent on as: the rules of `proxy_pass`.
///
/// - Without a path in `proxy_pass`, the target as the client wrote it, unless a rule has sent the request elsewhere.
/// - With one, that path takes the place of the location's prefix, and the rest of the decoded path is escaped anew.
/// - With variables in `proxy_pass`, the path that they give, as it is.
///
/// Stricter than nginx in one thing: a space or a control character that a rule has decoded is escaped again, for it
/// would end the request line and begin another request.
package struct UpstreamURI: Sendable {
    private enum Part: Sendable {
        case none
        /// The path instead of a prefix of so many bytes; by whole segments, one slash between the two is enough.
        case prefix(Template, count: Int, bySegments: Bool)
        case whole(Template)
    }

    private let part: Part

    /// Whether a target goes on as the client wrote it, as long as no rule has changed it.
    var passesTarget: Bool {
        if case .none = self.part { return true }
        return false
    }

    package init(_ target: ProxyTarget, match: LocationModel.Match) {
        guard let uri = target.uri else {
            self.part = .none
            return
        }
        // A variable anywhere in it makes nginx take the path as it comes out.
        if target.isVariable {
            self.part = .whole(uri)
            return
        }
        switch match {
        case .exact(let path), .prefix(let path, _):
            self.part = .prefix(uri, count: path.utf8.count, bySegments: false)
        case .segments(let path): self.part = .prefix(uri, count: path.utf8.count, bySegments: true)
        case .regex, .named: self.part = .prefix(uri, count: 0, bySegments: false)
        }
    }

    /// - Parameters:
    ///   - rawTarget: As the client wrote it.
    ///   - scope: For variables in `proxy_pass`.
    package func write(
        into buffer: inout ByteBuffer,
        state: RewriteState,
        rawTarget: ByteBuffer,
        scope: some VariableScope
    ) {
        var replacement = ByteBuffer()
        var count = 0
        var bySegments = false
        switch self.part {
        case .none: break
        case .prefix(let template, let prefix, let segments):
            template.write(into: &replacement, scope: scope)
            count = prefix
            bySegments = segments
        case .whole(let template):
            template.write(into: &replacement, scope: scope)
            if replacement.readableBytes > 0 {
                if replacement.readableBytesView.first == 0x3F { buffer.writeInteger(0x2F as UInt8) }
                EscapeTable.target.write(replacement.readableBytesView, into: &buffer)
                return
            }
        }
        if replacement.readableBytes == 0, state.isRawUsable {
            buffer.writeImmutableBuffer(rawTarget)
            return
        }
        var rest = state.path.readableBytesView
        if state.isLocationUsable, replacement.readableBytes > 0 {
            EscapeTable.target.write(replacement.readableBytesView, into: &buffer)
            rest = rest.dropFirst(count)
            if bySegments, rest.first == 0x2F, replacement.readableBytesView.last == 0x2F { rest = rest.dropFirst() }
        }
        if state.hasEscapes || state.isInternal {
            EscapeTable.uri.write(rest, into: &buffer)
        } else {
            EscapeTable.target.write(rest, into: &buffer)
        }
        if state.args.readableBytes > 0 {
            buffer.writeInteger(0x3F as UInt8)
            EscapeTable.target.write(state.args.readableBytesView, into: &buffer)
        }
    }
}
