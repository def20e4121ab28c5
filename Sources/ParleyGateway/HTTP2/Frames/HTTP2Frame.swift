internal import NIOCore

/// The kinds of frames (RFC 9113, section 6). Others are skipped.
enum HTTP2FrameKind: UInt8, Sendable {
    case data, headers, priority, resetStream, settings, pushPromise, ping, goAway, windowUpdate, continuation
}

enum HTTP2Flags {
    static let endStream: UInt8 = 0x1
    static let acknowledge: UInt8 = 0x1
    static let endHeaders: UInt8 = 0x4
    static let padded: UInt8 = 0x8
    static let priority: UInt8 = 0x20
}

/// The nine bytes in front of each frame.
struct HTTP2FrameHeader: Sendable, Hashable {
    static let size = 9
    /// A frame is never longer: we announce no other SETTINGS_MAX_FRAME_SIZE than the one that all start with.
    static let largestPayload = 16_384

    var length: Int
    /// `nil`: a kind that is not known.
    var kind: HTTP2FrameKind?
    var flags: UInt8
    var stream: UInt32

    /// The header at the front of what is readable; `nil` when it is not all there. Nothing is consumed.
    init?(_ buffer: ByteBuffer) {
        let start = buffer.readerIndex
        guard let front = buffer.getInteger(at: start, as: UInt32.self),
            let flags = buffer.getInteger(at: start &+ 4, as: UInt8.self),
            let stream = buffer.getInteger(at: start &+ 5, as: UInt32.self)
        else { return nil }
        self.length = Int(front >> 8)
        self.kind = HTTP2FrameKind(rawValue: UInt8(truncatingIfNeeded: front))
        self.flags = flags
        self.stream = stream & 0x7FFF_FFFF
    }

    func has(_ flag: UInt8) -> Bool { self.flags & flag != 0 }
}

/// What a setting is called (RFC 9113, section 6.5.2).
enum HTTP2SettingKind: UInt16, Sendable {
    case headerTableSize = 1
    case enablePush = 2
    case maxConcurrentStreams = 3
    case initialWindowSize = 4
    case maxFrameSize = 5
    case maxHeaderListSize = 6
}

enum HTTP2Window {
    /// What each window begins with (RFC 9113, section 6.9.2).
    static let initial = 65_535
    static let largest = 0x7FFF_FFFF
}
