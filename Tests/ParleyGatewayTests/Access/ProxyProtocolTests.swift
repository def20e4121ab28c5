import NIOCore
import NIOEmbedded
import ParleyCore
import Testing

@testable import ParleyGateway

@Suite struct ProxyProtocolTests {
    private static let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]

    static func binary(_ command: UInt8, _ family: UInt8, _ body: [UInt8]) -> [UInt8] {
        self.signature + [0x20 | command, family, UInt8(body.count >> 8), UInt8(body.count & 0xFF)] + body
    }

    static let v4 = binary(1, 0x11, [192, 168, 0, 1, 10, 0, 0, 2, 0x1F, 0x90, 0, 80])
    static let v6: [UInt8] = {
        let source = [UInt8](repeating: 0, count: 15) + [1]
        return binary(1, 0x21, source + source + [0, 1, 0, 2] + [4, 0, 2, 9, 9])
    }()

    private func decode(_ bytes: [UInt8]) throws -> ProxyProtocolHeader? {
        var buffer = ByteBuffer(bytes: bytes)
        return try ProxyProtocolDecoder().decode(&buffer)
    }

    private func proxied(_ source: String, _ from: Int, _ destination: String, _ to: Int) throws -> ProxyProtocolHeader
    {
        .proxied(
            source: try SocketAddress(ipAddress: source, port: from),
            destination: try SocketAddress(ipAddress: destination, port: to)
        )
    }

    @Test func text() throws {
        let v4 = Array("PROXY TCP4 192.168.0.1 10.0.0.2 56324 443\r\n".utf8)
        #expect(try self.decode(v4) == self.proxied("192.168.0.1", 56_324, "10.0.0.2", 443))
        let v6 = Array("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n".utf8)
        #expect(try self.decode(v6) == self.proxied("2001:db8::1", 1, "::1", 65_535))
        #expect(try self.decode(Array("PROXY UNKNOWN\r\n".utf8)) == .local)
        #expect(try self.decode(Array("PROXY UNKNOWN ffff::1 a b c\r\n".utf8)) == .local)
    }

    @Test(arguments: [
        "GET / HTTP/1.1\r\n", "PROXY TCP4 192.168.0.1 10.0.0.2 56324 443\n", "PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n", "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
        "PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n", "PROXY \r\n", "PROXY\r\n\r\n",
        "PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n", "PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n", "PROXY TCP4 a b 1 1\r\n",
        "PROXY UNKNOWN" + String(repeating: "x", count: 100), "\r\n\r\n\0\r\nQUIT\r", "\r\nGET",
    ])
    func garbage(text: String) {
        #expect(throws: ProxyProtocolError.self) { try self.decode(Array(text.utf8)) }
    }

    @Test func binary() throws {
        #expect(try self.decode(Self.v4) == self.proxied("192.168.0.1", 8_080, "10.0.0.2", 80))
        #expect(try self.decode(Self.v6) == self.proxied("::1", 1, "::1", 2))
        #expect(try self.decode(Self.binary(0, 0, [])) == .local)
        #expect(try self.decode(Self.binary(0, 0x11, [1, 2, 3])) == .local)
        #expect(try self.decode(Self.binary(1, 0, [])) == .local)
        #expect(try self.decode(Self.binary(1, 0x31, [UInt8](repeating: 0, count: 216))) == .local)
        #expect(throws: ProxyProtocolError(code: .malformed)) { try self.decode(Self.binary(1, 0x11, [1, 2, 3])) }
        #expect(throws: ProxyProtocolError(code: .malformed)) { try self.decode(Self.binary(2, 0x11, [])) }
        #expect(throws: ProxyProtocolError(code: .unsupportedVersion)) {
            try self.decode(Self.signature + [0x11, 0x11, 0, 0])
        }
        #expect(try self.decode(Self.binary(0, 0, [UInt8](repeating: 0, count: 4_080))) == .local)
        #expect(throws: ProxyProtocolError(code: .tooLong)) {
            try self.decode(Self.binary(0, 0, [UInt8](repeating: 0, count: 4_081)))
        }
    }

    @Test(arguments: [UInt64(11), 12, 13]) func anySplitIsTheSame(seed: UInt64) throws {
        let random = SeededRandomSource(seed: seed)
        let headers = [
            Self.v4, Self.v6, Self.binary(0, 0, []), Array("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".utf8),
            Array("PROXY UNKNOWN\r\n".utf8),
        ]
        for round in 0..<100 {
            let header = headers[round % headers.count]
            let rest = (0..<Int(random.next() % 40)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
            let collector = Collector()
            let channel = EmbeddedChannel(handlers: [ProxyProtocolHandler(), collector])
            try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
            var left = (header + rest)[...]
            while !left.isEmpty {
                let piece = left.prefix(1 + Int(random.next() % 9))
                left = left.dropFirst(piece.count)
                try channel.writeInbound(ByteBuffer(bytes: piece))
            }
            #expect(collector.headers == [try #require(try self.decode(header))])
            #expect(collector.bytes == rest)
            #expect(!collector.sawBytesFirst)
            #expect(throws: (any Error).self) {
                try channel.pipeline.syncOperations.handler(type: ProxyProtocolHandler.self)
            }
            _ = try channel.finish()
        }
    }

    @Test(arguments: [UInt64(21), 22]) func noBytesEndTheProcess(seed: UInt64) {
        let random = SeededRandomSource(seed: seed)
        for _ in 0..<5_000 {
            var bytes = [Self.v4, Self.v6, Array("PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n".utf8)][Int(random.next() % 3)]
            for _ in 0..<(1 + random.next() % 4) {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            bytes = Array(bytes.prefix(Int(random.next() % UInt64(bytes.count + 1))))
            var buffer = ByteBuffer(bytes: bytes)
            let header = try? ProxyProtocolDecoder().decode(&buffer)
            // Nothing is taken before a header is complete.
            if header == nil || header == .some(nil) { #expect(buffer.readableBytes == bytes.count) }
        }
    }

    @Test func garbageClosesTheConnection() throws {
        let collector = Collector()
        let channel = EmbeddedChannel(handlers: [ProxyProtocolHandler(), collector])
        try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        #expect(throws: ProxyProtocolError(code: .noHeader)) {
            try channel.writeInbound(ByteBuffer(string: "GET / HTTP/1.1\r\n"))
        }
        #expect(!channel.isActive)
        #expect(collector.bytes.isEmpty && collector.headers.isEmpty)
    }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        var headers: [ProxyProtocolHeader] = []
        var bytes: [UInt8] = []
        var sawBytesFirst = false

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if let header = event as? ProxyProtocolHeader { self.headers.append(header) }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if self.headers.isEmpty { self.sawBytesFirst = true }
            self.bytes += self.unwrapInboundIn(data).readableBytesView
        }
    }
}
