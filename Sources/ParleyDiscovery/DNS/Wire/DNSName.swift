/// A domain name, always absolute: up to 127 labels of 1 to 63 bytes, at most 255 bytes with their lengths.
///
/// Labels are any bytes. The case of its letters is kept, and means nothing: `Web.consul` equals `web.CONSUL`.
package struct DNSName: Sendable, CustomStringConvertible {
    package static let maximumLength = 255
    package static let maximumLabelLength = 63
    package static let root = DNSName(wire: [0])

    /// As it is sent when nothing is compressed: each label behind its length, then a zero. Always well-formed.
    package let wire: [UInt8]

    /// - Parameter wire: Has been checked.
    init(wire: [UInt8]) { self.wire = wire }

    package init(labels: some Sequence<some Collection<UInt8>>) throws(DNSFormatError) {
        var wire: [UInt8] = []
        for label in labels {
            guard !label.isEmpty else { throw DNSFormatError(.emptyLabel, at: wire.count) }
            guard label.count <= Self.maximumLabelLength else { throw DNSFormatError(.labelTooLong, at: wire.count) }
            wire.append(UInt8(truncatingIfNeeded: label.count))
            wire.append(contentsOf: label)
            guard wire.count < Self.maximumLength else { throw DNSFormatError(.nameTooLong, at: wire.count) }
        }
        wire.append(0)
        self.wire = wire
    }

    /// Reads `web.service.consul`, with or without a dot at its end; `\.` is a dot inside a label, `\007` the byte 7.
    package init(_ text: some StringProtocol) throws(DNSFormatError) {
        var labels: [[UInt8]] = []
        var label: [UInt8] = []
        var rest = Array(text.utf8)[...]
        let count = rest.count
        guard rest != [UInt8(ascii: ".")] else {
            self = .root
            return
        }
        while let byte = rest.popFirst() {
            switch byte {
            case UInt8(ascii: "."):
                guard !label.isEmpty else { throw DNSFormatError(.emptyLabel, at: count - rest.count - 1) }
                labels.append(label)
                label = []
            case UInt8(ascii: "\\"): label.append(try Self.escaped(&rest, at: count - rest.count))
            default: label.append(byte)
            }
            // Before more of a long text is kept.
            guard label.count <= Self.maximumLabelLength, labels.count < 128 else {
                throw DNSFormatError(label.isEmpty ? .nameTooLong : .labelTooLong, at: count - rest.count)
            }
        }
        if !label.isEmpty { labels.append(label) }
        guard !labels.isEmpty else { throw DNSFormatError(.emptyLabel, at: 0) }
        try self.init(labels: labels)
    }

    private static func escaped(_ rest: inout ArraySlice<UInt8>, at offset: Int) throws(DNSFormatError) -> UInt8 {
        guard let first = rest.popFirst() else { throw DNSFormatError(.endsEarly, at: offset) }
        guard (48...57).contains(first) else { return first }
        var value = Int(first) - 48
        for _ in 0..<2 {
            guard let digit = rest.popFirst(), (48...57).contains(digit) else {
                throw DNSFormatError(.endsEarly, at: offset)
            }
            value = value * 10 + Int(digit) - 48
        }
        guard let byte = UInt8(exactly: value) else { throw DNSFormatError(.endsEarly, at: offset) }
        return byte
    }

    /// The labels without their lengths, the leftmost first.
    package var labels: [ArraySlice<UInt8>] {
        var labels: [ArraySlice<UInt8>] = []
        var position = 0
        while position < self.wire.count, self.wire[position] != 0 {
            let end = min(position + 1 + Int(self.wire[position]), self.wire.count)
            labels.append(self.wire[(position + 1)..<end])
            position = end
        }
        return labels
    }

    /// The labels in small letters, for comparing them with words. What is not UTF-8 equals no word.
    package var words: [String] {
        self.labels.map { String(decoding: $0.map { $0.smallLetter }, as: UTF8.self) }
    }

    /// Whether this is `ancestor`, or a name below it.
    package func isWithin(_ ancestor: DNSName) -> Bool {
        let own = self.labels
        let theirs = ancestor.labels
        guard own.count >= theirs.count else { return false }
        return zip(own.suffix(theirs.count), theirs).allSatisfy {
            $0.elementsEqual($1) { $0.smallLetter == $1.smallLetter }
        }
    }

    /// With a dot at its end; what is not printable is escaped, so that reading it gives the same name.
    package var description: String {
        guard self.wire.count > 1 else { return "." }
        var text = ""
        for label in self.labels {
            for byte in label {
                switch byte {
                case UInt8(ascii: "."), UInt8(ascii: "\\"):
                    text += "\\" + String(UnicodeScalar(byte))
                case 0x21...0x7E:
                    text.unicodeScalars.append(UnicodeScalar(byte))
                default:
                    let digits = String(byte)
                    text += "\\" + String(repeating: "0", count: 3 - digits.count) + digits
                }
            }
            text += "."
        }
        return text
    }
}

extension DNSName: Hashable {
    // Lengths are below the letters, so that the whole of it may be folded.
    package static func == (lhs: DNSName, rhs: DNSName) -> Bool {
        lhs.wire.elementsEqual(rhs.wire) { $0.smallLetter == $1.smallLetter }
    }

    package func hash(into hasher: inout Hasher) {
        for byte in self.wire { hasher.combine(byte.smallLetter) }
    }
}

extension UInt8 {
    /// A to Z become a to z (RFC 4343); every other byte stays.
    fileprivate var smallLetter: UInt8 { (65...90).contains(self) ? self | 0x20 : self }
}
