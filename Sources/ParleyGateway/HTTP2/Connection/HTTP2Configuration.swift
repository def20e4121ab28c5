internal import NIOCore

/// The limits of one connection. What nginx limits has nginx's value.
struct HTTP2Configuration: Sendable {
    /// Streams that the peer may have open at once (nginx: `http2_max_concurrent_streams`).
    var maximumStreams = 128
    /// What a peer may send on a stream that nobody reads (nginx: `http2_body_preread_size`).
    var streamWindow = 65_536
    /// What a peer may send on all streams that nobody reads: the memory that one connection can take for bodies. A
    /// sixteenth of the streams can stall before the others feel it.
    var connectionWindow = 1_048_576
    /// Of received heads (nginx: `large_client_header_buffers 4 8k`).
    var fields = HTTP2FieldLimits(section: 32_768, field: 8192)
    /// CONTINUATION frames of one head.
    var maximumContinuations = 8
    /// Body that waits on a stream for its window: above the first the stream is not writable, until the second.
    var highWaterMark = 65_536
    var lowWaterMark = 16_384
    /// Bytes of frames that are made before the socket has taken those before. While twice as many wait, nothing is
    /// read: a peer that does not read answers does not get to ask for more.
    var outputLimit = 262_144
    /// Frames without use (PING, SETTINGS, PRIORITY, WINDOW_UPDATE, empty DATA, of unknown kinds, for streams that have
    /// ended) in ``overheadPeriod``. Each one of use buys ``overheadPerUse`` more, up to this number again.
    var overheadBudget = 2000
    var overheadPerUse = 4
    var overheadPeriod = TimeAmount.seconds(10)
    /// Streams that ended by a reset within ``resetLifetime`` or by the peer's fault, in ``resetPeriod``: above this
    /// number, and more than half of all requests, the connection ends.
    var resetBudget = 200
    var resetLifetime = TimeAmount.seconds(1)
    var resetPeriod = TimeAmount.seconds(30)
    /// With what a malformed request and a head over the limits are answered (nginx: 400 both).
    var malformedStatus: UInt16 = 400
    var oversizedStatus: UInt16 = 400

    /// Server: how long a connection without a stream stays (nginx: `keepalive_timeout`).
    var idleTimeout = TimeAmount.seconds(75)
    /// Server: how long an answer that is complete on our side may wait for a client that takes nothing of it; at most
    /// twice as long (nginx: `send_timeout`). Before that it is the consumer who waits.
    var sendTimeout = TimeAmount.seconds(60)
    /// Server: how long a client that has got its answer may go on with its request before it is told to stop; at most
    /// twice as long (nginx in HTTP/1: `lingering_timeout`).
    var lingerTimeout = TimeAmount.seconds(5)
    /// Server: after so many requests, or so long, the connection is ended gently (nginx: `keepalive_requests`,
    /// `keepalive_time`).
    var maximumRequests = 1000
    var maximumAge = TimeAmount.hours(1)
    /// How long the peer may take to say that it has read our farewell before it counts as read.
    var drainGrace = TimeAmount.seconds(1)

    /// Client: a PING after so long without a frame; `nil` for none. Without an answer in ``pingTimeout`` the
    /// connection is lost.
    var pingInterval: TimeAmount?
    var pingTimeout = TimeAmount.seconds(20)
    /// Client: what is assumed until the server has said how many streams it takes.
    var assumedStreams = 100
}
