internal import NIOCore

/// The client's side of one request: an HTTP/1 connection while it answers, or one stream of HTTP/2.
///
/// All calls come and go on the event loop of the connection. The owner is an ``Exchange``; after ``end(trailers:)``,
/// ``abort(_:)`` or ``RequestReceiver/clientGone()`` neither side calls the other any more.
protocol ClientStream: AnyObject {
    var eventLoop: any EventLoop { get }
    /// Whether what was written has left so far that more may come. A change is told to the receiver.
    var isWritable: Bool { get }
    /// An answer between 100 and 199; 101 hands the connection over: what follows on either side are bytes.
    func writeInformational(_ head: ResponseHead)
    /// The head of the answer. `isEnd`: no body follows, and ``end(trailers:)`` is not called.
    func write(_ head: ResponseHead, isEnd: Bool)
    func write(_ body: ByteBuffer)
    func end(trailers: FieldBlock?)
    /// The answer cannot be completed: the client must not take a part for the whole.
    func abort(_ reason: AbortReason)
    /// Asks for (more of) the body: one call of `received(body:)` or `bodyEnded` follows. Nothing is read unasked.
    func readBody()
    /// Sends what was written now, instead of when more has come or the answer has ended.
    func flush()
    /// How long the client may take, from now on: of the request's location.
    func apply(_ timing: ClientTiming, now: NIODeadline)
}

/// What a location says about the client's connection. Milliseconds.
struct ClientTiming: Sendable {
    var body: Int
    var send: Int
    var keepalive: Int
    var keepaliveRequests: Int
    var keepaliveTime: Int
    /// Whether a client that closes its side goes on being served.
    var ignoresAbort: Bool
}

enum AbortReason: Sendable {
    /// The upstream's answer ended too early, or broke a rule.
    case answerBroken
    /// The client took or sent too slowly.
    case timedOut
    /// Closed without an answer, as `return 444` says.
    case unanswered
    case shutDown
}

/// What a ``ClientStream`` tells.
protocol RequestReceiver: AnyObject {
    func received(body: ByteBuffer)
    func bodyEnded(trailers: FieldBlock?)
    /// The body breaks the rules of its framing: it is answered 400.
    func bodyBroken()
    /// The connection or the stream is gone, before the answer was complete.
    func clientGone()
    func clientWritabilityChanged(isWritable: Bool)
    /// HTTP/1: what had arrived has been told, as far as it was asked for.
    func clientReadCompleted()
}

/// One request on a connection to an instance.
protocol UpstreamStream: AnyObject {
    var isWritable: Bool { get }
    /// Whether the connection had already carried a request: it may have been closed by the other side meanwhile.
    var isReused: Bool { get }
    /// Whether any byte of this request was handed to the socket.
    var hasSent: Bool { get }
    func write(_ head: RequestHead, isEnd: Bool)
    func write(_ body: ByteBuffer)
    func end(trailers: FieldBlock?)
    /// Asks for (more of) the answer's body. The head comes unasked.
    func readBody()
    /// The answer is not wanted any more.
    func cancel()
}

/// What an ``UpstreamStream`` tells. After `answerEnded` and `failed` it is silent.
protocol ResponseReceiver: AnyObject {
    /// Of 1xx, any number; then one that is final.
    func received(head: ResponseHead)
    func received(answer: ByteBuffer)
    func answerEnded(trailers: FieldBlock?)
    func failed(_ failure: UpstreamFailure)
    func upstreamWritabilityChanged(isWritable: Bool)
    /// Everything that had come has been told: what it led to can be sent on.
    func upstreamReadCompleted()
}

/// Why an attempt at an instance did not get an answer, or not all of it.
struct UpstreamFailure: Error, Sendable, Hashable {
    enum Kind: Sendable, Hashable {
        /// No connection: refused, unreachable, no such host.
        case connect
        case tls
        case connectTimeout
        case sendTimeout
        case readTimeout
        /// The connection ended before the head of an answer.
        case lost
        /// The connection ended, or broke its framing, within the body.
        case truncated
        /// What came is no HTTP, or breaks a rule that keeps two messages apart.
        case garbage
        case headTooLarge
        /// Another instance answered than the one that was asked.
        case misdirected
        /// The peer of HTTP/2 refused the stream: nothing was done.
        case refused
        /// No room for another connection or request.
        case overflow
    }

    var kind: Kind
    /// For people: what was seen, for example `connection refused`.
    var detail: String

    static let tooManyWait = UpstreamFailure(
        kind: .overflow,
        detail: "as many requests as allowed wait for a connection"
    )
    static let tooManyConnections = UpstreamFailure(kind: .overflow, detail: "as many connections as allowed are open")
}

extension ClientStream {
    /// HTTP/2 gathers what is written in one tick by itself.
    func flush() {}
    /// Its own limits hold for the whole connection.
    func apply(_ timing: ClientTiming, now: NIODeadline) {}
}
