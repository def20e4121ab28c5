import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct ViolationTests {
    @Test(
        "What breaks the connection's rules ends it with the right code",
        arguments: [
            (Frame.raw(0, flags: 0, stream: 0, [1]), HTTP2ErrorCode.protocolError),
            (Frame.data(5, [1]), .protocolError),
            (Frame.raw(0, flags: 8, stream: 1, []), .frameSizeError),
            (Frame.raw(0, flags: 8, stream: 1, [3, 0, 0]), .protocolError),
            (Frame.raw(1, flags: 5, stream: 0, []), .protocolError),
            (Frame.headers(2, Frame.get, isEnd: true), .protocolError),
            (Frame.raw(1, flags: 0xD, stream: 3, [9, 0]), .protocolError),
            (Frame.raw(1, flags: 0xD, stream: 3, []), .frameSizeError),
            (Frame.raw(1, flags: 0x25, stream: 3, [0, 0, 0, 0]), .frameSizeError),
            (Frame.raw(1, flags: 5, stream: 3, [0x80]), .compressionError),
            (Frame.raw(2, flags: 0, stream: 0, [0, 0, 0, 0, 0]), .protocolError),
            (Frame.raw(2, flags: 0, stream: 9, [0]), .frameSizeError),
            (Frame.raw(3, flags: 0, stream: 0, [0, 0, 0, 0]), .protocolError),
            (Frame.raw(3, flags: 0, stream: 9, [0, 0, 0, 0]), .protocolError),
            (Frame.raw(3, flags: 0, stream: 1, [0, 0, 0]), .frameSizeError),
            (Frame.raw(4, flags: 0, stream: 1, []), .protocolError),
            (Frame.raw(4, flags: 0, stream: 0, [0]), .frameSizeError),
            (Frame.raw(4, flags: 1, stream: 0, [0, 0, 0, 0, 0, 0]), .frameSizeError),
            (Frame.settings([(2, 2)]), .protocolError),
            (Frame.settings([(4, 0x8000_0000)]), .flowControlError),
            (Frame.settings([(5, 16_383)]), .protocolError),
            (Frame.settings([(5, 16_777_216)]), .protocolError),
            (Frame.raw(5, flags: 4, stream: 1, [0, 0, 0, 2]), .protocolError),
            (Frame.raw(6, flags: 0, stream: 1, [UInt8](repeating: 0, count: 8)), .protocolError),
            (Frame.raw(6, flags: 0, stream: 0, [0]), .frameSizeError),
            (Frame.raw(7, flags: 0, stream: 1, [UInt8](repeating: 0, count: 8)), .protocolError),
            (Frame.raw(7, flags: 0, stream: 0, [0]), .frameSizeError),
            (Frame.windowUpdate(0, 0), .protocolError),
            (Frame.windowUpdate(0, 0x7FFF_FFFF), .flowControlError),
            (Frame.windowUpdate(9, 1), .protocolError),
            (Frame.raw(8, flags: 0, stream: 0, [0]), .frameSizeError),
            (Frame.raw(9, flags: 4, stream: 1, []), .protocolError),
            (Frame.raw(1, flags: 0, stream: 3, []) + Frame.ping(), .protocolError),
            (Frame.raw(1, flags: 0, stream: 3, []) + Frame.raw(9, flags: 4, stream: 5, []), .protocolError),
            ([0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 1], .frameSizeError),
            ([0, 0x40, 1, 0, 0, 0, 0, 0, 1], .frameSizeError),
        ]
    )
    func connectionErrors(bytes: [UInt8], code: HTTP2ErrorCode) throws {
        let server = TestConnection.server()
        _ = try #require(server.request(1, isEnd: false))
        server.feed(bytes)
        #expect(server.failureCode == code)
        #expect(server.taken().map(\.brief).suffix(2) == ["ended connectionFailed", "failed \(code)"])
        let last = try #require(server.written().last)
        #expect(last.kind == 7)
        #expect(last.word == code.rawValue)
        #expect(server.liveStreams == 0)
        // Nothing that comes later is looked at.
        server.feed(Frame.ping())
        #expect(server.written().isEmpty)
    }

    @Test(
        "What breaks a stream's rules ends the stream only",
        arguments: [
            (Frame.windowUpdate(1, 0), HTTP2ErrorCode.protocolError),
            (Frame.windowUpdate(1, 0x7FFF_FFFF), .flowControlError),
            (Frame.raw(2, flags: 0, stream: 1, [0]), .frameSizeError),
        ]
    )
    func streamErrors(bytes: [UInt8], code: HTTP2ErrorCode) throws {
        let server = TestConnection.server()
        _ = try #require(server.request(1, isEnd: false))
        server.feed(bytes)
        #expect(server.taken().map(\.brief) == ["ended fault(\(code))"])
        #expect(server.written().map(\.word) == [code.rawValue])
        #expect(server.request(3) != nil)
    }

    @Test func dataBehindTheEndOfItsStream() throws {
        let server = TestConnection.server()
        _ = try #require(server.request(1, isEnd: true))
        server.feed(Frame.data(1, [1]))
        #expect(server.taken().map(\.brief) == ["ended fault(STREAM_CLOSED)"])
        #expect(server.written().map(\.word) == [HTTP2ErrorCode.streamClosed.rawValue])
    }

    @Test func headersForAnEndedStream() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: true))
        server.machine.respond(handle, ResponseHead(), isEnd: true)
        server.feed(Frame.headers(1, Frame.get, isEnd: true))
        #expect(server.failureCode == .streamClosed)
    }

    @Test func theClientAcceptsNoPush() throws {
        let client = TestConnection.client()
        let handle = try #require(client.open())
        client.machine.request(handle, RequestHead(), isEnd: true)
        client.feed(Frame.raw(5, flags: 4, stream: 1, [0, 0, 0, 2]))
        #expect(client.failureCode == .protocolError)
    }

    @Test func theClientKnowsItsStreams() throws {
        let faults = [
            Frame.headers(1, Frame.ok, isEnd: true), Frame.data(1, [1]), Frame.headers(2, Frame.ok, isEnd: true),
        ]
        for bytes in faults {
            let client = TestConnection.client()
            client.feed(bytes)
            #expect(client.failureCode == .protocolError)
        }
    }

    @Test func padding() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false))
        server.machine.read(handle)
        server.feed(Frame.raw(0, flags: 9, stream: 1, [3, 1, 2, 0, 0, 0]))
        #expect(server.taken().map(\.brief) == ["body 2"])
        server.machine.read(handle)
        #expect(server.taken().map(\.brief) == ["end"])
        let block = Frame.block(Frame.get)
        server.feed(Frame.raw(1, flags: 0x2D, stream: 3, [2, 0, 0, 0, 0, 7] + block + [0, 0]))
        #expect(server.taken().map(\.brief) == ["request GET /a?b=c"])
    }

    @Test func aHeadInPieces() throws {
        let server = TestConnection.server()
        let block = Frame.block(Frame.get)
        var frames = Frame.raw(1, flags: 1, stream: 1, Array(block[..<5]))
        frames += Frame.raw(9, flags: 0, stream: 1, Array(block[5..<20]))
        frames += Frame.raw(9, flags: 4, stream: 1, Array(block[20...]))
        for byte in frames { server.feed([byte]) }
        #expect(server.taken().map(\.brief) == ["request GET /a?b=c"])
    }

    // MARK: Floods

    @Test("CVE-2024-27316: a head without end", arguments: [0, 1000])
    func continuations(size: Int) throws {
        let server = TestConnection.server()
        server.feed(Frame.raw(1, flags: 1, stream: 1, []))
        for _ in 0..<8 { server.feed(Frame.raw(9, flags: 0, stream: 1, [UInt8](repeating: 0, count: size))) }
        #expect(server.failureCode == nil)
        server.feed(Frame.raw(9, flags: 0, stream: 1, [UInt8](repeating: 0, count: size)))
        #expect(server.failureCode == .enhanceYourCalm)
    }

    @Test func aHeadThatIsFarTooLong() throws {
        let server = TestConnection.server()
        server.feed(Frame.raw(1, flags: 1, stream: 1, [UInt8](repeating: 0, count: 16_384)))
        for _ in 0..<4 { server.feed(Frame.raw(9, flags: 0, stream: 1, [UInt8](repeating: 0, count: 16_384))) }
        #expect(server.failureCode == .enhanceYourCalm)
    }

    @Test(
        "CVE-2019-9511 to 9518: frames without use",
        arguments: [
            Frame.ping(), Frame.settings([]), Frame.settings([(4, 1)]),
            Frame.raw(2, flags: 0, stream: 1, [0, 0, 0, 0, 1]),
            Frame.data(1, []), Frame.windowUpdate(0, 1), Frame.windowUpdate(1, 1),
            Frame.raw(99, flags: 0, stream: 1, []),
            Frame.raw(0, flags: 8, stream: 1, [0]), Frame.goAway(0),
        ]
    )
    func floods(frame: [UInt8]) throws {
        var configuration = HTTP2Configuration()
        configuration.overheadBudget = 100
        let server = TestConnection.server(configuration)
        _ = try #require(server.request(1, isEnd: false))
        var count = 0
        while server.failureCode == nil, count < 200 {
            server.feed(frame)
            count += 1
        }
        #expect(server.failureCode == .enhanceYourCalm)
        #expect(count > 20)
    }

    @Test func frameWithUseOrTimeBuysMore() throws {
        var configuration = HTTP2Configuration()
        configuration.overheadBudget = 100
        let server = TestConnection.server(configuration)
        let handle = try #require(server.request(1, isEnd: false))
        for _ in 0..<500 {
            server.machine.read(handle)
            server.feed(Frame.ping() + Frame.windowUpdate(0, 1) + Frame.data(1, [1]))
            _ = server.written()
        }
        #expect(server.failureCode == nil)
        for _ in 0..<5 {
            for _ in 0..<90 { server.feed(Frame.ping()) }
            server.now = server.now + .seconds(10)
        }
        #expect(server.failureCode == nil)
    }

    @Test("CVE-2023-44487: requests that are taken back at once")
    func rapidReset() throws {
        let server = TestConnection.server()
        var stream: UInt32 = 1
        while server.failureCode == nil, stream < 2000 {
            server.feed(Frame.headers(stream, Frame.get, isEnd: true) + Frame.reset(stream))
            stream += 2
        }
        #expect(server.failureCode == .enhanceYourCalm)
        #expect(stream / 2 == 201)
        #expect(server.liveStreams == 0)
    }

    @Test("CVE-2025-8671: requests that are made to fail")
    func madeYouReset() throws {
        let server = TestConnection.server()
        var stream: UInt32 = 1
        while server.failureCode == nil, stream < 2000 {
            server.feed(Frame.headers(stream, Frame.get, isEnd: true) + Frame.windowUpdate(stream, 0))
            stream += 2
        }
        #expect(server.failureCode == .enhanceYourCalm)
        #expect(stream / 2 == 201)
    }

    @Test("CVE-2019-9518: empty heads")
    func emptyHeads() {
        let server = TestConnection.server()
        var stream: UInt32 = 1
        while server.failureCode == nil, stream < 2000 {
            server.feed(Frame.raw(1, flags: 5, stream: stream, []))
            stream += 2
        }
        #expect(server.failureCode == .enhanceYourCalm)
        #expect(stream / 2 == 201)
    }

    @Test func resetsOfAPatientClientAreNoAttack() throws {
        let server = TestConnection.server()
        for number in 0..<1000 {
            let stream = UInt32(2 * number + 1)
            server.feed(Frame.headers(stream, Frame.get, isEnd: true))
            server.now = server.now + .seconds(1)
            server.feed(Frame.reset(stream))
        }
        #expect(server.failureCode == nil)
    }

    @Test func aClientThatDoesNotReadIsNotReadFrom() throws {
        var configuration = HTTP2Configuration()
        configuration.overheadBudget = .max / 8
        configuration.outputLimit = 10_000
        let server = TestConnection.server(configuration)
        server.machine.socketIsWritable(false)
        var count = 0
        while !server.isBackedUp, count < 10_000 {
            server.feed(Frame.ping())
            count += 1
        }
        #expect(count == 20_000 / 17 + 1)
        _ = server.written()
        #expect(!server.isBackedUp)
    }
}
