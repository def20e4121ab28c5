internal import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Why a token is not good, as `error_description` says it. None of it is a secret.
enum JWTFailure: String, Error, Sendable {
    case malformed = "the token is malformed"
    case tooLong = "the token is too long"
    case algorithm = "the algorithm is not allowed"
    case critical = "the token asks for an extension that is not supported"
    case unknownKey = "the key is unknown"
    case signature = "the signature is wrong"
    case expired = "the token has expired"
    case notYet = "the token is not valid yet"
    case issuedLater = "the token was issued in the future"
    case issuer = "the issuer is wrong"
    case audience = "the audience is wrong"

    var refusal: AccessRefusal {
        let challenge = #"Bearer error="invalid_token", error_description="\#(self.rawValue)""#
        return AccessRefusal(status: 401, challenge: .fixed(Array(challenge.utf8)), reason: self.rawValue)
    }
}

/// A JSON Web Token in its compact form (RFC 7519), taken apart. Nothing of it is to be believed before its signature
/// has been checked.
struct JWTToken: Sendable {
    var algorithm: String
    var keyID: String?
    /// Header and payload as they were encoded: what the signature is of.
    var signed: ArraySlice<UInt8>
    var signature: [UInt8]
    var payload: [UInt8]

    private static let algorithms: Set<String> = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    ]

    private struct Header: Decodable {
        private enum CodingKeys: String, CodingKey { case alg, kid, crit }

        var alg: String
        var kid: String?
        var isCritical: Bool

        init(from decoder: any Decoder) throws {
            let container = try decoder.container(keyedBy: CodingKeys.self)
            self.alg = try container.decode(String.self, forKey: .alg)
            self.kid = try container.decodeIfPresent(String.self, forKey: .kid)
            // What it says is not looked at: nobody has signed for how deep it is nested.
            self.isCritical = container.contains(.crit)
        }
    }

    init(_ text: [UInt8]) throws(JWTFailure) {
        let parts = text.split(separator: UInt8(ascii: "."), maxSplits: 3, omittingEmptySubsequences: false)
        guard parts.count == 3, let headerBytes = AccessBase64.decode(parts[0], .url),
            let payload = AccessBase64.decode(parts[1], .url), let signature = AccessBase64.decode(parts[2], .url),
            let header = try? JSONDecoder().decode(Header.self, from: Data(headerBytes))
        else { throw .malformed }
        guard Self.algorithms.contains(header.alg) else { throw .algorithm }
        guard !header.isCritical else { throw .critical }
        self.algorithm = header.alg
        self.keyID = header.kid
        self.signed = text[..<parts[1].endIndex]
        self.signature = signature
        self.payload = payload
    }
}

/// What a token says about its bearer.
struct JWTClaims: Sendable {
    private let values: [String: ClaimValue]

    init(_ payload: [UInt8]) throws(JWTFailure) {
        guard let values = try? JSONDecoder().decode([String: ClaimValue].self, from: Data(payload)) else {
            throw .malformed
        }
        self.values = values
    }

    /// Until when the token is good, the leeway included; `nil` for a token without an end.
    func validUntil(_ rules: JWTRules, now: Timestamp) throws(JWTFailure) -> Timestamp? {
        let leeway = Duration.milliseconds(rules.leeway)
        if let notBefore = try self.date("nbf"), now + leeway < notBefore { throw .notYet }
        if let issued = try self.date("iat"), now + leeway < issued { throw .issuedLater }
        if let issuer = rules.issuer, self.values["iss"] != .text(issuer) { throw .issuer }
        if !rules.audiences.isEmpty {
            guard self.texts("aud").contains(where: { rules.audiences.contains($0) }) else { throw .audience }
        }
        guard let end = try self.date("exp") else { return nil }
        guard now < end + leeway else { throw .expired }
        return end + leeway
    }

    /// The claims that are passed on; one that is missing, or that no header field can carry, is left out.
    func identity(_ forwarded: [(claim: String, field: [UInt8])]) -> AccessIdentity {
        var identity = AccessIdentity(name: self.values["sub"]?.fieldValue ?? [])
        for (claim, field) in forwarded {
            guard let value = self.values[claim]?.fieldValue else { continue }
            identity.fields.append(AccessIdentity.Field(name: field, value: value))
        }
        return identity
    }

    private func texts(_ claim: String) -> [String] {
        switch self.values[claim] {
        case .text(let text): return [text]
        case .list(let list):
            return list.compactMap { if case .text(let text) = $0 { text } else { nil } }
        default: return []
        }
    }

    /// Seconds since 1970, with or without a fraction.
    private func date(_ claim: String) throws(JWTFailure) -> Timestamp? {
        switch self.values[claim] {
        case nil, .null: return nil
        case .number(let seconds):
            // Beyond this the calendar ends: a token that is good for so long is good for ever.
            guard seconds.isFinite else { throw .malformed }
            let limited = min(max(seconds, -9e12), 9e12)
            return Timestamp(microseconds: Int64(limited * 1_000_000))
        default: throw .malformed
        }
    }
}

/// Any value of JSON.
enum ClaimValue: Sendable, Hashable, Decodable {
    case null
    case boolean(Bool)
    case number(Double)
    case text(String)
    case list([ClaimValue])
    case object([String: ClaimValue])

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if container.decodeNil() {
            self = .null
        } else if let value = try? container.decode(Bool.self) {
            self = .boolean(value)
        } else if let value = try? container.decode(Double.self) {
            self = .number(value)
        } else if let value = try? container.decode(String.self) {
            self = .text(value)
        } else if let value = try? container.decode([ClaimValue].self) {
            self = .list(value)
        } else {
            self = .object(try container.decode([String: ClaimValue].self))
        }
    }

    /// As the value of a header field; lists are joined by commas. `nil` for what has no such form: an object, or a
    /// text that would end the field.
    var fieldValue: [UInt8]? {
        switch self {
        case .null, .object: return nil
        case .boolean(let value): return Array((value ? "true" : "false").utf8)
        case .number(let value):
            guard let whole = Int64(exactly: value) else { return Array("\(value)".utf8) }
            return Array("\(whole)".utf8)
        case .text(let text):
            let bytes = Array(text.utf8)
            return bytes.allSatisfy { $0 >= 0x20 && $0 != 0x7F } ? bytes : nil
        case .list(let list):
            var joined: [UInt8] = []
            for (index, element) in list.enumerated() {
                if case .list = element { return nil }
                guard let value = element.fieldValue else { return nil }
                if index > 0 { joined.append(UInt8(ascii: ",")) }
                joined += value
            }
            return joined
        }
    }
}
