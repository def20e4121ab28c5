/// The codes with which HTTP/2 says why a stream or a connection ends (RFC 9113, section 7).
struct HTTP2ErrorCode: RawRepresentable, Hashable, Sendable, CustomStringConvertible {
    var rawValue: UInt32

    static let noError = HTTP2ErrorCode(rawValue: 0x0)
    static let protocolError = HTTP2ErrorCode(rawValue: 0x1)
    static let internalError = HTTP2ErrorCode(rawValue: 0x2)
    static let flowControlError = HTTP2ErrorCode(rawValue: 0x3)
    static let settingsTimeout = HTTP2ErrorCode(rawValue: 0x4)
    static let streamClosed = HTTP2ErrorCode(rawValue: 0x5)
    static let frameSizeError = HTTP2ErrorCode(rawValue: 0x6)
    static let refusedStream = HTTP2ErrorCode(rawValue: 0x7)
    static let cancel = HTTP2ErrorCode(rawValue: 0x8)
    static let compressionError = HTTP2ErrorCode(rawValue: 0x9)
    static let connectError = HTTP2ErrorCode(rawValue: 0xA)
    static let enhanceYourCalm = HTTP2ErrorCode(rawValue: 0xB)
    static let inadequateSecurity = HTTP2ErrorCode(rawValue: 0xC)
    static let http11Required = HTTP2ErrorCode(rawValue: 0xD)

    private static let names = [
        "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
        "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
    ]

    var description: String {
        self.rawValue < UInt32(Self.names.count) ? Self.names[Int(self.rawValue)] : "error code \(self.rawValue)"
    }
}

/// The peer broke a rule of HTTP/2 in a way that ends the whole connection: the two sides no longer agree about its
/// state, or the peer costs more than it asks for. Each open stream ends with it; a request that the peer has not
/// answered may be tried on another connection under the rules for a lost one.
struct HTTP2Error: Error, Sendable, Hashable, CustomStringConvertible {
    var code: HTTP2ErrorCode
    /// The stream of the offending frame, 0 for the connection itself.
    var stream: UInt32
    /// What was seen, for people.
    var reason: String

    init(_ code: HTTP2ErrorCode, stream: UInt32 = 0, _ reason: String) {
        self.code = code
        self.stream = stream
        self.reason = reason
    }

    var description: String {
        let advice =
            self.code == .enhanceYourCalm
            ? "the peer asks for work without use; raise the limit if it is a friend"
            : "the peer's HTTP/2 is at fault"
        return "HTTP/2 connection closed (\(self.code), stream \(self.stream)): \(self.reason); \(advice)"
    }
}
