internal import NIOCore

extension FieldBlock {
    /// The first field of this name, which is given in lower case. For names that the gateway learns from its
    /// configuration; those that it knows itself are found by ``FieldBlock/first(_:)``.
    func firstField(named name: [UInt8]) -> Field? {
        fields: for field in self.fields where Int(field.name.count) == name.count {
            let bytes = self.view(field.name)
            for (byte, wanted) in zip(bytes, name) where AccessText.lowercased(byte) != wanted { continue fields }
            return field
        }
        return nil
    }
}

enum AccessText {
    static func lowercased(_ byte: UInt8) -> UInt8 {
        byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
    }

    static func lowercased(_ text: String) -> [UInt8] { text.utf8.map { self.lowercased($0) } }

    static func isEqualIgnoringCase(_ bytes: some Collection<UInt8>, _ lowercased: some Collection<UInt8>) -> Bool {
        guard bytes.count == lowercased.count else { return false }
        for (byte, wanted) in zip(bytes, lowercased) where self.lowercased(byte) != wanted { return false }
        return true
    }

    /// Without the spaces and tabs around it.
    static func trimmed<Bytes: BidirectionalCollection<UInt8>>(_ bytes: Bytes) -> Bytes.SubSequence {
        var slice = bytes[...]
        while let first = slice.first, first == 0x20 || first == 0x09 { slice = slice.dropFirst() }
        while let last = slice.last, last == 0x20 || last == 0x09 { slice = slice.dropLast() }
        return slice
    }
}

/// RFC 4648, as forgiving about padding as nginx: what follows a `=` is not looked at.
enum AccessBase64 {
    enum Alphabet { case standard, url }

    /// `nil` for a character outside of the alphabet, or a length that no encoding has.
    static func decode(_ text: some Sequence<UInt8>, _ alphabet: Alphabet = .standard) -> [UInt8]? {
        var bytes: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for character in text {
            if character == UInt8(ascii: "=") {
                // A token's encoding has no padding at all.
                if alphabet == .url { return nil }
                break
            }
            guard let value = self.value(of: character, alphabet) else { return nil }
            bits = bits << 6 | UInt32(value)
            count &+= 1
            if count % 4 == 0 {
                bytes.append(UInt8(truncatingIfNeeded: bits >> 16))
                bytes.append(UInt8(truncatingIfNeeded: bits >> 8))
                bytes.append(UInt8(truncatingIfNeeded: bits))
            }
        }
        switch count % 4 {
        case 1: return nil
        case 2: bytes.append(UInt8(truncatingIfNeeded: bits >> 4))
        case 3:
            bytes.append(UInt8(truncatingIfNeeded: bits >> 10))
            bytes.append(UInt8(truncatingIfNeeded: bits >> 2))
        default: break
        }
        return bytes
    }

    private static func value(of character: UInt8, _ alphabet: Alphabet) -> UInt8? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+") where alphabet == .standard, UInt8(ascii: "-") where alphabet == .url: 62
        case UInt8(ascii: "/") where alphabet == .standard, UInt8(ascii: "_") where alphabet == .url: 63
        default: nil
        }
    }
}
