package import NIOCore

/// The target of a request, taken apart by nginx's rules: the path that locations are looked up by, decoded once, with
/// its dot segments resolved, and the arguments as they came.
///
/// Nearly every path is plain: what the client wrote is the path already. Then nothing is copied, and the path is a
/// range of the target. The control characters, the space and DEL are refused everywhere, as nginx's request line does.
package struct RequestURI: Sendable {
    package struct Invalid: Error, Sendable, Hashable, CustomStringConvertible {
        package enum Reason: String, Sendable, Hashable {
            case noLeadingSlash = "the path does not begin with a slash"
            case control = "a control character or a space is in it"
            case badEscape = "a percent sign is not followed by two hexadecimal digits"
            case encodedZero = "a zero byte is encoded in it"
            case aboveRoot = "its dot segments lead above the root"
        }

        package var reason: Reason
        /// Counted in bytes of the target.
        package var offset: Int

        package var description: String {
            "The request's target is not valid at byte \(self.offset): \(self.reason.rawValue). The client must send a "
                + "path in the form of RFC 9112."
        }
    }

    /// Of the target, when ``isPlain``.
    package private(set) var pathRange = ByteRange.empty
    /// Of the target, without the question mark.
    package private(set) var args = ByteRange.empty
    /// Whether the path is a part of the target as it stands.
    package private(set) var isPlain = true
    /// Whether the path held a percent escape: only then is it escaped anew where it is sent on.
    package private(set) var hasEscapes = false
    /// Whether the path held a plus, which an argument must not hold unescaped.
    package private(set) var hasPlus = false
    /// Whether the target can be sent on as it came; not when its path was left out (`http://host?args`).
    package private(set) var isRawUsable = true
    private var decoded: ByteBuffer?

    /// - Parameter target: In origin form; an empty path is `/`.
    package init(_ target: Span<UInt8>, mergesSlashes: Bool = true) throws(Invalid) {
        let count = target.count
        guard count > 0, target[0] != 0x3F else {
            self.isPlain = false
            self.isRawUsable = false
            self.decoded = ByteBuffer(string: "/")
            if count > 0 { try self.readArgs(of: target, from: 1) }
            return
        }
        guard target[0] == 0x2F else { throw Invalid(reason: .noLeadingSlash, offset: 0) }
        var index = 1
        var isAfterSlash = true
        while index < count {
            let byte = target[index]
            if Self.isOrdinary(byte) {
                isAfterSlash = false
                index &+= 1
                continue
            }
            switch byte {
            case 0x2F, 0x2E:
                if isAfterSlash {
                    try self.normalise(target, mergesSlashes: mergesSlashes)
                    return
                }
                isAfterSlash = byte == 0x2F
            case 0x2B:
                isAfterSlash = false
                self.hasPlus = true
            case 0x25:
                try self.normalise(target, mergesSlashes: mergesSlashes)
                return
            case 0x3F:
                self.pathRange = ByteRange(start: 0, count: index)
                try self.readArgs(of: target, from: index &+ 1)
                return
            case 0x23:
                self.pathRange = ByteRange(start: 0, count: index)
                try Self.refuseControls(in: target, from: index &+ 1)
                return
            default:
                throw Invalid(reason: .control, offset: index)
            }
            index &+= 1
        }
        self.pathRange = ByteRange(start: 0, count: count)
    }

    /// Whether the target is a plain path, perhaps with arguments.
    package func isWholePath(of target: ByteBuffer) -> Bool {
        guard self.isPlain else { return false }
        let end = Int(self.pathRange.count)
        return end >= target.readableBytes || target.readableBytesView[target.readerIndex + end] == 0x3F
    }

    /// The path, sharing the target's storage where it is plain.
    /// - Parameter target: What this was made of.
    package func path(of target: ByteBuffer) -> ByteBuffer {
        if let decoded = self.decoded { return decoded }
        return target.getSlice(at: target.readerIndex, length: Int(self.pathRange.count)) ?? ByteBuffer()
    }

    package func args(of target: ByteBuffer) -> ByteBuffer {
        guard !self.args.isEmpty else { return ByteBuffer() }
        let start = target.readerIndex + self.args.lowerBound
        return target.getSlice(at: start, length: Int(self.args.count)) ?? ByteBuffer()
    }

    /// Whether a byte in a path is only itself: none of the space, `#`, `%`, `+`, `.`, `/`, `?`, DEL and the controls.
    private static func isOrdinary(_ byte: UInt8) -> Bool {
        if byte >= 0x40 { return byte != 0x7F }
        return (0x7FFF_37D6_0000_0000 as UInt64 &>> UInt64(byte)) & 1 != 0
    }

    private static func refuseControls(in target: Span<UInt8>, from start: Int) throws(Invalid) {
        for index in start..<target.count where target[index] <= 0x20 || target[index] == 0x7F {
            throw Invalid(reason: .control, offset: index)
        }
    }

    /// What is behind a `#` is no part of the arguments.
    private mutating func readArgs(of target: Span<UInt8>, from start: Int) throws(Invalid) {
        var end = start
        while end < target.count {
            let byte = target[end]
            guard byte > 0x20, byte != 0x7F else { throw Invalid(reason: .control, offset: end) }
            if byte == 0x23 {
                try Self.refuseControls(in: target, from: end)
                break
            }
            end &+= 1
        }
        self.args = ByteRange(start: start, count: end - start)
    }
}

