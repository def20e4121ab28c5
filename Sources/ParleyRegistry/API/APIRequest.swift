internal import HTTPTypes
internal import NIOCore
internal import ParleyCore

/// One request to the registry, taken apart.
struct APIRequest: Sendable {
    var method: String
    /// Decoded.
    var path: String
    var query: QueryItems
    var headers: HTTPFields
    var body: [UInt8] = []
    /// What follows the route's prefix.
    var rest = ""

    /// `nil` for a path that is no text.
    init?(method: String, target: String, headers: HTTPFields) {
        let parts = target.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
        guard let path = PercentEncoding.decode(parts.first ?? "/") else { return nil }
        self.method = method
        self.path = path
        self.query = QueryItems(parts.count > 1 ? parts[1] : "")
        self.headers = headers
    }
}

/// The part of a URL behind the question mark.
struct QueryItems: Sendable {
    private static let maximumItems = 256

    private var items: [(name: String, value: String)] = []

    init(_ text: Substring) {
        for item in text.split(separator: "&", maxSplits: Self.maximumItems) {
            let parts = item.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            let value = parts.count > 1 ? parts[1] : ""
            guard let name = Self.decode(parts[0]), let value = Self.decode(value) else { continue }
            self.items.append((name, value))
        }
    }

    private static func decode(_ text: Substring) -> String? {
        PercentEncoding.decode(Substring(text.map { $0 == "+" ? " " : $0 }))
    }

    func has(_ name: String) -> Bool { self.items.contains { $0.name == name } }

    /// The first value; "" for one that stands alone (`?stale`).
    subscript(name: String) -> String? { self.items.first { $0.name == name }?.value }

    /// What decides about the content of an answer, as one text that no other content has: an item may hold any
    /// character, so its lengths come before it.
    var content: String {
        let others: Set<String> = ["index", "wait", "token", "stale", "consistent", "cached", "near"]
        return self.items.filter { !others.contains($0.name) }.map { item in
            "\(item.name.utf8.count):\(item.value.utf8.count):\(item.name)\(item.value)"
        }.joined()
    }

    func all(_ name: String) -> [String] { self.items.filter { $0.name == name }.map(\.value) }
}

/// What the registry answers.
struct APIAnswer: Sendable {
    enum Body: Sendable {
        case none
        case text(String)
        case json(ByteBuffer)
        case bytes([UInt8])
    }

    var status = 200
    var headers: [(name: String, value: String)] = []
    var body = Body.none
    /// Consul's mark of an answer that its access rules let through; unknown paths do not have it.
    var hasPolicyHeader = true

    static let done = APIAnswer()

    static func text(_ status: Int, _ text: String) -> APIAnswer { APIAnswer(status: status, body: .text(text)) }
}

/// A refusal, in Consul's words.
struct APIError: Error {
    var status: Int
    var text: String

    init(_ status: Int, _ text: String) {
        self.status = status
        self.text = text
    }
}
