package import NIOCore

/// Who knows what variables are worth: the exchange of a request.
package protocol VariableScope {
    /// Writes the value of a variable; of one that has none, nothing.
    func write(_ variable: Variable, into buffer: inout ByteBuffer)
}

/// A scope whose path, arguments and variables rules may change.
package protocol RewriteScope: VariableScope, AnyObject {
    var rewriteState: RewriteState { get set }
    /// A rule answers with this status; its text is evaluated next, and may speak of it.
    func willRespond(_ status: Int)
}

extension RewriteScope {
    package func willRespond(_ status: Int) {}
}

extension Template {
    package func write(into buffer: inout ByteBuffer, scope: some VariableScope) {
        for part in self.parts {
            switch part {
            case .text(let text): buffer.writeBytes(text)
            case .variable(let variable): scope.write(variable, into: &buffer)
            }
        }
    }

    package func evaluated(in scope: some VariableScope) -> ByteBuffer {
        var buffer = ByteBuffer()
        self.write(into: &buffer, scope: scope)
        return buffer
    }
}
