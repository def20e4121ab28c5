/// A path below `/v1` with its query, everything escaped.
struct ConsulPath: Sendable {
    private(set) var path: String
    private var query: [String] = []

    /// - Parameters:
    ///   - fixed: Without names: `agent/service/register`.
    ///   - name: What follows; its slashes stay.
    init(_ fixed: String, _ name: String? = nil) {
        self.path = "/v1/" + fixed
        guard let name else { return }
        self.path +=
            "/"
            + name.split(separator: "/", omittingEmptySubsequences: false)
            .map { Self.escaped(String($0)) }.joined(separator: "/")
    }

    /// Adds `name=value`, or the name alone.
    mutating func add(_ name: String, _ value: String? = nil) {
        self.query.append(name + (value.map { "=" + Self.escaped($0) } ?? ""))
    }

    func adding(_ name: String, _ value: String? = nil) -> ConsulPath {
        var path = self
        path.add(name, value)
        return path
    }

    var text: String { self.path + (self.query.isEmpty ? "" : "?" + self.query.joined(separator: "&")) }

    private static func escaped(_ text: String) -> String {
        // The two that a URL's reader would take for directions.
        if text == "." { return "%2E" }
        if text == ".." { return "%2E%2E" }
        var escaped = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                escaped.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                escaped += byte < 16 ? "%0" : "%"
                escaped += String(byte, radix: 16, uppercase: true)
            }
        }
        return escaped
    }
}
