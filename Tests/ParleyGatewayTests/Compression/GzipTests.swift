import CZlib
import NIOCore
import ParleyCore
import Testing

@testable import ParleyGateway

/// What a client makes of it; `nil` when it is no complete gzip.
private func inflated(_ bytes: [UInt8]) -> [UInt8]? {
    let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
    stream.initialize(to: z_stream())
    defer { stream.deallocate() }
    guard inflateInit2_(stream, MAX_WBITS + 16, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK else {
        return nil
    }
    defer { inflateEnd(stream) }
    var output: [UInt8] = []
    var input = bytes
    var code = Z_OK
    input.withUnsafeMutableBufferPointer { input in
        stream.pointee.next_in = input.baseAddress
        stream.pointee.avail_in = UInt32(input.count)
        while code == Z_OK {
            var room = [UInt8](repeating: 0, count: 4_096)
            let count = room.withUnsafeMutableBufferPointer { room in
                stream.pointee.next_out = room.baseAddress
                stream.pointee.avail_out = UInt32(room.count)
                code = inflate(stream, Z_NO_FLUSH)
                return room.count - Int(stream.pointee.avail_out)
            }
            output += room.prefix(count)
        }
    }
    return code == Z_STREAM_END || code == Z_BUF_ERROR && stream.pointee.avail_in == 0 ? output : nil
}

@Suite struct GzipEncoderTests {
    @Test(arguments: [UInt64(1), 2, 3, 4, 5]) func whatGoesInComesOut(seed: UInt64) throws {
        let random = SeededRandomSource(seed: seed)
        for round in 0..<20 {
            let count = [0, 1, 100, 5_000, 300_000][round % 5]
            // Half of it repeats, half is noise, so that output is larger and smaller than input.
            let body = (0..<count).map { index in
                round % 2 == 0 ? UInt8(index % 7) : UInt8(truncatingIfNeeded: random.next())
            }
            let encoder = try GzipEncoder(level: 1 + round % 9, length: round % 3 == 0 ? Int64(count) : nil)
            var output: [UInt8] = []
            var left = body[...]
            while !left.isEmpty {
                let piece = left.prefix(1 + Int(random.next() % 70_000))
                left = left.dropFirst(piece.count)
                if let written = try encoder.write(ByteBuffer(bytes: piece), flushes: random.next() % 4 == 0) {
                    output += written.readableBytesView
                }
            }
            output += try encoder.finish().readableBytesView
            #expect(inflated(output) == body)
            #expect(throws: GzipError.self) { try encoder.write(ByteBuffer(bytes: [1])) }
        }
    }

    @Test func aFlushCanBeReadAtOnce() throws {
        let encoder = try GzipEncoder(level: 1)
        let first = try #require(try encoder.write(ByteBuffer(string: "data: one\n\n"), flushes: true))
        #expect(inflated(Array(first.readableBytesView)) == Array("data: one\n\n".utf8))
        let gathered = try encoder.write(ByteBuffer(string: "two"))
        #expect(gathered == nil)
    }
}

@Suite struct CompressionPolicyTests {
    @Test(arguments: [
        ("gzip", true), ("gzip, deflate, br", true), ("GZIP", true), ("deflate, gzip", true),
        ("deflate,gzip;q=0.5", true),
        ("gzip;q=0", false), ("gzip; q=0.000", false), ("gzip;q=0.001", true), ("gzip;q=1.000", true),
        ("gzip ;q=1", true),
        ("gzip;q=1.001", false), ("gzip;q=2", false), ("gzip;q=0.0001", false), ("gzip;q=", false), ("gzip;x=1", false),
        ("x-gzip", false), ("gzipped", false), ("gzipped, gzip", false), ("", false), ("*", false), ("gzi", false),
        ("gzip;q=0, gzip", false), ("gzip;q=0.5,deflate", true), ("gzip;", true),
    ])
    func acceptEncoding(value: String, isTaken: Bool) {
        #expect(AcceptEncoding.takesGzip(Array(value.utf8)) == isTaken)
    }

    private var policy: CompressionPolicy {
        var rules = Compression()
        rules.types = ["application/json"]
        rules.addsVary = true
        return CompressionPolicy(rules)
    }

    private func request(_ fields: [(String, String)] = [("Accept-Encoding", "gzip")]) -> RequestHead {
        RequestHead(block: block(fields))
    }

    private func response(
        _ status: UInt16 = 200,
        _ framing: BodyFraming = .length(100),
        _ fields: [(String, String)] = [("Content-Type", "Application/JSON ; charset=utf-8")]
    ) -> ResponseHead {
        ResponseHead(block: block(fields), status: status, framing: framing)
    }

    @Test func whichAnswers() {
        let policy = self.policy
        func outcome(_ request: RequestHead, _ response: ResponseHead) -> CompressionPolicy.Outcome {
            policy.outcome(request: request, response: response)
        }
        let asks = self.request()
        #expect(outcome(asks, self.response()) == .compressed)
        #expect(outcome(asks, self.response(404, .chunked)) == .compressed)
        #expect(outcome(asks, self.response(403)) == .compressed)
        for status: UInt16 in [201, 204, 206, 304, 500] { #expect(outcome(asks, self.response(status)) == .none) }
        #expect(outcome(asks, self.response(200, .length(19))) == .none)
        #expect(outcome(asks, self.response(200, .length(20))) == .compressed)
        #expect(outcome(asks, self.response(200, .none)) == .none)
        #expect(outcome(asks, self.response(200, .chunked, [("Content-Type", "text/html")])) == .compressed)
        #expect(outcome(asks, self.response(200, .chunked, [("Content-Type", "image/png")])) == .none)
        #expect(outcome(asks, self.response(200, .chunked, [])) == .none)
        let encoded = [("Content-Type", "text/html"), ("Content-Encoding", "br")]
        #expect(outcome(asks, self.response(200, .chunked, encoded)) == .none)
        #expect(outcome(self.request([]), self.response()) == .varies)
        #expect(outcome(self.request([("Accept-Encoding", "gzip"), ("Via", "1.1 x")]), self.response()) == .varies)
        var old = asks
        old.version = .http10
        #expect(outcome(old, self.response()) == .varies)
        var head = asks
        head.method = .head
        // As nginx: what is said to HEAD is what would be said to GET.
        #expect(outcome(head, self.response(200, .none, [("Content-Type", "text/html")])) == .compressed)
        let short = [("Content-Type", "text/html"), ("Content-Length", "19")]
        #expect(outcome(head, self.response(200, .none, short)) == .none)
    }

    @Test func theHead() {
        var response = self.response(
            200,
            .length(100),
            [("Content-Length", "100"), ("ETag", "\"a\""), ("Accept-Ranges", "bytes"), ("Content-Type", "text/html")]
        )
        self.policy.apply(.compressed, to: &response, clientVersion: .http11)
        #expect(
            response.block.lines == [
                "Content-Type: text/html", "Vary: Accept-Encoding", "ETag: W/\"a\"", "Content-Encoding: gzip",
            ]
        )
        #expect(response.framing == .chunked)
        var weak = self.response(200, .length(100), [("ETag", "W/\"a\"")])
        self.policy.apply(.compressed, to: &weak, clientVersion: .http10)
        #expect(weak.block.lines.contains("ETag: W/\"a\""))
        #expect(weak.framing == .untilEnd && !weak.keepsAlive)
        var varies = self.response()
        self.policy.apply(.varies, to: &varies, clientVersion: .http2)
        #expect(varies.block.lines.last == "Vary: Accept-Encoding")
        #expect(varies.framing == .length(100))
    }
}
