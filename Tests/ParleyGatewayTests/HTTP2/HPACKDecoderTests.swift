import NIOCore
import NIOHPACK
import Testing

@testable import ParleyGateway

@Suite struct HPACKDecoderTests {
    private func decode(_ blocks: [(String, [TextField], Int)], tableSize: Int = 4096) throws {
        var decoder = ParleyGateway.HPACKDecoder(tableSize: tableSize)
        for (block, fields, size) in blocks {
            #expect(try decoder.section(hex(block)).texts == fields)
            #expect(decoder.tableSize == size)
        }
    }

    private let requests: [[TextField]] = [
        [
            TextField(":method", "GET"), TextField(":scheme", "http"), TextField(":path", "/"),
            TextField(":authority", "www.example.com"),
        ],
        [
            TextField(":method", "GET"), TextField(":scheme", "http"), TextField(":path", "/"),
            TextField(":authority", "www.example.com"), TextField("cache-control", "no-cache"),
        ],
        [
            TextField(":method", "GET"), TextField(":scheme", "https"), TextField(":path", "/index.html"),
            TextField(":authority", "www.example.com"), TextField("custom-key", "custom-value"),
        ],
    ]

    private let answers: [[TextField]] = [
        [
            TextField(":status", "302"), TextField("cache-control", "private"),
            TextField("date", "Mon, 21 Oct 2013 20:13:21 GMT"), TextField("location", "https://www.example.com"),
        ],
        [
            TextField(":status", "307"), TextField("cache-control", "private"),
            TextField("date", "Mon, 21 Oct 2013 20:13:21 GMT"), TextField("location", "https://www.example.com"),
        ],
        [
            TextField(":status", "200"), TextField("cache-control", "private"),
            TextField("date", "Mon, 21 Oct 2013 20:13:22 GMT"), TextField("location", "https://www.example.com"),
            TextField("content-encoding", "gzip"),
            TextField("set-cookie", "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1"),
        ],
    ]

    @Test("RFC 7541, C.2: one field of each kind")
    func singleFields() throws {
        try self.decode([
            (
                "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
                [TextField("custom-key", "custom-header")], 55
            )
        ])
        try self.decode([("040c 2f73 616d 706c 652f 7061 7468", [TextField(":path", "/sample/path")], 0)])
        try self.decode([("1008 7061 7373 776f 7264 0673 6563 7265 74", [TextField("password", "secret")], 0)])
        try self.decode([("82", [TextField(":method", "GET")], 0)])
    }

    @Test("RFC 7541, C.3: requests without Huffman code")
    func requestsPlain() throws {
        try self.decode([
            ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", self.requests[0], 57),
            ("8286 84be 5808 6e6f 2d63 6163 6865", self.requests[1], 110),
            (
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
                self.requests[2], 164
            ),
        ])
    }

    @Test("RFC 7541, C.4: requests with Huffman code")
    func requestsHuffman() throws {
        try self.decode([
            ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", self.requests[0], 57),
            ("8286 84be 5886 a8eb 1064 9cbf", self.requests[1], 110),
            ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", self.requests[2], 164),
        ])
    }

    @Test("RFC 7541, C.5: responses without Huffman code, in a small table")
    func responsesPlain() throws {
        try self.decode(
            [
                (
                    """
                    4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32
                    3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d
                    """, self.answers[0], 222
                ),
                ("4803 3330 37c1 c0bf", self.answers[1], 222),
                (
                    """
                    88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970
                    7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61
                    6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31
                    """, self.answers[2], 215
                ),
            ],
            tableSize: 256
        )
    }

    @Test("RFC 7541, C.6: responses with Huffman code, in a small table")
    func responsesHuffman() throws {
        try self.decode(
            [
                (
                    """
                    4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad
                    1718 63c7 8f0b 97c8 e9ae 82ae 43d3
                    """, self.answers[0], 222
                ),
                ("4883 640e ffc1 c0bf", self.answers[1], 222),
                (
                    """
                    88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2
                    e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07
                    """, self.answers[2], 215
                ),
            ],
            tableSize: 256
        )
    }

