import NIOCore

@testable import ParleyGateway

/// A connection with what it has told and written so far.
final class TestConnection {
    var machine: HTTP2Connection
    var now = NIODeadline.uptimeNanoseconds(1_000_000_000)
    private(set) var events: [HTTP2Event] = []

    init(_ role: HTTP2Connection.Role, _ configuration: HTTP2Configuration = HTTP2Configuration()) {
        self.machine = HTTP2Connection(role, configuration: configuration)
    }

    /// A server that has got the preface and the settings of a client, and whose own beginning has been taken.
    static func server(_ configuration: HTTP2Configuration = HTTP2Configuration()) -> TestConnection {
        let server = TestConnection(.server, configuration)
        server.feed(HTTP2Connection.preface + Frame.settings([]))
        server.feed(Frame.raw(4, flags: 1, stream: 0, []))
        _ = server.written()
        return server
    }

    static func client(_ configuration: HTTP2Configuration = HTTP2Configuration()) -> TestConnection {
        let client = TestConnection(.client(isSecure: false), configuration)
        client.feed(Frame.settings([]))
        client.feed(Frame.raw(4, flags: 1, stream: 0, []))
        _ = client.written()
        _ = client.taken()
        return client
    }

    func feed(_ bytes: [UInt8]) {
        self.machine.receive(ByteBuffer(bytes: bytes))
        self.collect()
    }

    func collect() {
        while let event = self.machine.next(now: self.now) { self.events.append(event) }
    }

    /// The events since the last call.
    func taken() -> [HTTP2Event] {
        self.collect()
        defer { self.events = [] }
        return self.events
    }

    func writtenBytes() -> [UInt8] {
        var all: [UInt8] = []
        while let piece = self.machine.takeOutput() { all += bytes(piece) }
        return all
    }

    /// The frames since the last call, without a client's preface.
    func written() -> [Frame] {
        var all = self.writtenBytes()[...]
        if all.starts(with: HTTP2Connection.preface) { all = all.dropFirst(HTTP2Connection.preface.count) }
        return Frame.parse(Array(all))
    }

    /// Opens a request on a server and returns its handle.
    func request(_ stream: UInt32, isEnd: Bool = true, fields: [TextField] = []) -> HTTP2StreamHandle? {
        self.feed(Frame.headers(stream, Frame.get + fields, isEnd: isEnd))
        for event in self.taken() {
            if case .request(let handle, _) = event { return handle }
        }
        return nil
    }

    var failure: HTTP2Error? { self.machine.failure }
    var failureCode: HTTP2ErrorCode? { self.machine.failure?.code }
    var liveStreams: Int { self.machine.liveStreams }
    var isDrained: Bool { self.machine.isDrained }
    var isBackedUp: Bool { self.machine.isBackedUp }
    /// What the peer may still send in all, once what is on its way back to it is told.
    var connectionWindow: Int { self.machine.receiveWindow + self.machine.uncredited }

    func isLive(_ handle: HTTP2StreamHandle) -> Bool { self.machine.isLive(handle) }
    func isWritable(_ handle: HTTP2StreamHandle) -> Bool { self.machine.isWritable(handle) }
    func open() -> HTTP2StreamHandle? { self.machine.open(now: self.now) }
}

/// A frame as it stands on the wire.
struct Frame: Equatable, CustomStringConvertible {
    var kind: UInt8
    var flags: UInt8
    var stream: UInt32
    var payload: [UInt8]

    var description: String { "Frame(\(self.kind), flags \(self.flags), stream \(self.stream), \(self.payload))" }

    /// The last four bytes: of RST_STREAM and GOAWAY the code, of WINDOW_UPDATE the increment.
    var word: UInt32 { self.payload.suffix(4).reduce(0) { $0 << 8 | UInt32($1) } }

    static func raw(_ kind: UInt8, flags: UInt8, stream: UInt32, _ payload: [UInt8]) -> [UInt8] {
        let length = UInt32(payload.count)
        return [UInt8(length >> 16 & 0xFF), UInt8(length >> 8 & 0xFF), UInt8(length & 0xFF), kind, flags]
            + Self.word(stream) + payload
    }

