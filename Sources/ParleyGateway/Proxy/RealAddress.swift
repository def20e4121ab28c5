internal import NIOCore

/// `real_ip_header`: whom a trusted proxy in front speaks for. Pure.
enum RealAddress {
    /// - Parameters:
    ///   - values: Of the field, in their order; a list with commas is a value of several.
    ///   - peer: Whose connection it is.
    /// - Returns: `nil` when the connection's own address holds.
    static func client(_ values: [String], peer: IPAddress, rules: RealIP) -> (address: IPAddress, port: Int?)? {
        guard rules.trusted.contains(where: { $0.contains(peer) }) else { return nil }
        var entries: [Substring] = []
        for value in values { entries += value.split(separator: ",") }
        var found: (address: IPAddress, port: Int?)?
        // From the nearest proxy outwards, as long as the one who says it is trusted.
        for entry in entries.reversed() {
            guard let parsed = Self.parse(entry) else { break }
            found = parsed
            guard rules.isRecursive, rules.trusted.contains(where: { $0.contains(parsed.address) }) else { break }
        }
        return found
    }

    /// An address, perhaps with a port behind it.
    private static func parse(_ entry: Substring) -> (address: IPAddress, port: Int?)? {
        let text = entry.drop { $0 == " " || $0 == "\t" }
        let trimmed = String(text.reversed().drop { $0 == " " || $0 == "\t" }.reversed())
        if let address = IPAddress(trimmed) { return (address, nil) }
        guard let colon = trimmed.lastIndex(of: ":"), let port = Int(trimmed[trimmed.index(after: colon)...]),
            (1...65_535).contains(port)
        else { return nil }
        var host = trimmed[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        return IPAddress(String(host)).map { ($0, port) }
    }
}
