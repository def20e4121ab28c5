internal import NIOCore
internal import Testing

@testable internal import ParleyGateway

@Suite("Bytes of heads")
struct HeadBytesTests {
    @Test("What a byte may be is what the rules say, for each of the 256")
    func kinds() {
        for byte in UInt8.min...UInt8.max {
            let isUpper = (65...90).contains(byte)
            let isLower = (97...122).contains(byte)
            let isDigit = (48...57).contains(byte)
            var expected: ByteKind = []
            if isUpper || isLower || isDigit || byte == UInt8(ascii: "-") { expected.insert(.plainName) }
            if isUpper || "_-".utf8.contains(byte) { expected.insert(.method) }
            if byte < 0x20 || byte == 0x7F { expected.insert(.control) }
            if isDigit || (65...70).contains(byte) || (97...102).contains(byte) { expected.insert(.hex) }
            if isDigit { expected.insert(.digit) }
            #expect(ByteKind.of(byte) == expected, "byte \(byte)")
        }
    }

    @Test("Each field that has a name is known by it, in any case", arguments: KnownField.allCases)
    func knownFields(field: KnownField) {
        guard field != .other else { return }
        for name in [field.name, field.name.uppercased(), field.name.prefix(1).uppercased() + field.name.dropFirst()] {
            #expect(Self.known(name) == field)
        }
        #expect(Self.known(field.name + "x") == .other)
        #expect(Self.known(String(field.name.dropLast()) + "~") == .other)
    }

    private static func known(_ name: String) -> KnownField { KnownField(Array(name.utf8).span) }

    @Test(
        "Numbers are written as text writes them",
        arguments: [0, 7, 9, 10, 99, 100, 65_536, 999_999_999, Int64.max, -1, Int64.min]
    )
    func decimals(number: Int64) {
        var buffer = ByteBuffer()
        let count = buffer.writeDecimal(number)
        #expect(String(buffer: buffer) == "\(number)")
        #expect(count == "\(number)".utf8.count)
    }

    @Test("The digits of an id are those of its two numbers")
    func identifiers() {
        for (high, low) in [(0, UInt64.max), (0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210), (9, 10)]
            as [(UInt64, UInt64)]
        {
            let expected = [high, low].map { number in
                let text = String(number, radix: 16)
                return String(repeating: "0", count: 16 - text.count) + text
            }
            #expect(RequestID(high: high, low: low).text == expected.joined())
        }
    }

    @Test("An output buffer is empty once it is handed over, and leaves alone what was handed over")
    func outputBuffer() {
        var output = OutputBuffer()
        output.bytes.writeString("first")
        let first = output.handOver()
        #expect(output.bytes.readableBytes == 0)
        // Still held, as by a channel that could not send all of it.
        output.reuse()
        output.bytes.writeString("second")
        #expect(String(buffer: first) == "first")
        #expect(String(buffer: output.handOver()) == "second")
    }

    @Test("What is written while the other is being sent stays")
    func outputBufferWithinFlush() {
        var output = OutputBuffer()
        output.bytes.writeString("first")
        _ = output.handOver()
        output.bytes.writeString("second")
        output.reuse()
        #expect(String(buffer: output.bytes) == "second")
    }
}
