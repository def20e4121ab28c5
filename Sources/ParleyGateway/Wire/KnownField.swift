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

    /// The field of this name, whatever case it is written in.
    ///
    /// Written out: a table of names would be read with a retain and a release for each name that is compared.
    package init(_ name: Span<UInt8>) {
        switch name.count {
        case 2: self = name.isField("te") ? .te : .other
        case 3: self = name.isField("via") ? .via : .other
        case 4: self.init(name, of4: ())
        case 5: self = name.isField("range") ? .range : .other
        case 6: self.init(name, of6: ())
        case 7: self.init(name, of7: ())
        case 8: self.init(name, of8: ())
        case 9: self.init(name, of9: ())
        case 10: self.init(name, of10: ())
        case 11: self.init(name, of11: ())
        case 12: self.init(name, of12: ())
        case 13: self.init(name, of13: ())
        case 14: self.init(name, of14: ())
        case 15: self.init(name, of15: ())
        case 16: self.init(name, of16: ())
        case 17: self.init(name, of17: ())
        case 18: self.init(name, of18: ())
        case 19: self.init(name, of19: ())
        default: self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of4: Void) {
        if name.isField("date") {
            self = .date
        } else if name.isField("etag") {
            self = .etag
        } else if name.isField("host") {
            self = .host
        } else if name.isField("link") {
            self = .link
        } else if name.isField("vary") {
            self = .vary
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of6: Void) {
        if name.isField("accept") {
            self = .accept
        } else if name.isField("cookie") {
            self = .cookie
        } else if name.isField("expect") {
            self = .expect
        } else if name.isField("origin") {
            self = .origin
        } else if name.isField("server") {
            self = .server
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of7: Void) {
        if name.isField("expires") {
            self = .expires
        } else if name.isField("referer") {
            self = .referer
        } else if name.isField("refresh") {
            self = .refresh
        } else if name.isField("trailer") {
            self = .trailer
        } else if name.isField("upgrade") {
            self = .upgrade
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of8: Void) {
        if name.isField("if-match") {
            self = .ifMatch
        } else if name.isField("if-range") {
            self = .ifRange
        } else if name.isField("location") {
            self = .location
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of9: Void) {
        if name.isField("forwarded") {
            self = .forwarded
        } else if name.isField("x-real-ip") {
            self = .xRealIP
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of10: Void) {
        if name.isField("connection") {
            self = .connection
        } else if name.isField("keep-alive") {
            self = .keepAlive
        } else if name.isField("set-cookie") {
            self = .setCookie
        } else if name.isField("tracestate") {
            self = .tracestate
        } else if name.isField("user-agent") {
            self = .userAgent
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of11: Void) {
        if name.isField("grpc-status") {
            self = .grpcStatus
        } else if name.isField("retry-after") {
            self = .retryAfter
        } else if name.isField("traceparent") {
            self = .traceparent
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of12: Void) {
        if name.isField("content-type") {
            self = .contentType
        } else if name.isField("grpc-message") {
            self = .grpcMessage
        } else if name.isField("grpc-timeout") {
            self = .grpcTimeout
        } else if name.isField("x-powered-by") {
            self = .xPoweredBy
        } else if name.isField("x-request-id") {
            self = .xRequestID
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of13: Void) {
        if name.isField("authorization") {
            self = .authorization
        } else if name.isField("cache-control") {
            self = .cacheControl
        } else if name.isField("content-range") {
            self = .contentRange
        } else if name.isField("grpc-encoding") {
            self = .grpcEncoding
        } else if name.isField("if-none-match") {
            self = .ifNoneMatch
        } else if name.isField("last-modified") {
            self = .lastModified
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of14: Void) {
        if name.isField("content-length") {
            self = .contentLength
        } else if name.isField("http2-settings") {
            self = .http2Settings
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of15: Void) {
        if name.isField("accept-encoding") {
            self = .acceptEncoding
        } else if name.isField("idempotency-key") {
            self = .idempotencyKey
        } else if name.isField("x-accel-expires") {
            self = .xAccelExpires
        } else if name.isField("x-forwarded-for") {
            self = .xForwardedFor
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of16: Void) {
        if name.isField("content-encoding") {
            self = .contentEncoding
        } else if name.isField("proxy-connection") {
            self = .proxyConnection
        } else if name.isField("www-authenticate") {
            self = .wwwAuthenticate
        } else if name.isField("x-accel-redirect") {
            self = .xAccelRedirect
        } else if name.isField("x-forwarded-host") {
            self = .xForwardedHost
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of17: Void) {
        if name.isField("if-modified-since") {
            self = .ifModifiedSince
        } else if name.isField("transfer-encoding") {
            self = .transferEncoding
        } else if name.isField("x-accel-buffering") {
            self = .xAccelBuffering
        } else if name.isField("x-forwarded-proto") {
            self = .xForwardedProto
        } else if name.isField("x-parley-instance") {
            self = .xParleyInstance
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of18: Void) {
        if name.isField("proxy-authenticate") {
            self = .proxyAuthenticate
        } else if name.isField("x-accel-limit-rate") {
            self = .xAccelLimitRate
        } else {
            self = .other
        }
    }

    @inline(__always)
    private init(_ name: Span<UInt8>, of19: Void) {
        if name.isField("if-unmodified-since") {
            self = .ifUnmodifiedSince
        } else if name.isField("proxy-authorization") {
            self = .proxyAuthorization
        } else {
            self = .other
        }
    }
}

extension Span<UInt8> {
    /// Whether this is the name of a field, which is given in lower case and is as long.
    @inline(__always)
    fileprivate func isField(_ known: StaticString) -> Bool {
        known.withUTF8Buffer { known in
            guard self.count == known.count else { return false }
            for index in 0..<known.count where self[index] | 0x20 != known[index] { return false }
            return true
        }
    }
}
