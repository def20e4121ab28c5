/// Who was let in, as the services behind and the log may know it.
package struct AccessIdentity: Sendable, Hashable {
    /// A header field that goes to the upstream, in the place of what the client may have sent under that name.
    package struct Field: Sendable, Hashable {
        package var name: [UInt8]
        package var value: [UInt8]

        package init(name: [UInt8], value: [UInt8]) {
            self.name = name
            self.value = value
        }
    }

    /// `$remote_user`, the name of a key, or the subject of a token; may be empty.
    package var name: [UInt8]
    package var fields: [Field]

    package init(name: [UInt8], fields: [Field] = []) {
        self.name = name
        self.fields = fields
    }
}

/// What `WWW-Authenticate` says with a refusal.
package enum AccessChallenge: Sendable, Hashable {
    case none
    /// RFC 7617; the realm is the location's and may depend on the request.
    case basic
    case fixed([UInt8])

    /// The field's value. What could end the quoted realm, or the line, is escaped or left out.
    package func value(realm: some Sequence<UInt8>) -> [UInt8]? {
        switch self {
        case .none: return nil
        case .fixed(let value): return value
        case .basic:
            var value = Array(#"Basic realm=""#.utf8)
            for byte in realm where byte >= 0x20 && byte != 0x7F {
                if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { value.append(UInt8(ascii: "\\")) }
                value.append(byte)
            }
            value.append(UInt8(ascii: "\""))
            return value
        }
    }
}

package struct AccessRefusal: Error, Sendable, Hashable {
    package var status: UInt16
    package var challenge: AccessChallenge
    /// For the log: what was wrong. Nothing that the client sent, and nothing that it must not know, is in the answer.
    package var reason: String

    package init(status: UInt16, challenge: AccessChallenge = .none, reason: String) {
        self.status = status
        self.challenge = challenge
        self.reason = reason
    }
}

package enum AccessDecision: Sendable, Hashable {
    case allowed(identity: AccessIdentity?)
    case refused(AccessRefusal)
    /// Not known yet: the authenticator's `resolve` finds out, off the event loop.
    case pending
}

/// `satisfy`: how the address and the credentials count together.
package enum Satisfaction {
    /// - Parameters:
    ///   - credentials: What the location's authenticators said, in their order; empty without any.
    /// - Returns: ``AccessDecision/pending`` only when what is pending can still change the answer.
    package static func decide(
        any: Bool,
        address: AddressDecision,
        credentials: [AccessDecision]
    ) -> AccessDecision {
        any ? self.any(address, credentials) : self.all(address, credentials)
    }

    private static func all(_ address: AddressDecision, _ credentials: [AccessDecision]) -> AccessDecision {
        if address == .denied { return .refused(self.deniedByAddress) }
        var identity: AccessIdentity?
        for decision in credentials {
            guard case .allowed(let found) = decision else { return decision }
            identity = self.joined(identity, found)
        }
        return .allowed(identity: identity)
    }

    /// The first that allows is enough. Of refusals, a 401 outranks a 403, so that the client may try; anything else
    /// (500, 503) ends it.
    private static func any(_ address: AddressDecision, _ credentials: [AccessDecision]) -> AccessDecision {
        if address == .allowed { return .allowed(identity: nil) }
        var refusal: AccessRefusal? = address == .denied ? self.deniedByAddress : nil
        for decision in credentials {
            switch decision {
            case .allowed, .pending:
                return decision
            case .refused(let next):
                guard next.status == 401 || next.status == 403 else { return decision }
                if refusal?.status != 401 { refusal = next }
            }
        }
        return refusal.map { .refused($0) } ?? .allowed(identity: nil)
    }

    private static func joined(_ first: AccessIdentity?, _ second: AccessIdentity?) -> AccessIdentity? {
        guard var joined = first, let second else { return first ?? second }
        if joined.name.isEmpty { joined.name = second.name }
        joined.fields += second.fields
        return joined
    }

    private static let deniedByAddress = AccessRefusal(status: 403, reason: "access forbidden by rule")
}
