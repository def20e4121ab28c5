internal import NIOCore

/// Puts method, header and body frames together into one message. Pure.
///
/// It holds at most `maximumBytes` and never allocates by what a header announces, only by what has come.
struct ContentAssembler: Sendable {
    struct Content: Sendable, Equatable {
        var method: AMQPMethod
        var properties: AMQPProperties
        var body: ByteBuffer
    }

    private enum State {
        case idle
        case awaitingHeader(AMQPMethod)
        case awaitingBody(AMQPMethod, AMQPProperties, remaining: Int, body: ByteBuffer)
    }

    let maximumBytes: Int
    private var state: State = .idle

    init(maximumBytes: Int) {
        self.maximumBytes = maximumBytes
    }

    enum Action: Equatable {
        case more
        case whole(Content)
        case tooLarge(UInt64)
        case violation(String)
    }

    var isIdle: Bool {
        if case .idle = self.state { true } else { false }
    }

    mutating func begin(_ method: AMQPMethod) -> Action {
        guard case .idle = self.state else { return .violation("\(method.name) inside a message") }
        self.state = .awaitingHeader(method)
        return .more
    }

    mutating func header(classID: UInt16, bodySize: UInt64, properties: AMQPProperties) -> Action {
        guard case .awaitingHeader(let method) = self.state, classID == 60 else {
            return .violation("a content header out of turn")
        }
        guard bodySize <= UInt64(self.maximumBytes) else { return .tooLarge(bodySize) }
        if bodySize == 0 {
            self.state = .idle
            return .whole(Content(method: method, properties: properties, body: ByteBuffer()))
        }
        self.state = .awaitingBody(method, properties, remaining: Int(bodySize), body: ByteBuffer())
        return .more
    }

    mutating func body(_ bytes: ByteBuffer) -> Action {
        guard case .awaitingBody(let method, let properties, var remaining, var body) = self.state else {
            return .violation("a body frame out of turn")
        }
        guard bytes.readableBytes <= remaining else { return .violation("a body longer than its header says") }
        self.state = .idle  // so that the buffer below has one owner and grows in place
        remaining -= bytes.readableBytes
        if remaining == 0 && body.readableBytes == 0 {
            return .whole(Content(method: method, properties: properties, body: bytes))
        }
        body.writeImmutableBuffer(bytes)
        if remaining == 0 { return .whole(Content(method: method, properties: properties, body: body)) }
        self.state = .awaitingBody(method, properties, remaining: remaining, body: body)
        return .more
    }
}
