package import NIOCore

/// Reads the head of a request of HTTP/1, line by line as its bytes arrive, by nginx's rules (1.22) where they are at
/// least as strict as others'.
///
/// What has been read is not read again: a head that comes byte by byte costs no more than one that comes at once.
package struct RequestScanner {
    package enum Outcome {
        case incomplete
        /// The head, and how many bytes it took.
        case head(RequestHead, consumed: Int)
        case refused(HeadRefusal)
    }

    /// Room is made once for as many as most heads have, and for those that are added on the way.
    private static let usualFields = 16

    private let limits: ScanLimits
    private var allowance: HeadAllowance
    /// Where the line begins that is not complete yet.
    private var lineStart = 0
    /// Up to here there is no end of a line.
    private var searched = 0
    private var hasLine = false
    private var head = RequestHead()
    private var target = TargetForm.origin
    private var lengths = 0
    private var codings = 0
    private var hosts = 0
    /// Which fields have come, a bit for each.
    private var seen: UInt64 = 0

    package init(_ limits: ScanLimits) {
        self.limits = limits
        self.allowance = HeadAllowance(limits)
    }

    /// What has been read of a head that is refused: how the answer to it must look.
    package var known: (method: Method, version: HTTPVersion) { (self.head.method, self.head.version) }

    /// Whether the first byte of a head has come.
    package var hasBegun: Bool { self.searched > 0 }

    /// Ready for the next head.
    package mutating func reset() {
        self.allowance = HeadAllowance(self.limits)
        self.lineStart = 0
        self.searched = 0
        self.hasLine = false
        self.head = RequestHead()
        self.target = .origin
        self.lengths = 0
        self.codings = 0
        self.hosts = 0
        self.seen = 0
    }

    /// - Parameter buffer: all bytes of the head that have come, from its reader index on. Between two calls it may
    ///   only grow.
    package mutating func scan(_ buffer: ByteBuffer) -> Outcome {
        do {
            let consumed = try self.scanLines(buffer.readableBytesUInt8Span)
            guard let consumed else { return .incomplete }
            guard let bytes = buffer.getSlice(at: buffer.readerIndex, length: consumed) else { return .incomplete }
            // Handed over, not copied.
            var head = RequestHead()
            swap(&head, &self.head)
            head.block.bytes = bytes
            return .head(head, consumed: consumed)
        } catch {
            return .refused(error)
        }
    }

    /// Where the head ends, or `nil` when more has to come.
    private mutating func scanLines(_ bytes: Span<UInt8>) throws(HeadRefusal) -> Int? {
        while true {
            guard let end = bytes.newline(from: max(self.searched, self.lineStart)) else {
                self.searched = bytes.count
                try self.checkUnfinished(bytes)
                return nil
            }
            self.searched = end + 1
            if !self.hasLine {
                try self.readRequestLine(bytes, to: end)
            } else {
                switch FieldLine.read(bytes, from: self.lineStart, to: end, limits: self.limits) {
                case .end:
                    // nginx wants room for the empty line, too.
                    guard self.allowance.take(end + 1 - self.lineStart) else { throw .headTooLarge }
                    try self.finish(bytes)
                    return end + 1
                case .invalid(let reason):
                    throw .malformed(reason)
                case .dropped:
                    guard self.allowance.take(end + 1 - self.lineStart) else { throw .headTooLarge }
                case .field(let field):
                    guard self.allowance.take(end + 1 - self.lineStart) else { throw .headTooLarge }
                    try self.add(field, bytes)
                }
            }
            self.lineStart = end + 1
        }
    }

    private func checkUnfinished(_ bytes: Span<UInt8>) throws(HeadRefusal) {
        let count = bytes.count - self.lineStart
        guard count > 0 else { return }
        if !self.hasLine {
            // What is no method will never become a request; a TLS greeting has no end of a line to wait for.
            var index = self.lineStart
            while index < bytes.count, bytes[index] == 0x0D { index += 1 }
            while index < bytes.count, bytes[index] != 0x20 {
                guard ByteKind.of(bytes[index]).contains(.method) else { throw .malformed("no method") }
                index += 1
            }
        }
        guard count < self.allowance.longestLine else { throw self.hasLine ? .headTooLarge : .lineTooLong }
    }

    private mutating func readRequestLine(_ bytes: Span<UInt8>, to end: Int) throws(HeadRefusal) {
        var start = self.lineStart
        while start < end, bytes[start] == 0x0D { start += 1 }
        // Empty lines before a request: some clients end a body with one too many.
        if start == end { return }
        guard self.allowance.take(end + 1 - self.lineStart) else { throw .lineTooLong }
        // Even a line that is refused says whether a body may follow the answer.
        self.head.method = RequestLine.method(bytes, from: start, to: end)
        let line = try RequestLine.read(bytes, from: start, to: end)
        self.head.method = line.method
        self.head.methodName = line.methodName
        self.head.target = line.target
        self.head.authority = line.authority
        self.head.version = line.version
        self.head.keepsAlive = line.version == .http11
        self.head.block.fields.reserveCapacity(Self.usualFields)
        self.target = line.form
        self.hasLine = true
    }

    /// What nginx takes once only: of two, programs take different ones.
    private static let unique: UInt64 = [
        KnownField.authorization, .contentRange, .expect, .ifMatch, .ifModifiedSince, .ifNoneMatch, .ifRange,
        .ifUnmodifiedSince,
    ].reduce(0) { $0 | 1 << UInt64($1.rawValue) }

    private mutating func add(_ field: FieldBlock.Field, _ bytes: Span<UInt8>) throws(HeadRefusal) {
        let bit = 1 &<< UInt64(field.known.rawValue) as UInt64
        if Self.unique & self.seen & bit != 0 { throw .malformed("two fields \(field.known.name)") }
        self.seen |= bit
        switch field.known {
        case .host:
            self.hosts += 1
            guard self.hosts == 1 else { throw .malformed("two Host fields") }
            guard !field.value.isEmpty else { throw .malformed("an empty Host field") }
            // An absolute form says the host itself (RFC 9112, section 3.2.2).
            if self.target == .origin { self.head.authority = field.value }
        case .contentLength:
            self.lengths += 1
            guard self.lengths == 1 else { throw .malformed("two Content-Length fields") }
            guard let length = Self.decimal(bytes, field.value) else {
                throw .malformed("a Content-Length that is no number")
            }
            if self.codings == 0 { self.head.framing = length == 0 ? .none : .length(length) }
        case .transferEncoding:
            self.codings += 1
            guard self.codings == 1 else { throw .malformed("two Transfer-Encoding fields") }
            guard self.head.version == .http11 else { throw .malformed("Transfer-Encoding in HTTP/1.0") }
            let value = bytes.extracting(field.value.lowerBound..<field.value.upperBound)
            guard value.equals(ignoringCase: "chunked") else { throw .unknownCoding }
            self.head.framing = .chunked
        case .connection:
            let value = bytes.extracting(field.value.lowerBound..<field.value.upperBound)
            if value.lists("close") {
                self.head.keepsAlive = false
            } else if self.head.version == .http10, value.lists("keep-alive") {
                self.head.keepsAlive = true
            }
        case .expect:
            let value = bytes.extracting(field.value.lowerBound..<field.value.upperBound)
            self.head.expectsContinue = self.head.version == .http11 && value.equals(ignoringCase: "100-continue")
        case .upgrade:
            self.head.upgrade = field.value
        default:
            break
        }
        self.head.block.fields.append(field)
    }

    private mutating func finish(_ bytes: Span<UInt8>) throws(HeadRefusal) {
        guard self.lengths == 0 || self.codings == 0 else {
            throw .malformed("Content-Length and Transfer-Encoding at once")
        }
        if self.head.version == .http11, self.hosts == 0 {
            throw .malformed("no Host field")
        }
        if !self.head.upgrade.isEmpty {
            let isNamed = self.head.block.fields.contains { field in
                field.known == .connection
                    && bytes.extracting(field.value.lowerBound..<field.value.upperBound).lists("upgrade")
            }
            if !isNamed || self.head.version != .http11 { self.head.upgrade = .empty }
        }
    }

    static func decimal(_ bytes: Span<UInt8>, _ range: ByteRange) -> Int64? {
        // 18 digits are less than Int64 holds, and more than anything has.
        guard range.count > 0, range.count <= 18 else { return nil }
        var value: Int64 = 0
        for index in range.lowerBound..<range.upperBound {
            guard ByteKind.of(bytes[index]).contains(.digit) else { return nil }
            value = value &* 10 &+ Int64(bytes[index] &- 48)
        }
        return value
    }
}
