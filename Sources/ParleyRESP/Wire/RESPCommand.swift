public import NIOCore

/// One argument of a command: bytes, however they were written down.
///
/// A literal, an interpolation and an `Int` become one by themselves: `["XADD", stream, "*", "total", "\(total)"]`.
public struct RESPArgument: Sendable, Hashable, ExpressibleByStringInterpolation, ExpressibleByIntegerLiteral {
    private enum Content: Hashable {
        case text(String)
        case bytes([UInt8])
    }

    private let content: Content

    public init(_ text: String) { self.content = .text(text) }
    public init(_ bytes: [UInt8]) { self.content = .bytes(bytes) }
    public init(_ number: some BinaryInteger) { self.content = .text(String(number)) }
    /// Infinities as `+inf` and `-inf`, everything else with the digits that give the same number back.
    public init(_ number: Double) {
        self.content = .text(number == .infinity ? "+inf" : number == -.infinity ? "-inf" : "\(number)")
    }
    public init(stringLiteral value: String) { self.init(value) }
    public init(integerLiteral value: Int) { self.init(value) }

    /// The bytes that are sent.
    public var bytes: [UInt8] {
        switch self.content {
        case .text(let text): Array(text.utf8)
        case .bytes(let bytes): bytes
        }
    }

    /// The bytes as text, what is not UTF-8 replaced: to look at, not to send.
    package var text: String {
        switch self.content {
        case .text(let text): text
        case .bytes(let bytes): String(decoding: bytes, as: UTF8.self)
        }
    }

    fileprivate var count: Int {
        switch self.content {
        case .text(let text): text.utf8.count
        case .bytes(let bytes): bytes.count
        }
    }

    /// - Parameter target: Has room for it.
    /// - Returns: The place behind it.
    fileprivate func write(into target: UnsafeMutableRawBufferPointer, at start: Int) -> Int {
        let count = self.count
        let content = target.writeHeader(UInt8(ascii: "$"), count, at: start)
        let room = UnsafeMutableRawBufferPointer(rebasing: target[content..<(content + count)])
        switch self.content {
        case .text(let text):
            // Contiguous in every string that Swift has made itself.
            if text.utf8.withContiguousStorageIfAvailable({ room.copyMemory(from: UnsafeRawBufferPointer($0)) }) == nil
            {
                room.copyBytes(from: Array(text.utf8))
            }
        case .bytes(let bytes): bytes.withUnsafeBytes { room.copyMemory(from: $0) }
        }
        return target.writeLineEnd(at: content + count)
    }
}

/// A command with its arguments, the name first.
///
/// Arguments are sent with their length, so no content can become another command.
public struct RESPCommand: Sendable, Hashable, ExpressibleByArrayLiteral {
    public var arguments: [RESPArgument]

    public init(_ arguments: [RESPArgument]) { self.arguments = arguments }
    public init(arrayLiteral elements: RESPArgument...) { self.arguments = elements }

    /// The first word in capitals: what may be shown and counted. Arguments may hold secrets.
    public var name: String {
        guard let text = self.arguments.first?.text else { return "" }
        // Asked several times for each command, and nearly always in capitals already.
        return text.utf8.contains { (0x61...0x7A).contains($0) || $0 > 0x7F } ? text.uppercased() : text
    }

    /// Writes the command as the array of bulk strings that a server reads.
    public func write(into buffer: inout ByteBuffer) {
        // The size is known, so one look at the buffer's room is enough for all of it.
        let bound = self.arguments.reduce(ByteBuffer.headerBound) { $0 + $1.count + ByteBuffer.headerBound + 2 }
        buffer.writeWithUnsafeMutableBytes(minimumWritableBytes: bound) { target in
            var position = target.writeHeader(UInt8(ascii: "*"), self.arguments.count, at: 0)
            for argument in self.arguments { position = argument.write(into: target, at: position) }
            return position
        }
    }
}

extension ByteBuffer {
    /// A marker, at most nineteen digits, and the end of the line.
    fileprivate static let headerBound = 22
}

extension UnsafeMutableRawBufferPointer {
    /// - Returns: The place behind it.
    fileprivate func writeHeader(_ marker: UInt8, _ number: Int, at start: Int) -> Int {
        self[start] = marker
        var digits = 1
        var rest = number
        while rest >= 10 {
            rest /= 10
            digits += 1
        }
        rest = number
        for offset in stride(from: digits, to: 0, by: -1) {
            self[start + offset] = UInt8(truncatingIfNeeded: 0x30 + rest % 10)
            rest /= 10
        }
        return self.writeLineEnd(at: start + 1 + digits)
    }

    fileprivate func writeLineEnd(at start: Int) -> Int {
        self[start] = 0x0D
        self[start + 1] = 0x0A
        return start + 2
    }
}

// MARK: - What a command does to the connection it is sent on

extension RESPCommand {
    /// How long the server may take on purpose.
    package enum Blocking: Hashable {
        case never
        case upTo(Duration)
        case forever
    }

    package var blocking: Blocking {
        switch self.name {
        case "BLPOP", "BRPOP", "BLMOVE", "BRPOPLPUSH", "BZPOPMIN", "BZPOPMAX":
            return Self.blocking(seconds: self.arguments.last?.text)
        case "BLMPOP", "BZMPOP":
            return Self.blocking(seconds: self.arguments.dropFirst().first?.text)
        case "WAIT", "WAITAOF":
            return Self.blocking(milliseconds: self.arguments.last?.text)
        case "XREAD", "XREADGROUP":
            // BLOCK stands among the options, before STREAMS; behind it everything is a key or an id. In XREADGROUP the
            // first three are the name, GROUP and the group's own name, which may be any word.
            let options = self.arguments.dropFirst(self.name == "XREADGROUP" ? 4 : 1)
            guard let streams = options.firstIndex(where: { $0.text.uppercased() == "STREAMS" }),
                let block = options[..<streams].firstIndex(where: { $0.text.uppercased() == "BLOCK" })
            else { return .never }
            return Self.blocking(milliseconds: self.arguments[block + 1].text)
        default: return .never
        }
    }

    /// How many replies the command has is not one, or the connection is no longer what the machine thinks it is.
    package var changesProtocol: Bool {
        switch self.name {
        case "SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE", "MONITOR", "SYNC",
            "PSYNC", "RESET", "QUIT", "HELLO", "":
            true
        case "CLIENT": self.arguments.dropFirst().first?.text.uppercased() == "REPLY"
        default: false
        }
    }

    /// The command leaves something behind on its connection that the next user of a shared one would meet.
    package var changesSession: Bool {
        switch self.name {
        case "MULTI", "EXEC", "DISCARD", "WATCH", "UNWATCH", "SELECT", "AUTH", "ASKING", "READONLY", "READWRITE": true
        case "CLIENT":
            ["SETNAME", "TRACKING", "CACHING", "NO-EVICT", "NO-TOUCH"]
                .contains(self.arguments.dropFirst().first?.text.uppercased() ?? "")
        default: false
        }
    }

    private static func blocking(seconds text: String?) -> Blocking {
        guard let seconds = text.flatMap({ Double($0) }), seconds > 0, seconds < 1e9 else { return .forever }
        return .upTo(.seconds(seconds))
    }

    private static func blocking(milliseconds text: String?) -> Blocking {
        guard let milliseconds = text.flatMap({ Int64($0) }), (1..<1_000_000_000_000).contains(milliseconds) else {
            return .forever
        }
        return .upTo(.milliseconds(milliseconds))
    }
}
