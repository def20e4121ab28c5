/// One line of a head behind the first, taken apart. Pure; the line is complete.
struct FieldLine {
    enum Reading {
        case field(FieldBlock.Field)
        /// A name that nginx does not pass on (`ignore_invalid_headers`).
        case dropped
        /// The empty line.
        case end
        case invalid(String)
    }

    /// - Parameters:
    ///   - start: where the line begins.
    ///   - end: where its `\n` is.
    @inline(__always)
    static func read(_ bytes: Span<UInt8>, from start: Int, to end: Int, limits: ScanLimits) -> Reading {
        var last = end
        if last > start, bytes[last &- 1] == UInt8(ascii: "\r") { last &-= 1 }
        if last == start { return .end }
        var index = start
        var name = FieldNameKind.plain
        while index < last {
            let byte = bytes[index]
            if byte == UInt8(ascii: ":") { break }
            if !ByteKind.of(byte).contains(.plainName) {
                name.worsen(FieldNameKind(unusual: byte))
                if name == .forbidden { return .invalid("a character that no name can have") }
            }
            index &+= 1
        }
        if index == start { return .invalid("an empty name") }
        let nameEnd = index
        var valueStart = min(index &+ 1, last)
        while valueStart < last, bytes[valueStart] == 0x20 { valueStart &+= 1 }
        var valueEnd = last
        while valueEnd > valueStart, bytes[valueEnd &- 1] == 0x20 { valueEnd &-= 1 }
        index = valueStart
        while index < valueEnd {
            let byte = bytes[index]
            if byte < 0x20, byte != UInt8(ascii: "\t") {
                if byte == 0 { return .invalid("a zero byte in a value") }
                // A return that is not the end of a line: others take it for one.
                if byte == UInt8(ascii: "\r") { return .invalid("a carriage return in a value") }
            }
            index &+= 1
        }
        guard !limits.names.drops(name) else { return .dropped }
        return .field(
            FieldBlock.Field(
                name: ByteRange(start: start, count: nameEnd &- start),
                value: ByteRange(start: valueStart, count: valueEnd &- valueStart),
                known: KnownField(bytes.extracting(start..<nameEnd))
            )
        )
    }
}

extension Span<UInt8> {
    /// Where the next `\n` is.
    @inline(__always)
    func newline(from start: Int) -> Int? {
        var index = start
        let count = self.count
        while index < count {
            if self[index] == UInt8(ascii: "\n") { return index }
            index &+= 1
        }
        return nil
    }

    /// Compares with a text in lower case, without regard to the case of letters.
    @inline(__always)
    func equals(ignoringCase text: StaticString) -> Bool {
        guard self.count == text.utf8CodeUnitCount else { return false }
        return text.withUTF8Buffer { other in
            for index in 0..<self.count {
                var byte = self[index]
                if byte >= 65, byte <= 90 { byte |= 0x20 }
                if byte != other[index] { return false }
            }
            return true
        }
    }

    /// Whether a list separated by commas names `word` (in lower case).
    func lists(_ word: StaticString) -> Bool {
        var start = 0
        while start <= self.count {
            var end = start
            while end < self.count, self[end] != UInt8(ascii: ",") { end += 1 }
            var first = start
            var last = end
            while first < last, self[first] == 0x20 || self[first] == 0x09 { first += 1 }
            while last > first, self[last - 1] == 0x20 || self[last - 1] == 0x09 { last -= 1 }
            if self.extracting(first..<last).equals(ignoringCase: word) { return true }
            start = end + 1
        }
        return false
    }
}
