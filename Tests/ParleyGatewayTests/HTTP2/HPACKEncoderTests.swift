import NIOCore
import NIOHPACK
import Testing

@testable import ParleyGateway

@Suite struct HPACKEncoderTests {
    private func encode(_ fields: [TextField], with encoder: inout ParleyGateway.HPACKEncoder) -> ByteBuffer {
        let block = FieldBlock(fields)
        var output = ByteBuffer()
        encoder.begin(into: &output)
        for field in block.fields { encoder.write(field, of: block.bytes, into: &output) }
        return output
    }

    @Test("NIOHPACK reads every field as it was written", arguments: 0..<40 as Range<UInt64>)
    func oracle(seed: UInt64) throws {
        var random = SeededGenerator(seed)
        var encoder = ParleyGateway.HPACKEncoder()
        var decoder = NIOHPACK.HPACKDecoder(allocator: ByteBufferAllocator())
        for round in 0..<60 {
            if round % 20 == 19 {
                let size = [0, 100, 4096][Int.random(in: 0..<3, using: &random)]
                encoder.peerAllows(tableSize: size)
                decoder.maxDynamicTableLength = size
            }
            let fields = RandomFields.list(&random)
            var block = self.encode(fields, with: &encoder)
            let read = try decoder.decodeHeaders(from: &block).map { TextField($0.name, $0.value) }
            #expect(read == fields)
            #expect(encoder.tableSize <= 4096)
        }
    }

    @Test("Our decoder reads every field as our encoder wrote it", arguments: 0..<40 as Range<UInt64>)
    func roundTrip(seed: UInt64) throws {
        var random = SeededGenerator(seed)
        var encoder = ParleyGateway.HPACKEncoder()
        var decoder = ParleyGateway.HPACKDecoder(tableSize: 4096)
        for _ in 0..<60 {
            let fields = RandomFields.list(&random)
            let section = try decoder.section(bytes(self.encode(fields, with: &encoder)))
            #expect(section.block.texts == fields)
            #expect(decoder.tableSize == encoder.tableSize)
        }
    }

    @Test func whatRepeatsCostsOneByteFromItsThirdTimeOn() {
        var encoder = ParleyGateway.HPACKEncoder()
        let fields = [
            TextField("content-type", "application/grpc"), TextField("x-tenant", "blue"), TextField("te", "trailers"),
        ]
        let sizes = (0..<4).map { _ in self.encode(fields, with: &encoder).readableBytes }
        #expect(sizes[2] == 3)
        #expect(sizes[3] == 3)
        #expect(sizes[0] > 3)
    }

    @Test func whatIsDifferentEachTimeDoesNotFillTheTable() {
        var encoder = ParleyGateway.HPACKEncoder()
        for number in 0..<1000 {
            _ = self.encode([TextField("etag", "\"\(number)-abcdef\"")], with: &encoder)
        }
        #expect(encoder.tableSize == 0)
        // A name that stands in no table is added once, with the value that it has then.
        for number in 0..<1000 {
            _ = self.encode([TextField("x-request-id", "\(number)0123456789")], with: &encoder)
        }
        #expect(encoder.tableSize < 100)
    }

    @Test(
        "Credentials are marked as never to be indexed, and are not",
        arguments: ["authorization", "cookie", "set-cookie", "proxy-authorization"]
    )
    func credentials(name: String) throws {
        var encoder = ParleyGateway.HPACKEncoder()
        var decoder = NIOHPACK.HPACKDecoder(allocator: ByteBufferAllocator())
        for _ in 0..<5 {
            var block = self.encode([TextField(name, "secret")], with: &encoder)
            #expect(encoder.tableSize == 0)
            #expect(block.getInteger(at: 0, as: UInt8.self).map { $0 & 0xF0 } == 0x10)
            #expect(try decoder.decodeHeaders(from: &block).first?.indexable == .neverIndexed)
        }
    }

    @Test func namesAreWrittenInLowerCase() throws {
        var encoder = ParleyGateway.HPACKEncoder()
        var decoder = ParleyGateway.HPACKDecoder(tableSize: 4096)
        for name in ["X-Tenant", "x-tenant", "X-TENANT", "Content-Type", "content-TYPE", "X_{Odd}Name"] {
            let section = try decoder.section(bytes(self.encode([TextField(name, "V")], with: &encoder)))
            #expect(section.block.texts == [TextField(name.lowercased(), "V")])
        }
    }

    @Test func theSmallestSizeMeanwhileIsToldToo() throws {
        var encoder = ParleyGateway.HPACKEncoder()
        encoder.peerAllows(tableSize: 0)
        encoder.peerAllows(tableSize: 2048)
        var output = ByteBuffer()
        encoder.begin(into: &output)
        #expect(bytes(output) == hex("20 3f e1 0f"))
        encoder.begin(into: &output)
        #expect(output.readableBytes == 4)
    }

    @Test func aLargerTableOfThePeerIsNotUsed() {
        var encoder = ParleyGateway.HPACKEncoder()
        encoder.peerAllows(tableSize: 1 << 20)
        var output = ByteBuffer()
        encoder.begin(into: &output)
        #expect(output.readableBytes == 0)
    }

    @Test("Integers of every size", arguments: [0, 1, 30, 31, 32, 126, 127, 128, 1337, 16_383, 16_384, 2_000_000])
    func integers(value: Int) throws {
        var output = ByteBuffer()
        ParleyGateway.HPACKEncoder.write(value, prefix: 5, flags: 0xE0, into: &output)
        let expected: [UInt8]
        if value < 31 {
            expected = [0xE0 | UInt8(value)]
        } else {
            var rest = value - 31
            var bytes: [UInt8] = [0xFF]
            while rest >= 128 {
                bytes.append(UInt8(rest % 128 + 128))
                rest /= 128
            }
            expected = bytes + [UInt8(rest)]
        }
        #expect(bytes(output) == expected)
    }
}
