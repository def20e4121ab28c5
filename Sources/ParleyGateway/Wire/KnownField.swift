/// A header field that the gateway itself reads, writes or removes. Recognised once, when a head is read; from then on
/// a comparison of one byte.
package enum KnownField: UInt8, Sendable, CaseIterable {
    case other
    case accept
    case acceptEncoding
    case authorization
    case cacheControl
    case connection
    case contentEncoding
    case contentLength
    case contentRange
    case contentType
    case cookie
    case date
    case etag
    case expect
    case expires
    case forwarded
    case grpcEncoding
    case grpcMessage
    case grpcStatus
    case grpcTimeout
    case host
    case http2Settings
    case idempotencyKey
    case ifMatch
    case ifModifiedSince
    case ifNoneMatch
    case ifRange
    case ifUnmodifiedSince
    case keepAlive
    case lastModified
    case link
    case location
    case origin
    case proxyAuthenticate
    case proxyAuthorization
    case proxyConnection
    case range
    case referer
    case refresh
    case retryAfter
    case server
    case setCookie
    case te
    case trailer
    case transferEncoding
    case traceparent
    case tracestate
    case upgrade
    case userAgent
    case vary
    case via
    case wwwAuthenticate
    case xAccelBuffering
    case xAccelExpires
    case xAccelLimitRate
    case xAccelRedirect
    case xForwardedFor
    case xForwardedHost
    case xForwardedProto
    case xParleyInstance
    case xPoweredBy
    case xRealIP
    case xRequestID

    /// In lower case, as HTTP/2 writes it; empty for ``other``.
    package var name: String { Self.names[Int(self.rawValue)] }

    private static let names: [String] = KnownField.allCases.map { field in
        switch field {
        case .other: return ""
        case .te: return "te"
        case .etag: return "etag"
        case .http2Settings: return "http2-settings"
        case .traceparent: return "traceparent"
        case .tracestate: return "tracestate"
        case .xRealIP: return "x-real-ip"
        case .xRequestID: return "x-request-id"
        case .wwwAuthenticate: return "www-authenticate"
        default:
            var name = ""
            for character in "\(field)" {
                if character.isUppercase { name += "-" }
                name += character.lowercased()
            }
            return name
        }
    }

    /// The known names by their length: what is left to compare is a handful.
    private static let byLength: [[(name: [UInt8], field: KnownField)]] = {
        let longest = Self.names.map(\.utf8.count).max() ?? 0
        var table: [[(name: [UInt8], field: KnownField)]] = Array(repeating: [], count: longest + 1)
        for field in KnownField.allCases where field != .other {
            let name = Array(field.name.utf8)
            table[name.count].append((name, field))
        }
        return table
    }()

    /// The field of this name, whatever case it is written in.
    package init(_ name: Span<UInt8>) {
        let count = name.count
        guard count < Self.byLength.count else {
            self = .other
            return
        }
        candidates: for candidate in Self.byLength[count] {
            for index in 0..<count where name[index] | 0x20 != candidate.name[index] | 0x20 {
                continue candidates
            }
            self = candidate.field
            return
        }
        self = .other
    }
}
