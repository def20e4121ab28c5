internal import ParleyCore
package import ParleyGateway

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Lines of an access log, as requests: the gateway's JSON, or nginx's `combined` and `common`.
package enum ReplayLog {
    /// A longer line is none of a log.
    package static let maxLineBytes = 65_536

    package struct Entry: Sendable, Hashable {
        package var request: ReplayRequest
        /// What was answered then.
        package var status: Int
        package var route: String?
    }

    /// `nil` when the line is neither.
    package static func entry(_ line: String) -> Entry? {
        guard line.utf8.count <= Self.maxLineBytes else { return nil }
        return line.first == "{" ? Self.json(line) : Self.combined(line)
    }

    private struct JSONLine: Decodable {
        var time: Timestamp?
        var client: String?
        var method: String?
        var host: String?
        var path: String?
        var status: Int
        var route: String?
        var userAgent: String?

        enum CodingKeys: String, CodingKey {
            case time, client, method, host, path, status, route
            case userAgent = "user_agent"
        }
    }

    private static func json(_ line: String) -> Entry? {
        guard let value = try? JSONDecoder().decode(JSONLine.self, from: Data(line.utf8)), let path = value.path,
            let method = value.method
        else { return nil }
        let request = ReplayRequest(
            time: value.time,
            method: method,
            host: value.host ?? "",
            target: path,
            client: value.client ?? "",
            userAgent: value.userAgent
        )
        return Entry(request: request, status: value.status, route: value.route)
    }

    /// `client - user [time] "request" status bytes "referer" "user agent"`.
    private static func combined(_ line: String) -> Entry? {
        var fields = CombinedFields(rest: Array(line.utf8)[...])
        guard let client = fields.word(), fields.word() != nil, fields.word() != nil,
            let time = fields.between("[", "]"), let request = fields.between("\"", "\""), let status = fields.word(),
            let number = Int(status), (0...999).contains(number)
        else { return nil }
        _ = fields.word()
        let referer = fields.between("\"", "\"")
        let agent = fields.between("\"", "\"")
        let words = request.split(separator: " ", omittingEmptySubsequences: false)
        guard words.count >= 2 else { return nil }
        func value(_ text: String?) -> String? { text == "-" ? nil : text }
        return Entry(
            request: ReplayRequest(
                time: CombinedTime.read(time),
                method: String(words[0]),
                target: words.dropFirst().prefix(words.count > 2 ? words.count - 2 : 1).joined(separator: " "),
                client: client,
                userAgent: value(agent),
                referer: value(referer)
            ),
            status: number
        )
    }
}

private struct CombinedFields {
    var rest: ArraySlice<UInt8>

    mutating func word() -> String? {
        self.rest = self.rest.drop { $0 == UInt8(ascii: " ") }
        let word = self.rest.prefix { $0 != UInt8(ascii: " ") }
        self.rest = self.rest.dropFirst(word.count)
        return word.isEmpty ? nil : String(decoding: word, as: UTF8.self)
    }

    /// nginx writes `"` and `\` within as `\x22` and `\x5C`.
    mutating func between(_ open: Character, _ close: Character) -> String? {
        self.rest = self.rest.drop { $0 == UInt8(ascii: " ") }
        guard let first = self.rest.first, first == open.asciiValue else { return nil }
        let inside = self.rest.dropFirst().prefix { $0 != close.asciiValue }
        self.rest = self.rest.dropFirst(inside.count + 2)
        var bytes: [UInt8] = []
        var left = inside
        while let byte = left.popFirst() {
            let digits = left.dropFirst().prefix(2)
            if byte == UInt8(ascii: "\\"), left.first == UInt8(ascii: "x"), digits.count == 2,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            {
                bytes.append(value)
                left = left.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// `23/Nov/2026:09:15:00 +0100`.
private enum CombinedTime {
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    static func read(_ text: String) -> Timestamp? {
        let words = text.split(separator: " ")
        guard words.count == 2 else { return nil }
        let parts = words[0].split(separator: ":")
        guard parts.count == 4 else { return nil }
        let date = parts[0].split(separator: "/")
        guard date.count == 3, let month = Self.months.firstIndex(of: String(date[1])), words[1].utf8.count == 5
        else { return nil }
        let number = month < 9 ? "0\(month + 1)" : "\(month + 1)"
        let zone = words[1].prefix(3) + ":" + words[1].suffix(2)
        return Timestamp("\(date[2])-\(number)-\(date[0])T\(parts[1]):\(parts[2]):\(parts[3])\(zone)")
    }
}