// MARK: - Paths that are not plain

extension RequestURI {
    /// What stands before the next byte: how many dots of a segment that may be one of the two special ones.
    private enum Place {
        case within, segmentStart, dot, twoDots
    }

    private mutating func normalise(_ target: Span<UInt8>, mergesSlashes: Bool) throws(Invalid) {
        try Self.refuseControls(in: target, from: 0)
        self.isPlain = false
        var path: [UInt8] = []
        path.reserveCapacity(target.count)
        var place = Place.within
        var index = 0
        reading: while index < target.count {
            let start = index
            var byte = target[index]
            index &+= 1
            if byte == 0x25 {
                self.hasEscapes = true
                byte = try Self.unescaped(target, at: index)
                index &+= 2
                // These three are themselves when they are escaped; a dot or a slash is what it is either way.
                if byte == 0x25 || byte == 0x23 || byte == 0x3F {
                    path.append(byte)
                    place = .within
                    continue
                }
            }
            switch byte {
            case 0x2F:
                switch place {
                case .within: path.append(byte)
                case .segmentStart: if !mergesSlashes { path.append(byte) }
                case .dot: path.removeLast()
                case .twoDots: try Self.leaveSegment(&path, offset: start)
                }
                place = .segmentStart
            case 0x3F:
                try self.readArgs(of: target, from: index)
                break reading
            case 0x23:
                break reading
            case 0x2E:
                path.append(byte)
                switch place {
                case .segmentStart: place = .dot
                case .dot: place = .twoDots
                case .within: break
                case .twoDots: place = .within
                }
            default:
                if byte == 0x2B { self.hasPlus = true }
                path.append(byte)
                place = .within
            }
        }
        switch place {
        case .dot: path.removeLast()
        case .twoDots: try Self.leaveSegment(&path, offset: target.count)
        case .within, .segmentStart: break
        }
        self.decoded = ByteBuffer(bytes: path)
    }

    /// Takes `segment/..` off the end.
    private static func leaveSegment(_ path: inout [UInt8], offset: Int) throws(Invalid) {
        // Before the two dots stands a slash; the segment to leave is before that.
        let end = path.count - 3
        guard end > 0, let slash = path[..<end].lastIndex(of: 0x2F) else {
            throw Invalid(reason: .aboveRoot, offset: offset)
        }
        path.removeLast(path.count - slash - 1)
    }

    private static func unescaped(_ target: Span<UInt8>, at index: Int) throws(Invalid) -> UInt8 {
        guard index + 1 < target.count, let high = Hexadecimal.value(of: target[index]),
            let low = Hexadecimal.value(of: target[index + 1])
        else { throw Invalid(reason: .badEscape, offset: index - 1) }
        let byte = high << 4 | low
        guard byte != 0 else { throw Invalid(reason: .encodedZero, offset: index - 1) }
        return byte
    }
}
