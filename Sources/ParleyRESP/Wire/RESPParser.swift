public import NIOCore

/// What a server may send at most. Beyond a limit the stream is refused, so that a peer cannot use up the memory.
public struct RESPLimits: Sendable, Hashable {
    /// How deep aggregates and attributes may be nested.
    public var depth: Int
    /// The longest string or bulk error; Redis's own `proto-max-bulk-len` is the default.
    public var stringLength: Int
    /// The longest line: a simple string, an error, a number.
    public var lineLength: Int
    /// How many values one reply may hold, at all levels together.
    public var values: Int
    /// How many bytes one reply may have.
    public var replyLength: Int

    public init(
        depth: Int = 32,
        stringLength: Int = 512 << 20,
        lineLength: Int = 64 << 10,
        values: Int = 4 << 20,
        replyLength: Int = 1 << 30
    ) {
        self.depth = max(1, depth)
        self.stringLength = max(1, stringLength)
        self.lineLength = max(32, lineLength)
        self.values = max(1, values)
        self.replyLength = max(64, replyLength)
    }
}

/// Why bytes are not RESP. After one the stream has no meaning any more, and the connection must be closed.
public struct RESPProtocolError: Error, Hashable, CustomStringConvertible {
    public var reason: String

    public init(_ reason: String) { self.reason = reason }

    public var description: String { "not RESP: \(self.reason)" }
}

/// Reads RESP2 and RESP3 from chunks of any size.
///
/// A value without I/O. It is strict: each byte is either part of a well-formed value or an error. It keeps what it has
/// read of an unfinished value, so that the work is linear in the bytes however they are cut, and it allocates for what
/// has arrived, never for what a length promises.
public struct RESPParser: Sendable {
    private enum Shape {
        case array, set, map, push, attribute
    }

    private struct Frame {
        var shape: Shape
        var missing: Int
        var values: [RESPValue]
    }

    /// A string whose length is known and whose bytes are not all there.
    private struct Blob {
        var marker: UInt8
        var length: Int
    }

    private let limits: RESPLimits
    private var frames: [Frame] = []
    /// The attributes that wait for their value, each with the depth it belongs to.
    private var attributes: [(depth: Int, pairs: [RESPPair])] = []
    private var blob: Blob?
    /// How much of the unfinished line has been searched for its end.
    private var searched = 0
    private var valuesRead = 0
    private var bytesRead = 0
    private var failure: RESPProtocolError?

    public init(limits: RESPLimits = RESPLimits()) { self.limits = limits }

    /// True between two values: an end of the stream here cuts nothing.
    public var isBetweenValues: Bool {
        self.frames.isEmpty && self.attributes.isEmpty && self.blob == nil && self.searched == 0
    }

    /// Takes the next whole value from the front of `buffer`; `nil` when it has not all arrived.
    ///
    /// - Throws: when the bytes are not RESP, and the same error ever after.
    public mutating func next(from buffer: inout ByteBuffer) throws(RESPProtocolError) -> RESPValue? {
        if let failure = self.failure { throw failure }
        var consumed = 0
        do {
            let value = try self.step(through: buffer.readableBytesUInt8Span, from: &consumed)
            buffer.moveReaderIndex(forwardBy: consumed)
            return value
        } catch {
            buffer.moveReaderIndex(forwardBy: consumed)
            self.failure = error
            throw error
        }
    }

    private mutating func step(
        through bytes: borrowing Span<UInt8>,
        from position: inout Int
    ) throws(RESPProtocolError) -> RESPValue? {
        while true {
            var scalar: RESPValue
            if let blob = self.blob {
                guard bytes.count - position >= blob.length + 2 else { return nil }
                let end = position + blob.length
                guard bytes[end] == .carriageReturn, bytes[end + 1] == .lineFeed else {
                    throw RESPProtocolError("a string does not end where its length says")
                }
                scalar = try Self.string(blob.marker, bytes.extracting(position..<end))
                try self.account(blob.length + 2)
                position = end + 2
                self.blob = nil
            } else {
                guard position < bytes.count else { return nil }
                // Seen at once, not at the end of a line that may never come.
                guard bytes[position].beginsValue else {
                    throw RESPProtocolError("no type begins with byte \(bytes[position])")
                }
                guard let end = try self.endOfLine(in: bytes, from: position) else { return nil }
                try self.account(end + 2 - position)
                let marker = bytes[position]
                let line = bytes.extracting((position + 1)..<end)
                position = end + 2
                guard let value = try self.line(marker, line) else { continue }
                scalar = value
            }
            // A value is complete: it may complete the aggregate it is in, and that one the next.
            while true {
                if !self.attributes.isEmpty { scalar = self.attributing(scalar) }
                let last = self.frames.count - 1
                guard last >= 0 else {
                    self.valuesRead = 0
                    self.bytesRead = 0
                    return scalar
                }
                // In place: nothing is copied for each value.
                self.frames[last].values.append(scalar)
                self.frames[last].missing -= 1
                if self.frames[last].missing > 0 { break }
                let frame = self.frames.removeLast()
                guard let whole = self.close(frame) else { break }
                scalar = whole
            }
        }
    }