    static func word(_ value: UInt32) -> [UInt8] { (0..<4).map { UInt8(value >> (24 - 8 * UInt32($0)) & 0xFF) } }

    static func settings(_ values: [(UInt16, UInt32)]) -> [UInt8] {
        let payload = values.flatMap { [UInt8($0.0 >> 8), UInt8($0.0 & 0xFF)] + Self.word($0.1) }
        return Self.raw(4, flags: 0, stream: 0, payload)
    }

    static func data(_ stream: UInt32, _ body: [UInt8], isEnd: Bool = false) -> [UInt8] {
        Self.raw(0, flags: isEnd ? 1 : 0, stream: stream, body)
    }

    static func headers(_ stream: UInt32, _ fields: [TextField], isEnd: Bool) -> [UInt8] {
        Self.raw(1, flags: isEnd ? 5 : 4, stream: stream, Self.block(fields))
    }

    static func reset(_ stream: UInt32, _ code: HTTP2ErrorCode = .cancel) -> [UInt8] {
        Self.raw(3, flags: 0, stream: stream, Self.word(code.rawValue))
    }

    static func windowUpdate(_ stream: UInt32, _ increment: UInt32) -> [UInt8] {
        Self.raw(8, flags: 0, stream: stream, Self.word(increment))
    }

    static func goAway(_ last: UInt32, _ code: HTTP2ErrorCode = .noError) -> [UInt8] {
        Self.raw(7, flags: 0, stream: 0, Self.word(last) + Self.word(code.rawValue))
    }

    static func ping(_ number: UInt8 = 0) -> [UInt8] {
        Self.raw(6, flags: 0, stream: 0, [UInt8](repeating: number, count: 8))
    }

    /// Literal fields that touch no table.
    static func block(_ fields: [TextField]) -> [UInt8] {
        var buffer = ByteBuffer()
        for field in fields {
            buffer.writeInteger(UInt8(0))
            for text in [field.name, field.value] {
                HPACKEncoder.write(text.utf8.count, prefix: 7, flags: 0, into: &buffer)
                buffer.writeString(text)
            }
        }
        return bytes(buffer)
    }

    static let get = [
        TextField(":method", "GET"), TextField(":scheme", "http"), TextField(":path", "/a?b=c"),
        TextField(":authority", "shop.example"),
    ]
    static let post = [
        TextField(":method", "POST"), TextField(":scheme", "http"), TextField(":path", "/orders"),
        TextField(":authority", "shop.example"),
    ]
    static let ok = [TextField(":status", "200")]

    static func parse(_ bytes: [UInt8]) -> [Frame] {
        var frames: [Frame] = []
        var rest = bytes[...]
        while rest.count >= 9 {
            let head = Array(rest.prefix(9))
            let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
            let stream = head[5...8].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            rest = rest.dropFirst(9)
            frames.append(Frame(kind: head[3], flags: head[4], stream: stream, payload: Array(rest.prefix(length))))
            rest = rest.dropFirst(length)
        }
        return frames
    }
}

extension HTTP2Event {
    /// In short, for comparing.
    var brief: String {
        switch self {
        case .request(_, let head): return "request \(head.block.text(head.methodName)) \(head.block.text(head.target))"
        case .response(_, let head): return "response \(head.status)"
        case .body(_, let body): return "body \(body.readableBytes)"
        case .bodyEnded(_, nil): return "end"
        case .bodyEnded(_, let trailers?): return "trailers \(trailers.texts)"
        case .bodyBroken: return "broken"
        case .ended(_, let end): return "ended \(end)"
        case .writabilityChanged(_, let isWritable): return "writable \(isWritable)"
        case .goingAway: return "going away"
        case .roomChanged: return "room"
        case .pingAcknowledged: return "pong"
        case .failed(let error): return "failed \(error.code)"
        }
    }
}
