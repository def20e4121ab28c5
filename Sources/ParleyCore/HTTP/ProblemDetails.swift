/// An error answer as RFC 9457 describes it (`application/problem+json`): the one error body of every Parley service.
///
/// Reading is lenient, as the standard asks: a member of an unexpected type is treated as absent, so that an error of a
/// foreign service is still readable.
public struct ProblemDetails: Sendable, Hashable {
    /// The content type of this body.
    public static let mediaType = "application/problem+json"

    /// The ``code`` of a 409: a request with the same `Idempotency-Key` is still under way.
    package static let keyInUse = "idempotency_key_in_use"

    /// What kind of problem it is: a URI; `about:blank` says that the status code tells it all.
    public var type: String
    /// The kind of problem in a few words, the same for every occurrence.
    public var title: String?
    /// The HTTP status code.
    public var status: Int?
    /// What happened this time, and what the reader can do about it.
    public var detail: String?
    /// Which resource it happened to: usually the path of the request.
    public var instance: String?
    /// A short constant for programs: `out_of_stock`, `deadline_passed`.
    public var code: String?
    /// The request that failed, as in `X-Request-ID`; the key to the log lines.
    public var requestID: String?
    /// Further members whose values are texts.
    public var extra: [String: String]

    public init(
        type: String = "about:blank",
        title: String? = nil,
        status: Int? = nil,
        detail: String? = nil,
        instance: String? = nil,
        code: String? = nil,
        requestID: String? = nil,
        extra: [String: String] = [:]
    ) {
        self.type = type
        self.title = title
        self.status = status
        self.detail = detail
        self.instance = instance
        self.code = code
        self.requestID = requestID
        self.extra = extra
    }
}

extension ProblemDetails: Codable {
    private struct Key: CodingKey, Hashable {
        static let type = Key("type")
        static let title = Key("title")
        static let status = Key("status")
        static let detail = Key("detail")
        static let instance = Key("instance")
        static let code = Key("code")
        static let requestID = Key("requestId")
        static let known: Set<Key> = [.type, .title, .status, .detail, .instance, .code, .requestID]

        let stringValue: String
        var intValue: Int? { nil }

        init(_ text: String) { self.stringValue = text }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: Key.self)
        func text(_ key: Key) -> String? { try? container.decode(String.self, forKey: key) }
        var extra: [String: String] = [:]
        for key in container.allKeys where !Key.known.contains(key) { extra[key.stringValue] = text(key) }
        self.init(
            type: text(.type) ?? "about:blank",
            title: text(.title),
            status: try? container.decode(Int.self, forKey: .status),
            detail: text(.detail),
            instance: text(.instance),
            code: text(.code),
            requestID: text(.requestID),
            extra: extra
        )
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(self.type, forKey: .type)
        try container.encodeIfPresent(self.title, forKey: .title)
        try container.encodeIfPresent(self.status, forKey: .status)
        try container.encodeIfPresent(self.detail, forKey: .detail)
        try container.encodeIfPresent(self.instance, forKey: .instance)
        try container.encodeIfPresent(self.code, forKey: .code)
        try container.encodeIfPresent(self.requestID, forKey: .requestID)
        // An extra member cannot replace one of the standard's.
        for (name, value) in self.extra where !Key.known.contains(Key(name)) {
            try container.encode(value, forKey: Key(name))
        }
    }
}

/// An error that knows how it is told to an HTTP client, with nothing in it that a stranger should not read.
public protocol ProblemConvertible: Error {
    /// The answer; `status` decides the status line (500 when it is missing).
    var problem: ProblemDetails { get }
}