    /// Reads one line: a whole value, or `nil` when it only opens one.
    private mutating func line(
        _ marker: UInt8,
        _ line: borrowing Span<UInt8>
    ) throws(RESPProtocolError) -> RESPValue? {
        self.valuesRead += 1
        guard self.valuesRead <= self.limits.values else {
            throw RESPProtocolError("a reply of more than \(self.limits.values) values")
        }
        switch marker {
        case UInt8(ascii: "+"): return .simpleString(Self.text(line))
        case UInt8(ascii: "-"): return .simpleError(Self.text(line))
        case UInt8(ascii: ":"): return .number(try Self.number(line))
        case UInt8(ascii: ","): return .double(try Self.double(line))
        case UInt8(ascii: "("): return .bigNumber(try Self.bigNumber(line))
        case UInt8(ascii: "#"):
            guard line.count == 1 else { throw RESPProtocolError("a boolean is t or f") }
            switch line[0] {
            case UInt8(ascii: "t"): return .boolean(true)
            case UInt8(ascii: "f"): return .boolean(false)
            default: throw RESPProtocolError("a boolean is t or f")
            }
        case UInt8(ascii: "_"):
            guard line.isEmpty else { throw RESPProtocolError("a null has no content") }
            return .null
        case UInt8(ascii: "$"), UInt8(ascii: "!"), UInt8(ascii: "="):
            guard let length = try Self.length(line, orNull: marker == UInt8(ascii: "$")) else { return .null }
            guard length <= self.limits.stringLength else {
                throw RESPProtocolError("a string of \(length) bytes, at most \(self.limits.stringLength)")
            }
            self.blob = Blob(marker: marker, length: length)
            return nil
        case UInt8(ascii: "*"): return try self.open(.array, line)
        case UInt8(ascii: "~"): return try self.open(.set, line)
        case UInt8(ascii: "%"): return try self.open(.map, line)
        case UInt8(ascii: "|"): return try self.open(.attribute, line)
        case UInt8(ascii: ">"):
            guard self.frames.isEmpty, self.attributes.isEmpty else {
                throw RESPProtocolError("a push inside another value")
            }
            return try self.open(.push, line)
        default: throw RESPProtocolError("no type begins with byte \(marker)")
        }
    }

    private mutating func open(
        _ shape: Shape,
        _ line: borrowing Span<UInt8>
    ) throws(RESPProtocolError) -> RESPValue? {
        guard let count = try Self.length(line, orNull: shape == .array) else { return .null }
        let inPairs = shape == .map || shape == .attribute
        guard count <= self.limits.values / (inPairs ? 2 : 1) else {
            throw RESPProtocolError("an aggregate of \(count), at most \(self.limits.values) values")
        }
        guard self.frames.count < self.limits.depth else {
            throw RESPProtocolError("nested deeper than \(self.limits.depth)")
        }
        let missing = inPairs ? 2 * count : count
        var frame = Frame(shape: shape, missing: missing, values: [])
        guard missing > 0 else { return self.close(frame) }
        // Room for what is likely, not for what a peer promises.
        frame.values.reserveCapacity(min(missing, 64))
        self.frames.append(frame)
        return nil
    }

    /// The whole aggregate; `nil` for an attribute, which then waits for its value.
    private mutating func close(_ frame: Frame) -> RESPValue? {
        switch frame.shape {
        case .array: return .array(frame.values)
        case .set: return .set(frame.values)
        case .push: return .push(frame.values)
        case .map: return .map(Self.paired(frame.values))
        case .attribute:
            let depth = self.frames.count
            let pairs = Self.paired(frame.values)
            if let last = self.attributes.last, last.depth == depth {
                self.attributes[self.attributes.count - 1].pairs += pairs
            } else {
                self.attributes.append((depth, pairs))
            }
            return nil
        }
    }

    private mutating func attributing(_ value: RESPValue) -> RESPValue {
        guard let last = self.attributes.last, last.depth == self.frames.count else { return value }
        self.attributes.removeLast()
        return .attributed(last.pairs, value)
    }

    private static func paired(_ values: [RESPValue]) -> [RESPPair] {
        stride(from: 0, to: values.count - 1, by: 2).map { RESPPair(key: values[$0], value: values[$0 + 1]) }
    }

    private mutating func account(_ bytes: Int) throws(RESPProtocolError) {
        self.bytesRead += bytes
        guard self.bytesRead <= self.limits.replyLength else {
            throw RESPProtocolError("a reply of more than \(self.limits.replyLength) bytes")
        }
    }

    /// The index of the carriage return that ends the line, if it is there.
    private mutating func endOfLine(
        in bytes: borrowing Span<UInt8>,
        from position: Int
    ) throws(RESPProtocolError) -> Int? {
        var index = position + self.searched
        while index < bytes.count {
            let byte = bytes[index]
            if byte == .lineFeed { throw RESPProtocolError("a line feed without its carriage return") }
            if byte == .carriageReturn {
                guard index + 1 < bytes.count else { break }
                guard bytes[index + 1] == .lineFeed else {
                    throw RESPProtocolError("a carriage return inside a line")
                }
                self.searched = 0
                return index
            }
            index += 1
            guard index - position <= self.limits.lineLength else {
                throw RESPProtocolError("a line of more than \(self.limits.lineLength) bytes")
            }
        }
        self.searched = index - position
        return nil
    }
}

