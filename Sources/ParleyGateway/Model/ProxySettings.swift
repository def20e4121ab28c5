/// How requests go to an upstream and answers come back. The defaults are those of nginx 1.22.
package struct ProxySettings: Sendable, Hashable {
    package enum WireVersion: String, Sendable, Hashable {
        case http10 = "1.0"
        case http11 = "1.1"
        case http2 = "2"
    }

    package var version = WireVersion.http10
    /// `proxy_set_header`: what is sent instead of what came. An empty value removes the field.
    package var setFields: [SetField] = SetField.defaults
    package var passesRequestFields = true
    package var passesRequestBody = true
    package var method: Template?
    package var hiddenFields: [String] = ["Date", "Server", "X-Pad"] + Self.accelerated
    package var passedFields: [String] = []
    /// `X-Accel-…`, `Expires`, `Cache-Control`, `Set-Cookie`, `Vary` whose meaning is not looked at.
    package var ignoredFields: [String] = []
    package var connectTimeout = 60_000
    package var sendTimeout = 60_000
    package var readTimeout = 60_000
    /// The largest head of an answer.
    package var headSize = 4_096
    /// Answers are read ahead of a slow client, up to `bufferedBytes`.
    package var isBuffering = true
    package var bufferedBytes = 32_768
    package var isRequestBuffering = true
    package var nextUpstream = NextUpstream()
    package var redirects = Redirects.standard
    package var cookieDomains: [Replacement] = []
    package var cookiePaths: [Replacement] = []
    /// `error_page` also takes answers of 300 and above that came from the upstream.
    package var interceptsErrors = false
    package var ignoresClientAbort = false
    package var tls = UpstreamTLS()
    /// Identity, id, trace and deadline of our own services travel along (decisions/0010).
    package var carriesContext = false
    /// For the whole request with all its tries; 0 is no limit.
    package var totalTimeout = 0

    static let accelerated = [
        "X-Accel-Expires", "X-Accel-Redirect", "X-Accel-Limit-Rate", "X-Accel-Buffering", "X-Accel-Charset",
    ]

    package init() {}

    /// gRPC is HTTP/2, and both sides talk at once: nothing waits for the whole of anything.
    mutating func carryCalls() {
        self.version = .http2
        self.isBuffering = false
        self.isRequestBuffering = false
    }
}

package struct SetField: Sendable, Hashable {
    package var name: String
    package var value: Template

    package init(name: String, value: Template) {
        self.name = name
        self.value = value
    }

    /// `Host $proxy_host`, `Connection close`: in force unless the same name is set.
    package static let defaults = [
        SetField(name: "Host", value: Template(parts: [.variable(.proxyHost)])),
        SetField(name: "Connection", value: Template("close")),
    ]
}

package struct NextUpstream: Sendable, Hashable {
    package enum Reason: String, Sendable, Hashable, CaseIterable {
        case error, timeout
        case invalidHeader = "invalid_header"
        case http500 = "http_500"
        case http502 = "http_502"
        case http503 = "http_503"
        case http504 = "http_504"
        case http403 = "http_403"
        case http404 = "http_404"
        case http429 = "http_429"
        case nonIdempotent = "non_idempotent"
    }

    package var reasons: Set<Reason> = [.error, .timeout]
    /// 0 is as many as there are instances.
    package var tries = 0
    /// 0 is no limit; looked at when another try is due.
    package var timeout = 0

    package init() {}
}

/// `proxy_redirect`.
package enum Redirects: Sendable, Hashable {
    case off
    /// What `proxy_pass` says becomes the location's prefix.
    case standard
    case rules([Rule])

    package struct Rule: Sendable, Hashable {
        package enum Pattern: Sendable, Hashable {
            case standard
            case prefix(Template)
            case regex(RegexModel)
        }

        package var pattern: Pattern
        package var replacement: Template

        package init(pattern: Pattern, replacement: Template) {
            self.pattern = pattern
            self.replacement = replacement
        }
    }
}

package struct Replacement: Sendable, Hashable {
    package enum Pattern: Sendable, Hashable {
        case text(String)
        case regex(RegexModel)
    }

    package var pattern: Pattern
    package var replacement: Template

    package init(pattern: Pattern, replacement: Template) {
        self.pattern = pattern
        self.replacement = replacement
    }
}

package struct UpstreamTLS: Sendable, Hashable {
    package var verifies = false
    /// Whose certificate is expected; `nil` is the host of `proxy_pass`.
    package var name: String?
    package var sendsServerName = false
    package var authorities: String?
    package var certificate: String?
    package var key: String?

    package init() {}
}
