internal import NIOCore

/// What a connection has to tell its owner.
enum HTTP2Event: Sendable {
    /// Server: a request. Its framing says whether a body follows.
    case request(HTTP2StreamHandle, RequestHead)
    /// Client: an answer, informational or final. When its framing is `.none` and it is final, the stream has ended.
    case response(HTTP2StreamHandle, ResponseHead)
    /// What was asked for.
    case body(HTTP2StreamHandle, ByteBuffer)
    /// There is no more; it was asked for too. Client: the stream has ended.
    case bodyEnded(HTTP2StreamHandle, trailers: FieldBlock?)
    /// Server: the body does not fit its content-length, or its trailers break a rule. The answer is still possible.
    case bodyBroken(HTTP2StreamHandle)
    /// The stream has ended before its time.
    case ended(HTTP2StreamHandle, HTTP2StreamEnd)
    case writabilityChanged(HTTP2StreamHandle, isWritable: Bool)
    /// Client: the server takes no more requests on this connection.
    case goingAway
    /// Client: there may be more room for streams than before.
    case roomChanged
    /// The peer has answered a PING of ours.
    case pingAcknowledged(UInt64)
    /// The connection has failed: GOAWAY is in the output, close when it is sent. Each stream has had its end.
    case failed(HTTP2Error)
}

/// Why a stream ended before its time.
enum HTTP2StreamEnd: Sendable, Hashable {
    /// By the peer.
    case reset(HTTP2ErrorCode)
    /// By us, because the peer broke a rule.
    case fault(HTTP2ErrorCode)
    /// Client: the server has done nothing for it, says REFUSED_STREAM or GOAWAY.
    case refused
    /// Client: the answer breaks a rule.
    case malformed(HTTP2Malformation)
    case headTooLarge
    case connectionFailed
}