extension RESPParser {
    private static func text(_ bytes: borrowing Span<UInt8>) -> String {
        bytes.withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    private static func string(
        _ marker: UInt8,
        _ bytes: borrowing Span<UInt8>
    ) throws(RESPProtocolError) -> RESPValue {
        switch marker {
        case UInt8(ascii: "$"): return .bulkString(bytes.withUnsafeBufferPointer { Array($0) })
        case UInt8(ascii: "!"): return .bulkError(Self.text(bytes))
        default:
            guard bytes.count >= 4, bytes[3] == UInt8(ascii: ":") else {
                throw RESPProtocolError("a verbatim string without its format")
            }
            for index in 0..<3 where !(0x21...0x7E).contains(bytes[index]) {
                throw RESPProtocolError("a verbatim string's format is three letters")
            }
            let content = bytes.extracting(4..<bytes.count).withUnsafeBufferPointer { Array($0) }
            return .verbatimString(format: Self.text(bytes.extracting(0..<3)), content)
        }
    }

    /// A count or a length: digits only. `nil` for the `-1` that means null in RESP2, where that is allowed.
    private static func length(
        _ line: borrowing Span<UInt8>,
        orNull: Bool
    ) throws(RESPProtocolError) -> Int? {
        if orNull, line.count == 2, line[0] == UInt8(ascii: "-"), line[1] == UInt8(ascii: "1") { return nil }
        if line.count == 1, line[0] == UInt8(ascii: "?") {
            throw RESPProtocolError("streamed strings and aggregates, which no known server sends")
        }
        guard !line.isEmpty, line.count <= 18 else { throw RESPProtocolError("a length is 1 to 18 digits") }
        var length = 0
        for index in line.indices {
            guard let digit = line[index].digit else { throw RESPProtocolError("a length is digits") }
            length = length * 10 + digit
        }
        return length
    }

    private static func number(_ line: borrowing Span<UInt8>) throws(RESPProtocolError) -> Int64 {
        let hasSign = !line.isEmpty && line[0].isSign
        let isNegative = hasSign && line[0] == UInt8(ascii: "-")
        let first = hasSign ? 1 : 0
        guard line.count > first else { throw RESPProtocolError("a number without digits") }
        // Negative all the way: the smallest number has no positive counterpart.
        var negated: Int64 = 0
        for index in first..<line.count {
            guard let digit = line[index].digit else { throw RESPProtocolError("a number is digits") }
            let (product, tooLong) = negated.multipliedReportingOverflow(by: 10)
            let (difference, tooLarge) = product.subtractingReportingOverflow(Int64(digit))
            guard !tooLong, !tooLarge else { throw RESPProtocolError("a number of more than 64 bits") }
            negated = difference
        }
        if isNegative { return negated }
        guard negated != .min else { throw RESPProtocolError("a number of more than 64 bits") }
        return -negated
    }

    private static func double(_ line: borrowing Span<UInt8>) throws(RESPProtocolError) -> Double {
        let text = Self.text(line)
        switch text {
        case "inf", "+inf": return .infinity
        case "-inf": return -.infinity
        case "nan", "-nan", "+nan": return .nan
        default: break
        }
        // The initialiser of Double also reads hexadecimal and names, which are not RESP.
        for index in line.indices {
            let byte = line[index]
            guard byte.digit != nil || byte.isSign || byte == UInt8(ascii: ".") || byte | 0x20 == UInt8(ascii: "e")
            else { throw RESPProtocolError("a double is a decimal number") }
        }
        guard let value = Double(text) else { throw RESPProtocolError("a double is a decimal number") }
        return value
    }

    private static func bigNumber(_ line: borrowing Span<UInt8>) throws(RESPProtocolError) -> String {
        let first = !line.isEmpty && line[0].isSign ? 1 : 0
        guard line.count > first else { throw RESPProtocolError("a big number without digits") }
        for index in first..<line.count where line[index].digit == nil {
            throw RESPProtocolError("a big number is digits")
        }
        return Self.text(line)
    }
}

extension UInt8 {
    fileprivate static var carriageReturn: UInt8 { 0x0D }
    fileprivate static var lineFeed: UInt8 { 0x0A }
    fileprivate var digit: Int? { (0x30...0x39).contains(self) ? Int(self) - 0x30 : nil }
    fileprivate var beginsValue: Bool {
        switch self {
        case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: ":"), UInt8(ascii: ","), UInt8(ascii: "("),
            UInt8(ascii: "#"), UInt8(ascii: "_"), UInt8(ascii: "$"), UInt8(ascii: "!"), UInt8(ascii: "="),
            UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: "%"), UInt8(ascii: "|"), UInt8(ascii: ">"):
            true
        default: false
        }
    }
    fileprivate var isSign: Bool { self == UInt8(ascii: "-") || self == UInt8(ascii: "+") }
}
