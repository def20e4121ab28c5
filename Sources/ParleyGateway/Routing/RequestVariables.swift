package import NIOCore

/// What rules have put aside for a request: the groups of the regular expression that matched last, and the variables
/// that `set` and named groups have given a value. There are as many names as the configuration has, so it is bounded.
package struct RequestVariables: Sendable {
    private struct Named: Sendable {
        var name: String
        var value: ByteBuffer
    }

    private var subject = ByteBuffer()
    private var captures: [ByteRange] = []
    private var named: [Named] = []

    package init() {}

    /// `$1` … `$9`; `nil` when the expression had no such group.
    package func capture(_ number: Int) -> ByteBuffer? {
        guard number > 0, number <= self.captures.count else { return nil }
        let range = self.captures[number - 1]
        return self.subject.getSlice(at: self.subject.readerIndex + range.lowerBound, length: Int(range.count))
    }

    /// `nil` when nothing has set it.
    package func value(_ name: String) -> ByteBuffer? {
        for variable in self.named where variable.name == name { return variable.value }
        return nil
    }

    package mutating func set(_ name: String, to value: ByteBuffer) {
        for index in self.named.indices where self.named[index].name == name {
            self.named[index].value = value
            return
        }
        self.named.append(Named(name: name, value: value))
    }

    /// As after a `rewrite` or `if` whose expression did not match.
    package mutating func clearCaptures() { self.captures.removeAll(keepingCapacity: true) }

    mutating func beginCaptures(of subject: ByteBuffer, capacity: Int) {
        self.captures.removeAll(keepingCapacity: true)
        guard capacity > 0 else { return }
        self.subject = subject
    }

    mutating func appendCapture(_ range: ByteRange) { self.captures.append(range) }

    mutating func set(_ name: String, toCapture number: Int) {
        self.set(name, to: self.capture(number) ?? ByteBuffer())
    }
}
