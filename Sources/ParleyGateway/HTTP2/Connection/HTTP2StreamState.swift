internal import DequeModule
internal import NIOCore

/// Names a stream of a connection for as long as it lives. The identifier of the wire does not do: a request has none
/// before its head is written.
struct HTTP2StreamHandle: Sendable, Hashable {
    var slot: Int32
    /// Counts the streams that have had this slot.
    var generation: UInt32
}

/// What a connection knows about one stream.
struct HTTP2StreamState: Sendable {
    enum Local: UInt8, Sendable {
        /// No head of ours was written.
        case idle
        case open
        /// Our end has been said, and waits behind the body for the window.
        case ending
        case ended
    }

    var identifier: UInt32 = 0
    var generation: UInt32 = 0
    var isLive = false
    var openedAt = NIODeadline.uptimeNanoseconds(0)

    // MARK: What we send

    var local = Local.idle
    var sendWindow = 0
    var queue = Deque<ByteBuffer>()
    var queued = 0
    var trailers: FieldBlock?
    /// In the queue of those that may send.
    var isReady = false
    /// It was told to write no more.
    var isStopped = false
    /// Something was sent since somebody last looked (``HTTP2Connection/expireStalled()``).
    var hasProgressed = false
    /// What our end is followed by if the peer has not ended, or the peer has broken a rule.
    var resetAfterEnd = HTTP2ErrorCode.noError
    /// Server: answered, and the client has not ended (``HTTP2Connection/linger(_:)``).
    var isLingering = false
    /// And was so when somebody last looked.
    var hasLingered = false

    // MARK: What we receive

    var hasRemoteEnded = false
    /// Client: the final head has come.
    var hasHead = false
    /// Client: the answer to HEAD, whose content-length says nothing about a body.
    var isHeadRequest = false
    /// The body is broken, or of no use: what still comes is thrown away.
    var isDiscarding = false
    /// The consumer has asked and got nothing yet.
    var isWanted = false
    /// Came before it was asked for; never more than a window.
    var inbound = ByteBuffer()
    var receivedTrailers: FieldBlock?
    var receiveWindow = 0
    /// Taken by the consumer, and not yet given back to the peer's window.
    var uncredited = 0
    /// Of content-length; negative when there is none.
    var expected: Int64 = -1
    var received: Int64 = 0
}
