package import NIOCore

/// Reads the head of an answer of HTTP/1, as its bytes arrive.
///
/// Stricter than nginx in one thing: what does not begin as HTTP is refused, and not passed on as HTTP/0.9.
package struct ResponseScanner {
    package enum Outcome {
        case incomplete
        case head(ResponseHead, consumed: Int)
        /// What is wrong with it.
        case invalid(String)
        case tooLarge
    }

    /// Room is made once for as many as most heads have.
    private static let usualFields = 12

    private let maxSize: Int
    private let limits: ScanLimits
    private var lineStart = 0
    private var searched = 0
    private var hasLine = false
    private var head = ResponseHead()
    private var lengths = 0

    package init(maxSize: Int) {
        self.maxSize = maxSize
        var limits = ScanLimits()
        limits.names = .answers
        self.limits = limits
    }

    package mutating func reset() {
        self.lineStart = 0
        self.searched = 0
        self.hasLine = false
        self.head = ResponseHead()
        self.lengths = 0
    }

    /// - Parameters:
    ///   - buffer: all bytes of the head that have come; it may only grow between two calls.
    ///   - isHead: whether the answer is one to HEAD, which has no body whatever it says.
    package mutating func scan(_ buffer: ByteBuffer, isHead: Bool) -> Outcome {
        switch self.scanLines(buffer.readableBytesUInt8Span, isHead: isHead) {
        case .incomplete: return .incomplete
        case .invalid(let reason): return .invalid(reason)
        case .tooLarge: return .tooLarge
        case .complete(let consumed):
            guard let bytes = buffer.getSlice(at: buffer.readerIndex, length: consumed) else { return .incomplete }
            // Handed over, not copied.
            var head = ResponseHead()
            swap(&head, &self.head)
            head.block.bytes = bytes
            return .head(head, consumed: consumed)
        }
    }

    private enum Progress {
        case incomplete
        /// The head takes so many bytes.
        case complete(Int)
        case invalid(String)
        case tooLarge
    }

    private mutating func scanLines(_ bytes: Span<UInt8>, isHead: Bool) -> Progress {
        while true {
            guard let end = bytes.newline(from: max(self.searched, self.lineStart)) else {
                self.searched = bytes.count
                if !self.hasLine, !Self.mayBecomeStatusLine(bytes) { return .invalid("no status line of HTTP") }
                return bytes.count >= self.maxSize ? .tooLarge : .incomplete
            }
            guard end < self.maxSize else { return .tooLarge }
            self.searched = end + 1
            if !self.hasLine {
                guard self.readStatusLine(bytes, to: end) else { return .invalid("no status line of HTTP") }
                self.hasLine = true
                self.head.block.fields.reserveCapacity(Self.usualFields)
            } else {
                switch FieldLine.read(bytes, from: self.lineStart, to: end, limits: self.limits) {
                case .end:
                    self.settleFraming(isHead: isHead)
                    return .complete(end + 1)
                case .invalid(let reason):
                    return .invalid(reason)
                case .dropped:
                    break
                case .field(let field):
                    if let problem = self.add(field, bytes) { return .invalid(problem) }
                }
            }
            self.lineStart = end + 1
        }
    }

    private static func mayBecomeStatusLine(_ bytes: Span<UInt8>) -> Bool {
        let prefix: StaticString = "HTTP/1."
        return prefix.withUTF8Buffer { text in
            for index in 0..<min(text.count, bytes.count) where bytes[index] != text[index] { return false }
            return true
        }
    }

    private mutating func readStatusLine(_ bytes: Span<UInt8>, to newline: Int) -> Bool {
        var end = newline
        if end > 0, bytes[end - 1] == 0x0D { end -= 1 }
        // HTTP/1.1 200 OK; the reason, and the space before it, may be missing.
        guard end >= 12, Self.mayBecomeStatusLine(bytes), ByteKind.of(bytes[7]).contains(.digit), bytes[8] == 0x20
        else { return false }
        var status: UInt16 = 0
        for index in 9..<12 {
            guard ByteKind.of(bytes[index]).contains(.digit) else { return false }
            status = status * 10 + UInt16(bytes[index] - 48)
        }
        guard status >= 100, end == 12 || bytes[12] == 0x20 else { return false }
        if end > 13 {
            for index in 13..<end where ByteKind.of(bytes[index]).contains(.control) && bytes[index] != 0x09 {
                return false
            }
            self.head.reason = ByteRange(start: 13, count: end - 13)
        } else {
            // Sent, and empty: it is passed on like that.
            self.head.reason = ByteRange(start: 13, count: 0)
        }
        self.head.status = status
        self.head.version = bytes[7] == UInt8(ascii: "0") ? .http10 : .http11
        self.head.keepsAlive = self.head.version == .http11
        self.head.framing = .untilEnd
        return true
    }

    private mutating func add(_ field: FieldBlock.Field, _ bytes: Span<UInt8>) -> String? {
        switch field.known {
        case .contentLength:
            self.lengths += 1
            guard self.lengths == 1 else { return "two Content-Length fields" }
            guard let length = RequestScanner.decimal(bytes, field.value) else {
                return "a Content-Length that is no number"
            }
            if self.head.framing != .chunked { self.head.framing = .length(length) } else { return Self.bothFramings }
        case .transferEncoding:
            let value = bytes.extracting(field.value.lowerBound..<field.value.upperBound)
            guard value.equals(ignoringCase: "chunked") else { return "a Transfer-Encoding that is not known" }
            guard self.head.framing != .chunked else { return "two Transfer-Encoding fields" }
            guard self.lengths == 0 else { return Self.bothFramings }
            self.head.framing = .chunked
        case .connection:
            let value = bytes.extracting(field.value.lowerBound..<field.value.upperBound)
            if value.lists("close") {
                self.head.keepsAlive = false
            } else if value.lists("keep-alive") {
                self.head.keepsAlive = true
            }
        default:
            break
        }
        self.head.block.fields.append(field)
        return nil
    }

    private static let bothFramings = "Content-Length and Transfer-Encoding at once"

    private mutating func settleFraming(isHead: Bool) {
        if isHead || self.head.status < 200 || self.head.status == 204 || self.head.status == 304 {
            self.head.framing = .none
        } else if self.head.framing == .length(0) {
            self.head.framing = .none
        }
        // What ends with the connection ends it.
        if self.head.framing == .untilEnd { self.head.keepsAlive = false }
    }
}
