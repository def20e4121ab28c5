/// What the readers of definitions share: fields that nobody reads, and errors that name their place.
struct DynamicKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { nil }

    static func unknown(in decoder: any Decoder, known: [String], at path: [String]) throws -> [String] {
        let keys = try decoder.container(keyedBy: DynamicKey.self).allKeys.map(\.stringValue)
        return keys.filter { !known.contains($0) }.sorted().map { (path + [$0]).joined(separator: ".") }
    }
}

extension SagaError {
    /// What a `DecodingError` means to the person who wrote the file.
    static func unreadable(_ error: DecodingError) -> SagaError {
        SagaError(.invalidDefinition, Self.explain(error))
    }

    private static func explain(_ error: DecodingError) -> String {
        func path(_ context: DecodingError.Context) -> String {
            let path = context.codingPath.map(\.stringValue).joined(separator: ".")
            return path.isEmpty ? "the file" : path
        }
        switch error {
        case .keyNotFound(let key, let context): return "\(path(context)): the field '\(key.stringValue)' is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context):
            return "\(path(context)): \(context.debugDescription)"
        case .dataCorrupted(let context):
            let cause = context.underlyingError.map { " (\($0))" } ?? ""
            return "\(path(context)): \(context.debugDescription)\(cause)"
        @unknown default: return "\(error)"
        }
    }
}

/// A short name for a text (64-bit FNV-1a): it tells versions apart and is no protection against forgery.
func shortFingerprint(_ text: String) -> String {
    let hash = text.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
    return String(hash, radix: 16)
}

/// Seconds of a file as a duration. Rounded: 1.023 s is 1,022,999.9… µs as a Double, and what is written must be what
/// was read.
func duration(ofSeconds value: Double?) -> Duration? {
    guard let value, value.isFinite else { return nil }
    return .microseconds(Int64((min(max(0, value), 1e9) * 1_000_000).rounded()))
}