    @Test(
        "Whatever would put the tables out of step ends the connection",
        arguments: [
            ("80", "index 0"),
            ("be", "an index behind the tables"),
            ("ffff ffff ff7f", "an integer without end"),
            ("7f", "an integer cut short"),
            ("4003 6162", "a string cut short"),
            ("40", "no string at all"),
            ("823f e11f", "a table size update behind a field"),
            ("3fe2 1f", "a table size over the limit"),
            ("0001 6181 ff", "padding of eight bits"),
            ("0001 6184 ffff ffff", "the end-of-string symbol"),
            ("0001 6181 18", "padding that is not all ones"),
        ]
    )
    func compressionErrors(block: String, why: String) {
        var decoder = ParleyGateway.HPACKDecoder(tableSize: 4096)
        #expect(
            performing: { try decoder.section(hex(block)) },
            throws: { ($0 as? HTTP2Error)?.code == .compressionError }
        )
    }

    @Test func tableSizeUpdateEmptiesTheTable() throws {
        var decoder = ParleyGateway.HPACKDecoder(tableSize: 4096)
        _ = try decoder.section(hex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572"))
        #expect(decoder.tableSize == 55)
        #expect(try decoder.section(hex("20 3f e1 1f 82")).texts == [TextField(":method", "GET")])
        #expect(decoder.tableSize == 0)
    }

    @Test func overTheLimitTheTablesStayInStep() throws {
        var decoder = ParleyGateway.HPACKDecoder(tableSize: 4096)
        let limits = HTTP2FieldLimits(section: 100, field: 100)
        var large = hex("40 03") + Array("big".utf8) + [0x7F, 0x49] + [UInt8](repeating: 0x78, count: 200)
        large += hex("40 01 61 01 62")
        let first = try decoder.section(large, limits: limits)
        #expect(first.isTooLarge)
        #expect(first.block.fields.isEmpty)
        #expect(first.block.bytes.readableBytes == 0)
        // Both entries are there: the newest is `a: b`, the one before it the large field.
        #expect(try decoder.section(hex("be")).texts == [TextField("a", "b")])
        #expect(try decoder.section(hex("bf")).texts == [TextField("big", String(repeating: "x", count: 200))])
        #expect(try decoder.section(hex("bf"), limits: limits).isTooLarge)
    }

    @Test("One field over its own limit makes the section too large")
    func fieldLimit() throws {
        var decoder = ParleyGateway.HPACKDecoder(tableSize: 4096)
        let block = hex("00 01 61 05") + Array("12345".utf8)
        #expect(try !decoder.section(block, limits: HTTP2FieldLimits(section: 1000, field: 6)).isTooLarge)
        #expect(try decoder.section(block, limits: HTTP2FieldLimits(section: 1000, field: 5)).isTooLarge)
        #expect(try !decoder.section(block, limits: HTTP2FieldLimits(section: 38, field: 6)).isTooLarge)
        #expect(try decoder.section(block, limits: HTTP2FieldLimits(section: 37, field: 6)).isTooLarge)
    }

    @Test("Every text that NIOHPACK encodes is read as it was written", arguments: 0..<40 as Range<UInt64>)
    func oracle(seed: UInt64) throws {
        var random = SeededGenerator(seed)
        var encoder = NIOHPACK.HPACKEncoder(allocator: ByteBufferAllocator(), useHuffmanEncoding: seed % 2 == 0)
        var decoder = ParleyGateway.HPACKDecoder(tableSize: 4096)
        for _ in 0..<30 {
            let fields = RandomFields.list(&random)
            var block = ByteBuffer()
            var headers = HPACKHeaders()
            for field in fields {
                let choices: [HPACKIndexing] = [.indexable, .nonIndexable, .neverIndexed]
                let indexing = choices[Int.random(in: 0..<3, using: &random)]
                headers.add(name: field.name, value: field.value, indexing: indexing)
            }
            try encoder.encode(headers: headers, to: &block)
            #expect(try decoder.section(bytes(block)).block.texts == fields)
        }
    }

    @Test("Random bytes are decoded or refused, never more", arguments: 0..<50 as Range<UInt64>)
    func garbage(seed: UInt64) {
        var random = SeededGenerator(seed)
        var decoder = ParleyGateway.HPACKDecoder(tableSize: 4096)
        for _ in 0..<200 {
            let block = (0..<Int.random(in: 0..<80, using: &random)).map { _ in
                UInt8.random(in: .min ... .max, using: &random)
            }
            let section = try? decoder.section(block, limits: HTTP2FieldLimits(section: 4096, field: 1024))
            #expect((section?.block.bytes.readableBytes ?? 0) <= 4096)
            #expect(decoder.tableSize <= 4096)
        }
    }
}

/// Names and values as they come, from a few that repeat to bytes of any kind.
enum RandomFields {
    static let names = [
        "accept", "content-type", "x-request-id", "user-agent", "cookie", "grpc-status", "x-custom", "date", "etag",
        "a",
    ]
    static let values = ["", "application/grpc", "1", "trailers", "Mon, 21 Oct 2013 20:13:21 GMT", "a=b; c=d"]

    static func list(_ random: inout SeededGenerator) -> [TextField] {
        (0..<Int.random(in: 0..<15, using: &random)).map { _ in
            let name =
                Bool.random(using: &random)
                ? Self.names[Int.random(in: 0..<Self.names.count, using: &random)]
                : "x-" + Self.text(&random, from: 97, to: 122)
            let value =
                Bool.random(using: &random)
                ? Self.values[Int.random(in: 0..<Self.values.count, using: &random)]
                : Self.text(&random, from: 33, to: 126)
            return TextField(name, value)
        }
    }

    private static func text(_ random: inout SeededGenerator, from low: UInt8, to high: UInt8) -> String {
        let count = Int.random(in: 1..<[4, 30, 300][Int.random(in: 0..<3, using: &random)], using: &random)
        return String(decoding: (0..<count).map { _ in UInt8.random(in: low...high, using: &random) }, as: UTF8.self)
    }
}
