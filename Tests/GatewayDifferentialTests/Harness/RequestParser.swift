/// A request as it came to an upstream.
struct Received: Sendable, Equatable {
    var instance: String
    /// Which of the instance's connections, and which request on it, from 1.
    var connection: Int
    var ordinal: Int
    /// With the empty line.
    var head: Bytes
    /// Without the marks of chunks.
    var body: Bytes = []
    var trailer: Bytes = []
    var isComplete = false
    /// The gateway ended the connection before the script was through.
    var isCut = false

    var line: Bytes { Bytes(self.head.prefix { $0 != 13 && $0 != 10 }) }
    var method: String { self.line.prefix { $0 != 32 }.latin }
    var target: String { self.line.split(separator: 32).dropFirst().first?.latin ?? "" }

    /// The values of a field, in order.
    func values(_ name: String) -> [String] {
        Fields.parse(self.head.dropFirst(self.line.count)).filter { $0.name.lowercased() == name }.map(\.value)
    }

    var isKeptAlive: Bool {
        let connection = self.values("connection").joined(separator: ",").lowercased()
        return self.line.latin.hasSuffix("HTTP/1.1") && !connection.contains("close")
    }
}

struct Field: Sendable, Equatable {
    var name: String
    var value: String
}

enum Fields {
    /// Lines of a head; what has no colon is a field without a value.
    static func parse(_ bytes: some Collection<UInt8>) -> [Field] {
        bytes.split(separator: 10).compactMap { line -> Field? in
            let line = line.last == 13 ? line.dropLast() : line
            guard !line.isEmpty else { return nil }
            guard let colon = line.firstIndex(of: 58) else { return Field(name: line.latin, value: "") }
            let value = line[line.index(after: colon)...].drop { $0 == 32 || $0 == 9 }
            return Field(name: line[..<colon].latin, value: value.latin)
        }
    }
}

/// A body in chunks, taken apart as far as it is there.
struct Chunks: Equatable {
    var body: Bytes = []
    var trailer: Bytes = []
    /// How many of the bytes it took; up to the last whole chunk while it isn't complete.
    var taken = 0
    var isComplete = false
    var isBroken = false

    init(_ bytes: Bytes, from start: Int = 0) {
        var at = start
        while let end = bytes.firstIndex(of: Bytes.lineEnd, from: at) {
            let digits = bytes[at..<end].prefix { $0 != 59 }.latin
            guard let size = Int(digits, radix: 16), size >= 0 else {
                self.isBroken = true
                break
            }
            guard size > 0 else {
                self.takeTrailer(bytes, from: end + 2)
                break
            }
            guard end + 2 + size + 2 <= bytes.count else { break }
            self.body += bytes[end + 2..<end + 2 + size]
            at = end + 2 + size + 2
        }
        if !self.isComplete { self.taken = at - start } else { self.taken -= start }
    }

    private mutating func takeTrailer(_ bytes: Bytes, from start: Int) {
        if bytes.dropFirst(start).starts(with: Bytes.lineEnd) {
            self.isComplete = true
            self.taken = start + 2
        } else if let end = bytes.firstIndex(of: Bytes.headEnd, from: start) {
            self.trailer = Bytes(bytes[start..<end + 2])
            self.isComplete = true
            self.taken = end + 4
        }
    }
}
