package import NIOCore

/// What the rules of a request read and change: where it goes, and what they have put aside.
package struct RewriteState: Sendable {
    /// As in nginx: a request goes to another path at most ten times.
    package static let maxChanges = 10
    /// Of a path, of arguments, of a variable: rules that double a value in a circle end here.
    package static let maxValueSize = 1_048_576

    /// Normalised and decoded, without arguments.
    package var path: ByteBuffer
    package var args: ByteBuffer
    package var variables = RequestVariables()
    /// Whether the client's path held percent escapes, or a plus: then captures are escaped where they become
    /// arguments.
    package var hasEscapes: Bool
    package var hasPlus: Bool
    /// Whether the client's target still says where the request goes, and may be sent on as it came.
    package var isRawUsable: Bool
    /// Whether the path still begins with the prefix of its location, which `proxy_pass` with a path replaces.
    package var isLocationUsable = true
    /// Whether a rule has sent the request somewhere: an internal location may be used.
    package var isInternal = false
    /// Whether a location must be looked for anew.
    var isMoved = false
    private var changes = 0

    /// Of no request yet.
    package init() {
        self.path = ByteBuffer()
        self.args = ByteBuffer()
        self.hasEscapes = false
        self.hasPlus = false
        self.isRawUsable = true
    }

    /// - Parameter target: What `uri` was made of.
    package init(_ uri: RequestURI, target: ByteBuffer) {
        self.path = uri.path(of: target)
        self.args = uri.args(of: target)
        self.hasEscapes = uri.hasEscapes
        self.hasPlus = uri.hasPlus
        self.isRawUsable = uri.isRawUsable
    }

    /// The path and the arguments of a request that begins; what its host has already put aside stays.
    mutating func begin(_ uri: RequestURI, target: ByteBuffer) {
        self.path = uri.path(of: target)
        self.args = uri.args(of: target)
        self.hasEscapes = uri.hasEscapes
        self.hasPlus = uri.hasPlus
        self.isRawUsable = uri.isRawUsable
        self.isLocationUsable = true
        self.isInternal = false
        self.isMoved = false
        self.changes = 0
    }

    /// Counts a change of the path or an internal redirect.
    /// - Returns: Whether there may be one more; else the request is answered 500.
    package mutating func countChange() -> Bool {
        self.changes += 1
        return self.changes <= Self.maxChanges
    }

    /// Sends the request elsewhere, as an error page or `X-Accel-Redirect` does.
    package mutating func redirect(path: ByteBuffer, args: ByteBuffer) -> Bool {
        guard self.countChange() else { return false }
        self.path = path
        self.args = args
        self.isInternal = true
        self.isRawUsable = false
        self.isLocationUsable = true
        self.isMoved = false
        return true
    }

    /// Writes the variables that are kept here.
    /// - Returns: Whether this was one of them; a name that nothing has set is not.
    package func write(_ variable: Variable, into buffer: inout ByteBuffer) -> Bool {
        switch variable {
        case .uri, .documentURI: buffer.writeImmutableBuffer(self.path)
        case .args: buffer.writeImmutableBuffer(self.args)
        case .isArgs: if self.args.readableBytes > 0 { buffer.writeInteger(0x3F as UInt8) }
        case .capture(let number):
            if let capture = self.variables.capture(number) { buffer.writeImmutableBuffer(capture) }
        case .argument(let name): self.writeArgument(name, into: &buffer)
        case .named(let name):
            guard let value = self.variables.value(name) else { return false }
            buffer.writeImmutableBuffer(value)
        default: return false
        }
        return true
    }

    /// The first argument of this name, as it was written; the case of the name does not matter.
    private func writeArgument(_ name: String, into buffer: inout ByteBuffer) {
        let args = self.args.readableBytesView
        var start = args.startIndex
        while start < args.endIndex {
            let end = args[start...].firstIndex(of: 0x26) ?? args.endIndex
            var rest = args[start..<end]
            var isSame = true
            for byte in name.utf8 where isSame { isSame = rest.popFirst()?.lowercased == byte.lowercased }
            if isSame, rest.popFirst() == 0x3D {
                buffer.writeBytes(rest)
                return
            }
            start = end + 1
        }
    }
}
