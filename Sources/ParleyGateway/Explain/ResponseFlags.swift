package import NIOCore

/// What was unusual about a request, as the access log says it in letters.
///
/// Envoy's letters where they mean the same; the ones of ``ours`` have no counterpart there. `docs/gateway/explain.md`
/// has the table for people.
package struct ResponseFlags: OptionSet, Sendable, Hashable {
    package var rawValue: UInt32

    package init(rawValue: UInt32) {
        self.rawValue = rawValue
    }

    /// The client went away before the answer was complete.
    package static let clientGone = ResponseFlags(rawValue: 1 << 0)
    /// The client broke a rule of the protocol.
    package static let clientProtocolError = ResponseFlags(rawValue: 1 << 1)
    /// A header field of the client is not allowed, or there are too many or too long ones.
    package static let invalidHeader = ResponseFlags(rawValue: 1 << 2)
    /// The client sent or took too slowly.
    package static let clientTimeout = ResponseFlags(rawValue: 1 << 3)
    /// No location, or none whose conditions hold.
    package static let noRoute = ResponseFlags(rawValue: 1 << 4)
    /// `limit_req` refused it.
    package static let rateLimited = ResponseFlags(rawValue: 1 << 5)
    /// `limit_conn` refused it.
    package static let connectionLimited = ResponseFlags(rawValue: 1 << 6)
    /// Credentials are missing or wrong.
    package static let unauthorized = ResponseFlags(rawValue: 1 << 7)
    /// The address is denied.
    package static let addressDenied = ResponseFlags(rawValue: 1 << 8)
    /// The body is larger than allowed.
    package static let bodyTooLarge = ResponseFlags(rawValue: 1 << 9)
    /// No connection to the instance.
    package static let connectFailed = ResponseFlags(rawValue: 1 << 10)
    /// The connection to the instance ended before the answer did.
    package static let connectionEnded = ResponseFlags(rawValue: 1 << 11)
    /// The instance did not answer in time.
    package static let upstreamTimeout = ResponseFlags(rawValue: 1 << 12)
    /// The time for the whole request, with all tries, was over.
    package static let totalTimeout = ResponseFlags(rawValue: 1 << 13)
    /// No instance could be asked: all failed, are ejected, down, or there are none.
    package static let noneHealthy = ResponseFlags(rawValue: 1 << 14)
    /// A limit of the circuit breaker was reached.
    package static let overflow = ResponseFlags(rawValue: 1 << 15)
    /// Another try was due, and there was none left.
    package static let retriesExhausted = ResponseFlags(rawValue: 1 << 16)
    /// What the instance sent is no HTTP.
    package static let upstreamProtocolError = ResponseFlags(rawValue: 1 << 17)
    /// The instance refused the stream.
    package static let upstreamReset = ResponseFlags(rawValue: 1 << 18)
    /// Another instance answered than the one that was asked.
    package static let misdirected = ResponseFlags(rawValue: 1 << 19)
    /// The gateway has as many connections as it may have.
    package static let overloaded = ResponseFlags(rawValue: 1 << 20)
    /// The gateway itself could not go on: too many internal redirects, a broken rule.
    package static let internalError = ResponseFlags(rawValue: 1 << 21)
    /// The gateway was shutting down.
    package static let shuttingDown = ResponseFlags(rawValue: 1 << 22)

    /// In the order in which they are written.
    package static let letters: [(flag: ResponseFlags, text: StaticString)] = [
        (.clientGone, "DC"), (.clientProtocolError, "DPE"), (.invalidHeader, "IH"), (.clientTimeout, "SI"),
        (.noRoute, "NR"), (.rateLimited, "RL"), (.connectionLimited, "CL"), (.unauthorized, "UAEX"),
        (.addressDenied, "AD"), (.bodyTooLarge, "BL"), (.connectFailed, "UF"), (.connectionEnded, "UC"),
        (.upstreamTimeout, "UT"), (.totalTimeout, "DT"), (.noneHealthy, "UH"), (.overflow, "UO"),
        (.retriesExhausted, "URX"), (.upstreamProtocolError, "UPE"), (.upstreamReset, "UR"), (.misdirected, "MI"),
        (.overloaded, "OM"), (.internalError, "IE"), (.shuttingDown, "SD"),
    ]

    /// Those that Envoy does not have.
    package static let ours: ResponseFlags = [
        .connectionLimited, .addressDenied, .bodyTooLarge, .misdirected, .internalError, .shuttingDown,
    ]

    /// `UF,URX`; nothing when there is none.
    package func write(into buffer: inout ByteBuffer) {
        guard !self.isEmpty else { return }
        var isFirst = true
        for letter in Self.letters where self.contains(letter.flag) {
            if !isFirst { buffer.writeInteger(UInt8(ascii: ",")) }
            buffer.writeStaticString(letter.text)
            isFirst = false
        }
    }

    package var text: String {
        Self.letters.filter { self.contains($0.flag) }.map { "\($0.text)" }.joined(separator: ",")
    }

    /// `nil` when a word is not known.
    package init?(text: String) {
        self = []
        for word in text.split(separator: ",") {
            guard let letter = Self.letters.first(where: { "\($0.text)" == word }) else { return nil }
            self.insert(letter.flag)
        }
    }
}

extension ResponseFlags: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let flags = ResponseFlags(text: text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no response flags: \(text)")
        }
        self = flags
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.text)
    }
}
