typealias Bytes = [UInt8]

extension Bytes {
    static let lineEnd: Bytes = [13, 10]
    static let headEnd: Bytes = [13, 10, 13, 10]

    init(_ text: String) { self = Array(text.utf8) }

    /// Where `needle` begins, at or after `start`.
    func firstIndex(of needle: Bytes, from start: Int = 0) -> Int? {
        guard let first = needle.first else { return start }
        var at = start
        while at + needle.count <= self.count {
            if self[at] == first, self[at..<at + needle.count].elementsEqual(needle) { return at }
            at += 1
        }
        return nil
    }

    func replacing(_ needle: Bytes, with other: Bytes) -> Bytes {
        var result: Bytes = []
        var rest = 0
        while let found = self.firstIndex(of: needle, from: rest) {
            result += self[rest..<found] + other
            rest = found + needle.count
        }
        return rest == 0 ? self : result + self[rest...]
    }

    /// As a person reads it: lines stay lines, what cannot be printed is an escape, and the middle of much is left out.
    var printable: String {
        guard self.count > 2_000 else { return self[...].printable }
        return self[..<1_000].printable + "\n… \(self.count - 1_500) bytes …\n" + self[(self.count - 500)...].printable
    }
}

extension Collection<UInt8> {
    /// One character for each byte.
    var latin: String { String(String.UnicodeScalarView(self.map { Unicode.Scalar($0) })) }

    fileprivate var printable: String {
        self.reduce(into: "") { text, byte in
            switch byte {
            case 13: text += ""
            case 10: text += "\n"
            case 32..<127: text.unicodeScalars.append(Unicode.Scalar(byte))
            default: text += "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
    }
}
