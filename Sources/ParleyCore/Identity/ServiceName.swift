/// The name under which a service is found: `user-service`.
///
/// Letters, digits, `-`, `_` and `.`, 1 to 63 characters, beginning and ending with a letter or digit: what DNS labels,
/// AMQP queue names and log labels all accept.
public struct ServiceName: Sendable, Hashable, CustomStringConvertible, ExpressibleByStringLiteral {
    public let description: String

    /// `nil` when `text` is not a name.
    public init?(_ text: some StringProtocol) {
        let bytes = text.utf8
        guard (1...63).contains(bytes.count), let first = bytes.first, let last = bytes.reversed().first,
            Self.isAlphanumeric(first), Self.isAlphanumeric(last),
            bytes.allSatisfy({ Self.isAlphanumeric($0) || $0 == 45 || $0 == 95 || $0 == 46 })
        else { return nil }
        self.description = String(text)
    }

    /// For names written in source code; a literal is the programmer's, so it is not checked at run time.
    public init(stringLiteral value: String) {
        self.description = value
    }

    private static func isAlphanumeric(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...90).contains(byte) || (97...122).contains(byte)
    }
}

/// Where one instance listens: a host name or address, and a port.
public struct Endpoint: Sendable, Hashable, CustomStringConvertible {
    public var host: String
    public var port: Int

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `host:port` or `[v6]:port`; `nil` when it is not of that form or the port is not 0…65535.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        // Int reads "+80" as well.
        guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = Int(digits), (0...65_535).contains(port)
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        guard !host.isEmpty, !host.contains(where: { $0 == "[" || $0 == "]" }) else { return nil }
        self.init(host: String(host), port: port)
    }

    public var description: String {
        self.host.contains(":") ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
    }
}
