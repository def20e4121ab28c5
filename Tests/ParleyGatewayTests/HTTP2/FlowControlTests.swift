import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct FlowControlTests {
    private func body(_ count: Int) -> ByteBuffer { ByteBuffer(repeating: 7, count: count) }

    private func dataBytes(_ frames: [Frame]) -> Int {
        frames.filter { $0.kind == 0 }.reduce(0) { $0 + $1.payload.count }
    }

    // MARK: What we receive

    @Test func aConsumerThatDoesNotAskGetsNoMoreThanAWindow() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false))
        for _ in 0..<4 { server.feed(Frame.data(1, [UInt8](repeating: 0, count: 16_384))) }
        #expect(server.taken().isEmpty)
        #expect(server.written().isEmpty)
        server.feed(Frame.data(1, [0]))
        #expect(server.taken().map(\.brief) == ["ended fault(FLOW_CONTROL_ERROR)"])
        #expect(!server.isLive(handle))
        #expect(server.connectionWindow == 1_048_576)
    }

    @Test func theWindowOpensAsTheConsumerAsks() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1, isEnd: false))
        server.machine.read(handle)
        server.feed(Frame.data(1, [UInt8](repeating: 0, count: 10_000)))
        server.machine.read(handle)
        #expect(server.written().isEmpty)
        server.feed(
            Frame.data(1, [UInt8](repeating: 0, count: 16_000)) + Frame.data(1, [UInt8](repeating: 0, count: 8000))
        )
        // Both were taken only when it asked for more.
        server.machine.read(handle)
        #expect(server.written().isEmpty)
        server.machine.read(handle)
        let updates = server.written()
        #expect(updates.map(\.stream) == [1])
        #expect(updates.map(\.word) == [34_000])
    }

    @Test func theConnectionsWindowIsKept() throws {
        var configuration = HTTP2Configuration()
        configuration.connectionWindow = 65_535
        let server = TestConnection.server(configuration)
        for stream in [UInt32(1), 3] { _ = try #require(server.request(stream, isEnd: false)) }
        for _ in 0..<3 { server.feed(Frame.data(1, [UInt8](repeating: 0, count: 16_384))) }
        server.feed(Frame.data(3, [UInt8](repeating: 0, count: 16_383)))
        #expect(server.failure == nil)
        server.feed(Frame.data(3, [0]))
        #expect(server.failureCode == .flowControlError)
    }

    @Test("What is thrown away is given back to the connection", arguments: [true, false])
    func thrownAway(isReset: Bool) throws {
        let server = TestConnection.server()
        var stream: UInt32 = 1
        for _ in 0..<200 {
            let handle = try #require(server.request(stream, isEnd: false))
            server.feed(Frame.data(stream, [UInt8](repeating: 0, count: 16_384)))
            if isReset {
                server.machine.cancel(handle, .cancel)
            } else {
                server.machine.respond(handle, ResponseHead(), isEnd: true)
            }
            // Under way when we ended it.
            server.feed(Frame.data(stream, [UInt8](repeating: 0, count: 16_384), isEnd: true))
            _ = server.written()
            stream += 2
        }
        #expect(server.failure == nil)
        #expect(server.connectionWindow == 1_048_576)
        #expect(server.liveStreams == 0)
    }

    @Test func paddingIsGivenBackAtOnce() throws {
        let server = TestConnection.server()
        _ = try #require(server.request(1, isEnd: false))
        for _ in 0..<2000 {
            server.feed(Frame.raw(0, flags: 8, stream: 1, [200] + [UInt8](repeating: 0, count: 201)))
        }
        #expect(server.failure == nil)
        #expect(server.connectionWindow == 1_048_576 - 2000)
    }

    // MARK: What we send

    @Test func aBodyWaitsForTheStreamsWindow() throws {
        let server = TestConnection.server()
        server.feed(Frame.settings([(4, 10)]))
        let handle = try #require(server.request(1))
        server.machine.respond(handle, ResponseHead(), isEnd: false)
        server.machine.write(handle, self.body(25))
        server.machine.end(handle, trailers: nil)
        #expect(server.written().filter { $0.kind == 0 }.map(\.payload.count) == [10])
        server.feed(Frame.windowUpdate(1, 10))
        #expect(server.written().map(\.flags) == [0])
        server.feed(Frame.settings([(4, 15)]))
        let last = server.written()
        #expect(last.filter { $0.kind == 0 }.map(\.payload.count) == [5])
        #expect(last.filter { $0.kind == 0 }.map(\.flags) == [1])
        #expect(server.liveStreams == 0)
    }

    @Test func trailersWaitForTheBody() throws {
        let server = TestConnection.server()
        server.feed(Frame.settings([(4, 10)]))
        let handle = try #require(server.request(1))
        server.machine.respond(handle, ResponseHead(), isEnd: false)
        server.machine.write(handle, self.body(15))
        server.machine.end(handle, trailers: FieldBlock([TextField("grpc-status", "0")]))
        _ = server.written()
        server.feed(Frame.windowUpdate(1, 10))
        #expect(server.written().map(\.kind) == [0, 1])
        #expect(server.liveStreams == 0)
    }

    @Test func aWindowMayBecomeNegative() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1))
        server.machine.respond(handle, ResponseHead(), isEnd: false)
        server.machine.write(handle, self.body(1000))
        server.feed(Frame.settings([(4, 0)]))
        server.machine.write(handle, self.body(10))
        _ = server.written()
        server.feed(Frame.windowUpdate(1, 1000))
        #expect(self.dataBytes(server.written()) == 0)
        server.feed(Frame.windowUpdate(1, 4))
        #expect(self.dataBytes(server.written()) == 4)
    }

    @Test func streamsShareTheConnectionsWindowInTurn() throws {
        let server = TestConnection.server()
        server.feed(Frame.settings([(4, 1_000_000)]))
        var handles: [HTTP2StreamHandle] = []
        for stream in [UInt32(1), 3, 5] { handles.append(try #require(server.request(stream))) }
        for handle in handles {
            server.machine.respond(handle, ResponseHead(), isEnd: false)
            server.machine.write(handle, self.body(100_000))
        }
        #expect(self.dataBytes(server.written()) == 65_535)
        for _ in 0..<20 {
            server.feed(Frame.windowUpdate(0, 3 * 16_384))
            let frames = server.written().filter { $0.kind == 0 }
            guard frames.count == 3 else { break }
            // The first stream has had its turn before the others came.
            #expect(Set(frames.map(\.stream)).count == 3)
            if frames.contains(where: { $0.payload.count < 16_384 }) { break }
        }
    }

    @Test func writabilityFollowsTheMarks() throws {
        let server = TestConnection.server()
        let handle = try #require(server.request(1))
        server.machine.respond(handle, ResponseHead(), isEnd: false)
        server.machine.write(handle, self.body(65_535))
        #expect(server.isWritable(handle))
        server.machine.write(handle, self.body(65_535))
        #expect(server.isWritable(handle))
        server.machine.write(handle, self.body(1))
        #expect(!server.isWritable(handle))
        #expect(server.taken().map(\.brief) == ["writable false"])
        server.feed(Frame.windowUpdate(0, 100_000) + Frame.windowUpdate(1, 65_536 - 16_385))
        #expect(server.taken().isEmpty)
        server.feed(Frame.windowUpdate(1, 1))
        #expect(server.taken().map(\.brief) == ["writable true"])
        #expect(server.isWritable(handle))
    }

    @Test func theSocketHoldsBodiesBack() throws {
        var configuration = HTTP2Configuration()
        configuration.outputLimit = 20_000
        let server = TestConnection.server(configuration)
        let handle = try #require(server.request(1))
        server.machine.respond(handle, ResponseHead(), isEnd: false)
        server.machine.write(handle, self.body(60_000))
        #expect(self.dataBytes(server.written()) == 2 * 16_384)
        server.machine.socketIsWritable(false)
        #expect(server.written().isEmpty)
        server.machine.socketIsWritable(true)
        #expect(self.dataBytes(server.written()) == 60_000 - 2 * 16_384)
    }

    // MARK: Both sides

    /// A client and a server exchange bodies in random pieces; each asks at random. What arrives is what was sent.
    @Test("Two ends agree, however the bytes are cut", .timeLimit(.minutes(5)), arguments: 0..<30 as Range<UInt64>)
    func twoEnds(seed: UInt64) throws {
        var random = SeededGenerator(seed)
        var configuration = HTTP2Configuration()
        configuration.streamWindow = [1000, 65_536, 200_000][Int(seed % 3)]
        configuration.maximumStreams = 20
        let pair = ConnectionPair(configuration)
        for _ in 0..<400 { pair.step(&random) }
        pair.finish(&random)
        #expect(pair.client.failure == nil)
        #expect(pair.server.failure == nil)
        #expect(pair.client.liveStreams == 0)
        #expect(pair.server.liveStreams == 0)
        #expect(pair.completed > 20)
        #expect(pair.mismatches.isEmpty)
    }

    @Test func manyStreamsInSequenceLeaveNothingBehind() throws {
        var random = SeededGenerator(1)
        let pair = ConnectionPair(HTTP2Configuration())
        for _ in 0..<1000 {
            pair.openRequest(&random, size: 100)
            pair.finish(&random)
            pair.server.now = pair.server.now + .milliseconds(100)
        }
        #expect(pair.completed == 1000)
        #expect(pair.mismatches.isEmpty)
        for end in [pair.client, pair.server] {
            #expect(end.failure == nil)
            #expect(end.liveStreams == 0)
            #expect(end.slotCount == 1)
            #expect(end.capacities < 32_768)
        }
    }
}

extension TestConnection {
    var slotCount: Int { self.machine.slots.count }
    /// What the connection holds on to between streams.
    var capacities: Int {
        self.machine.input.capacity + self.machine.output.byteCount + self.machine.events.count
            + self.machine.ready.count + self.machine.slots.reduce(0) { $0 + $1.inbound.capacity }
    }
}

/// A client's and a server's machine with a wire of random cuts between them. Each request carries a body that the
/// server sends back with trailers.
final class ConnectionPair {
    let client: TestConnection
    let server: TestConnection
    private(set) var completed = 0
    private(set) var mismatches: [String] = []
    private var toServer: [UInt8] = []
    private var toClient: [UInt8] = []
    private var requests: [HTTP2StreamHandle: Request] = [:]
    private var served: [HTTP2StreamHandle: Served] = [:]

    private struct Request {
        var body: [UInt8]
        var sent = 0
        var received: [UInt8] = []
        var wantsMore = true
    }

    private struct Served {
        var queue: [UInt8] = []
        var hasEnded = false
        var wantsMore = true
    }

    init(_ configuration: HTTP2Configuration) {
        self.client = TestConnection(.client(isSecure: false), configuration)
        self.server = TestConnection(.server, configuration)
    }

    func openRequest(_ random: inout SeededGenerator, size: Int) {
        guard let handle = self.client.open() else { return }
        let body = (0..<Int.random(in: 0...size, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        var head = RequestHead(block: FieldBlock([TextField("x-size", "\(body.count)")]), method: .post)
        let start = head.block.bytes.readableBytes
        head.block.bytes.writeString("/echoshop")
        head.target = ByteRange(start: start, count: 5)
        head.authority = ByteRange(start: start + 5, count: 4)
        self.client.machine.request(handle, head, isEnd: body.isEmpty)
        self.requests[handle] = Request(body: body)
    }

    func step(_ random: inout SeededGenerator) {
        switch Int.random(in: 0..<8, using: &random) {
        case 0: self.openRequest(&random, size: [10, 5000, 200_000][Int.random(in: 0..<3, using: &random)])
        case 1: self.client.machine.socketIsWritable(Bool.random(using: &random))
        case 2: self.server.machine.socketIsWritable(Bool.random(using: &random))
        default: self.move(&random, isAll: false)
        }
    }

    /// Until nothing is under way.
    func finish(_ random: inout SeededGenerator) {
        var rounds = 0
        repeat {
            // As a socket says that has taken everything: what did not fit before is written then.
            self.client.machine.socketIsWritable(true)
            self.server.machine.socketIsWritable(true)
            self.move(&random, isAll: true)
            rounds += 1
        } while rounds < 20_000 && !(self.requests.isEmpty && self.toServer.isEmpty && self.toClient.isEmpty)
    }

    private func move(_ random: inout SeededGenerator, isAll: Bool) {
        for (handle, request) in self.requests where request.sent < request.body.count {
            guard self.client.isWritable(handle), self.client.isLive(handle) else { continue }
            let count = min(request.body.count - request.sent, Int.random(in: 1...30_000, using: &random))
            let piece = request.body[request.sent..<request.sent + count]
            self.client.machine.write(handle, ByteBuffer(bytes: piece))
            self.requests[handle]?.sent += count
            if request.sent + count == request.body.count { self.client.machine.end(handle, trailers: nil) }
        }
        for handle in self.requests.keys where self.requests[handle]?.wantsMore == true && Bool.random(using: &random) {
            self.requests[handle]?.wantsMore = false
            self.client.machine.read(handle)
        }
        for handle in self.served.keys { self.serve(handle, &random) }
        self.toServer += self.client.writtenBytes()
        self.toClient += self.server.writtenBytes()
        self.toServer = Self.cut(self.toServer, isAll, &random) { self.server.feed($0) }
        self.toClient = Self.cut(self.toClient, isAll, &random) { self.client.feed($0) }
        for event in self.server.taken() { self.serverEvent(event) }
        for event in self.client.taken() { self.clientEvent(event) }
    }

    private static func cut(
        _ bytes: [UInt8],
        _ isAll: Bool,
        _ random: inout SeededGenerator,
        _ feed: ([UInt8]) -> Void
    ) -> [UInt8] {
        var rest = bytes[...]
        repeat {
            guard !rest.isEmpty else { break }
            let count = min(
                rest.count,
                Int.random(in: 1...[8, 500, 40_000][Int.random(in: 0..<3, using: &random)], using: &random)
            )
            feed(Array(rest.prefix(count)))
            rest = rest.dropFirst(count)
        } while isAll
        return Array(rest)
    }

    private func serve(_ handle: HTTP2StreamHandle, _ random: inout SeededGenerator) {
        guard var state = self.served[handle] else { return }
        if state.wantsMore, Bool.random(using: &random) {
            state.wantsMore = false
            self.server.machine.read(handle)
        }
        if !state.queue.isEmpty, self.server.isWritable(handle) {
            let count = min(state.queue.count, 20_000)
            self.server.machine.write(handle, ByteBuffer(bytes: state.queue.prefix(count)))
            state.queue.removeFirst(count)
        }
        self.served[handle] = state
        if state.hasEnded, state.queue.isEmpty {
            self.served[handle] = nil
            self.server.machine.end(handle, trailers: FieldBlock([TextField("grpc-status", "0")]))
        }
    }

    private func serverEvent(_ event: HTTP2Event) {
        switch event {
        case .request(let handle, _):
            self.served[handle] = Served()
            self.server.machine.respond(handle, ResponseHead(), isEnd: false)
        case .body(let handle, let body):
            self.served[handle]?.queue += bytes(body)
            self.served[handle]?.wantsMore = true
        case .bodyEnded(let handle, _): self.served[handle]?.hasEnded = true
        case .writabilityChanged, .pingAcknowledged: break
        default: self.mismatches.append("server: \(event.brief)")
        }
    }

    private func clientEvent(_ event: HTTP2Event) {
        switch event {
        case .response(_, let head): if head.status != 200 { self.mismatches.append("status \(head.status)") }
        case .body(let handle, let body):
            self.requests[handle]?.received += bytes(body)
            self.requests[handle]?.wantsMore = true
        case .bodyEnded(let handle, let trailers):
            let request = self.requests.removeValue(forKey: handle)
            if request?.received != request?.body { self.mismatches.append("another body came back") }
            if trailers?.texts != [TextField("grpc-status", "0")] { self.mismatches.append("other trailers") }
            self.completed += 1
        case .writabilityChanged, .roomChanged: break
        default: self.mismatches.append("client: \(event.brief)")
        }
    }
}
