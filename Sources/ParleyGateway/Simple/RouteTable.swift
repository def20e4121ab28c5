internal import ParleyCore
internal import ParleyHTTPServer

/// The routes of a configuration, checked.
struct RouteTable: Sendable {
    struct Entry: Sendable {
        let segments: [String]
        let route: GatewayRoute

        /// As locations have it: normalised and decoded.
        var path: String { "/" + self.segments.joined(separator: "/") }
    }

    let entries: [Entry]

    /// - Throws: ``ParleyHTTPServer/ServerError`` for a prefix that no path can have, or that two routes have.
    init(_ routes: [GatewayRoute], gateway: ServiceName) throws {
        var entries: [Entry] = []
        for route in routes {
            guard let path = RequestPath(route.prefix) else {
                throw ServerError(
                    .invalidConfiguration,
                    "\(gateway): the route prefix \"\(route.prefix)\" of \(route.service) must be an absolute path "
                        + "without query, \".\" and \"..\" segments."
                )
            }
            if let other = entries.first(where: { $0.segments == path.segments }) {
                throw ServerError(
                    .invalidConfiguration,
                    "\(gateway): the prefix \"\(route.prefix)\" is given to both \(other.route.service) and "
                        + "\(route.service)."
                )
            }
            entries.append(Entry(segments: path.segments, route: route))
        }
        self.entries = entries
    }

    var services: [ServiceName] {
        var seen: Set<ServiceName> = []
        return self.entries.map(\.route.service).filter { seen.insert($0).inserted }.sorted {
            $0.description < $1.description
        }
    }
}

/// A request path as routing and access rules must see it: decoded, and with empty segments left out, because the
/// services behind do so too. A path that could mean something else to a service than to the gateway is none.
struct RequestPath: Equatable {
    let segments: [String]

    /// `nil` when the path does not begin with `/`, has a `.` or `..` segment (written or encoded), a control
    /// character, a broken percent escape, or is not UTF-8. What is behind `?` is not looked at.
    init?(_ target: String) {
        var decoded: [UInt8] = []
        var bytes = target.utf8[...]
        guard bytes.first == UInt8(ascii: "/") else { return nil }
        while let byte = bytes.popFirst(), byte != UInt8(ascii: "?") {
            var byte = byte
            if byte == UInt8(ascii: "#") { return nil }
            if byte == UInt8(ascii: "%") {
                guard let high = bytes.popFirst().flatMap(Self.hexDigit),
                    let low = bytes.popFirst().flatMap(Self.hexDigit)
                else { return nil }
                byte = high << 4 | low
            }
            guard byte >= 0x20, byte != 0x7F else { return nil }
            decoded.append(byte)
        }
        var segments: [String] = []
        for part in decoded.split(separator: UInt8(ascii: "/")) {
            guard let segment = String(validating: part, as: UTF8.self), segment != ".", segment != ".." else {
                return nil
            }
            segments.append(segment)
        }
        self.segments = segments
    }

    private static func hexDigit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }
}
