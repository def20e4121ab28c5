import NIOCore
import ParleyCore

@testable import ParleyGateway

/// A field as text, for tests.
struct TextField: Hashable, CustomStringConvertible {
    var name: String
    var value: String

    init(_ name: String, _ value: String) {
        self.name = name
        self.value = value
    }

    var description: String { "\(self.name): \(self.value)" }
}

/// Random numbers from a seed: the same run each time.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { self.state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

let wideLimits = HTTP2FieldLimits(section: 1 << 20, field: 1 << 20, names: .answers)

extension FieldBlock {
    init(_ fields: [TextField]) {
        self.init()
        for field in fields {
            let name = Array(field.name.utf8)
            self.append(name: name, value: Array(field.value.utf8), known: KnownField(name.span))
        }
    }

    var texts: [TextField] { self.fields.map { TextField(self.text($0.name), self.text($0.value)) } }
}

/// What has come out of a section.
struct DecodedSection {
    var texts: [TextField]
    var block: FieldBlock
    var isTooLarge: Bool
}

extension HTTP2FieldSection {
    /// Pseudo-header fields first, in a fixed order, then the others.
    var texts: [TextField] {
        let pseudo: [(String, PseudoField, ByteRange)] = [
            (":method", .method, self.method), (":scheme", .scheme, self.scheme), (":path", .path, self.path),
            (":authority", .authority, self.authority), (":status", .status, self.status),
        ]
        let present = pseudo.filter { self.has($0.1) }.map { TextField($0.0, self.block.text($0.2)) }
        return present + self.block.texts
    }
}

extension HPACKDecoder {
    mutating func section(
        _ bytes: [UInt8],
        limits: HTTP2FieldLimits = wideLimits
    ) throws(HTTP2Error) -> DecodedSection {
        var section = HTTP2FieldSection(limits: limits)
        try self.decode(bytes.span, into: &section)
        return DecodedSection(texts: section.texts, block: section.block, isTooLarge: section.isTooLarge)
    }
}

/// Bytes from hexadecimal digits; what is no digit is skipped.
func hex(_ text: String) -> [UInt8] {
    let digits = text.compactMap { $0.hexDigitValue }
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] * 16 + digits[$0 + 1]) }
}

func bytes(_ buffer: ByteBuffer) -> [UInt8] { Array(buffer.readableBytesView) }
