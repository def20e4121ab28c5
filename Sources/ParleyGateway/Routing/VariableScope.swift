package import NIOCore

/// Where the values of variables come from. One that has no value writes nothing.
package protocol VariableScope {
    func write(_ variable: Variable, into buffer: inout ByteBuffer)
}
