internal import NIOCore

/// Cross-origin rules (the Fetch standard) that cannot be kept.
package struct CORSProblem: Error, Sendable, Hashable, CustomStringConvertible {
    package var detail: String

    package var description: String { "CORS: \(self.detail)" }
}

/// Which other origins' pages may use a location, and the header fields that say so to a browser.
///
/// The fields are written once, when the configuration is read; a request picks those of its origin. An origin that is
/// not allowed gets none, and the browser keeps the answer from the page; the request itself is not refused, for the
/// origin is no credential.
package struct CORSPolicy: Sendable {
    package struct Field: Sendable, Hashable {
        package var name: [UInt8]
        package var value: [UInt8]

        init(_ name: String, _ value: some Sequence<UInt8>) {
            self.name = Array(name.utf8)
            self.value = Array(value)
        }
    }

    package enum Outcome: Sendable {
        /// Not from another origin: nothing is asked.
        case none
        /// Answered by the gateway: 204 with these fields.
        case preflight([Field])
        /// The request goes on; ``CORSPolicy/apply(_:to:)`` puts the fields into its answer.
        case actual([Field])
    }

    private struct Origin: Sendable {
        var text: [UInt8]
        var actual: [Field]
        var preflight: [Field]
    }

    private let origins: [Origin]
    /// For `*`, and for nobody in particular: what the answer says when the origin is not among ``origins``.
    private let others: Origin
    private let allowsOthers: Bool
    private let methods: [[UInt8]]
    private let headers: [[UInt8]]
    private let allowsAllHeaders: Bool

    package init(_ rules: CORSRules) throws(CORSProblem) {
        self.allowsOthers = rules.origins.contains("*")
        if self.allowsOthers, rules.allowsCredentials {
            throw CORSProblem(
                detail: "credentials for every origin (`*`) would let any site act for its visitors; name the origins"
            )
        }
        for text in rules.methods + rules.headers + rules.exposedHeaders + rules.origins {
            guard !text.isEmpty, text.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ",") }) else {
                throw CORSProblem(detail: "`\(text)` is no name: spaces, commas and control characters are not allowed")
            }
        }
        self.methods = rules.methods.map { Array($0.utf8) }
        self.headers = rules.headers.map { AccessText.lowercased($0) }
        self.allowsAllHeaders = rules.headers.contains("*") && !rules.allowsCredentials
        self.origins = rules.origins.filter { $0 != "*" }.map { Self.origin($0, rules, varies: true) }
        self.others =
            self.allowsOthers
            ? Self.origin("*", rules, varies: rules.origins.count > 1)
            : Origin(text: [], actual: [Field("Vary", "Origin".utf8)], preflight: [Field("Vary", "Origin".utf8)])
    }

    package func outcome(for head: RequestHead) -> Outcome {
        guard let field = head.block.first(.origin) else {
            // A cache must know that with an origin the answer is another one.
            return self.others.actual.contains { $0.name == Self.vary }
                ? .actual([Field("Vary", "Origin".utf8)]) : .none
        }
        let origin = self.origin(head.block.view(field.value))
        guard head.method == .options, let wanted = head.block.firstField(named: Self.requestMethod) else {
            return .actual(origin.actual)
        }
        let isAllowed =
            self.methods.contains { $0.elementsEqual(head.block.view(wanted.value)) }
            && self.allowsHeaders(of: head.block)
        return .preflight(isAllowed ? origin.preflight : [Field("Vary", "Origin".utf8)])
    }

    /// Puts the fields into an answer, in the place of what the upstream says on the matter.
    package static func apply(_ fields: [Field], to head: inout ResponseHead) {
        let block = head.block
        head.block.fields.removeAll { field in
            field.known == .other && AccessText.isEqualIgnoringCase(block.view(field.name).prefix(15), self.prefix)
        }
        for field in fields {
            let known: KnownField = field.name == Self.vary ? .vary : .other
            head.block.append(name: field.name, value: field.value, known: known)
        }
    }

    private func origin(_ text: ByteBufferView) -> Origin {
        for origin in self.origins where origin.text.elementsEqual(text) { return origin }
        return self.others
    }

    private func allowsHeaders(of block: FieldBlock) -> Bool {
        guard !self.allowsAllHeaders, let field = block.firstField(named: Self.requestHeaders) else { return true }
        for name in block.view(field.value).split(separator: UInt8(ascii: ",")) {
            let trimmed = AccessText.trimmed(name)
            guard trimmed.isEmpty || self.headers.contains(where: { AccessText.isEqualIgnoringCase(trimmed, $0) })
            else {
                return false
            }
        }
        return true
    }

    private static func origin(_ text: String, _ rules: CORSRules, varies: Bool) -> Origin {
        var shared = [Field("Access-Control-Allow-Origin", text.utf8)]
        if rules.allowsCredentials { shared.append(Field("Access-Control-Allow-Credentials", "true".utf8)) }
        var actual = shared
        if !rules.exposedHeaders.isEmpty {
            actual.append(Field("Access-Control-Expose-Headers", rules.exposedHeaders.joined(separator: ", ").utf8))
        }
        var preflight = shared
        preflight.append(Field("Access-Control-Allow-Methods", rules.methods.joined(separator: ", ").utf8))
        if !rules.headers.isEmpty {
            preflight.append(Field("Access-Control-Allow-Headers", rules.headers.joined(separator: ", ").utf8))
        }
        if let age = rules.maxAgeSeconds { preflight.append(Field("Access-Control-Max-Age", "\(age)".utf8)) }
        if varies {
            actual.append(Field("Vary", "Origin".utf8))
            preflight.append(Field("Vary", "Origin".utf8))
        }
        return Origin(text: Array(text.utf8), actual: actual, preflight: preflight)
    }

    private static let vary = Array("Vary".utf8)
    private static let prefix = Array("access-control-".utf8)
    private static let requestMethod = Array("access-control-request-method".utf8)
    private static let requestHeaders = Array("access-control-request-headers".utf8)
}
