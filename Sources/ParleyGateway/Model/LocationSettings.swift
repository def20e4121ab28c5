/// What holds for the requests of a location: limits, access, headers, timeouts. The defaults are nginx's.
package struct LocationSettings: Sendable, Hashable {
    package var access: [AccessRule] = []
    /// `satisfy any`: an address that is allowed, or credentials that are right; else both.
    package var satisfiesAny = false
    package var basicAuth: BasicAuth?
    package var apiKeys: APIKeys?
    package var jwt: JWTRules?
    package var cors: CORSRules?
    package var idempotency: IdempotencyRules?

    package var requestLimits: [RequestLimitUse] = []
    package var requestLimitStatus = 503
    package var isRequestLimitDry = false
    package var connectionLimits: [ConnectionLimitUse] = []
    package var connectionLimitStatus = 503
    package var isConnectionLimitDry = false

    /// 0 is no limit.
    package var maxBodySize: Int64 = 1_048_576
    package var bodyBufferSize = 16_384
    package var bodyTimeout = 60_000
    package var sendTimeout = 60_000
    package var keepaliveTimeout = 75_000
    package var keepaliveRequests = 1_000
    package var keepaliveTime = 3_600_000

    package var addedFields: [AddedField] = []
    package var defaultType = "text/plain"
    /// `types`: the media type of a text that `return` gives, by what is behind the last dot of the path, in lower
    /// case.
    package var types = ["html": "text/html", "gif": "image/gif", "jpg": "image/jpeg"]
    package var errorPages: [ErrorPage] = []
    package var isLogged = true
    /// Where requests are logged; empty is the gateway's own log, in JSON.
    package var accessLogs: [AccessLogUse] = []
    package var compression: Compression?
    package var showsVersion = true
    package var isAbsoluteRedirect = true
    package var isPortInRedirect = true
    package var isServerNameInRedirect = false
    package var realIP: RealIP?
    package var proxy = ProxySettings()

    package init() {}
}

package struct AccessRule: Sendable, Hashable {
    package var isAllowed: Bool
    /// `nil` is everybody.
    package var block: CIDR?

    package init(isAllowed: Bool, block: CIDR?) {
        self.isAllowed = isAllowed
        self.block = block
    }
}

package struct BasicAuth: Sendable, Hashable {
    package var realm: Template
    /// A file of `user:hash` lines (crypt's schemes, `{SHA}`, `{SSHA}`, `$apr1$`, `{PLAIN}`).
    package var userFile: String

    package init(realm: Template, userFile: String) {
        self.realm = realm
        self.userFile = userFile
    }
}

package struct APIKeys: Sendable, Hashable {
    /// The header field that carries the key.
    package var field: String
    /// A file of `name:SHA-256 of the key in hexadecimal` lines.
    package var keyFile: String

    package init(field: String, keyFile: String) {
        self.field = field
        self.keyFile = keyFile
    }
}

package struct JWTRules: Sendable, Hashable {
    package enum Keys: Sendable, Hashable {
        /// A JWKS in a file.
        case file(String)
        /// A JWKS behind an address, fetched anew when a key is not known and after `refreshMilliseconds`.
        case url(String, refreshMilliseconds: Int)
    }

    package var keys: Keys
    package var issuer: String?
    package var audiences: [String]
    /// How far clocks may differ.
    package var leeway = 30_000
    /// Claims that are passed on as header fields: claim to field.
    package var forwardedClaims: [String: String] = [:]

    package init(keys: Keys, issuer: String? = nil, audiences: [String] = []) {
        self.keys = keys
        self.issuer = issuer
        self.audiences = audiences
    }
}

package struct CORSRules: Sendable, Hashable {
    /// Exact origins, or `*`.
    package var origins: [String]
    package var methods: [String]
    package var headers: [String]
    package var exposedHeaders: [String] = []
    package var allowsCredentials = false
    package var maxAgeSeconds: Int?

    package init(origins: [String], methods: [String] = ["GET", "HEAD", "POST"], headers: [String] = []) {
        self.origins = origins
        self.methods = methods
        self.headers = headers
    }
}

package struct IdempotencyRules: Sendable, Hashable {
    package var isRequired = false
    package var keepMilliseconds = 86_400_000
    package var maxStoredBytes = 67_108_864

    package init() {}
}

package struct RequestZoneModel: Sendable, Hashable {
    package var name: String
    package var key: Template
    package var bytes: Int
    /// Thousandths of a request in a second, as nginx counts: 200r/m is 3,333.
    package var rate: Int
    package var shared: SharedCounter?

    package init(name: String, key: Template, bytes: Int, rate: Int) {
        self.name = name
        self.key = key
        self.bytes = bytes
        self.rate = rate
    }
}

/// A limit whose counters several gateways share, on a server of Redis.
package struct SharedCounter: Sendable, Hashable {
    package enum OnFailure: String, Sendable, Hashable {
        /// The own counter decides while the server is away.
        case local
        case open
        case closed
    }

    package var url: String
    package var onFailure: OnFailure
    package var timeoutMilliseconds = 50

    package init(url: String, onFailure: OnFailure) {
        self.url = url
        self.onFailure = onFailure
    }
}

package struct RequestLimitUse: Sendable, Hashable {
    package enum Delay: Sendable, Hashable {
        case all
        /// Only what is above this many requests waits.
        case above(Int)
        case none
    }

    package var zone: String
    package var burst: Int
    package var delay: Delay

    package init(zone: String, burst: Int = 0, delay: Delay = .all) {
        self.zone = zone
        self.burst = burst
        self.delay = delay
    }
}

package struct ConnectionZoneModel: Sendable, Hashable {
    package var name: String
    package var key: Template
    package var bytes: Int

    package init(name: String, key: Template, bytes: Int) {
        self.name = name
        self.key = key
        self.bytes = bytes
    }
}

package struct ConnectionLimitUse: Sendable, Hashable {
    package var zone: String
    package var limit: Int

    package init(zone: String, limit: Int) {
        self.zone = zone
        self.limit = limit
    }
}

package struct AddedField: Sendable, Hashable {
    package var name: String
    package var value: Template
    /// On every status; else only on 200, 201, 204, 206, 301, 302, 303, 304, 307 and 308.
    package var isAlways: Bool

    package init(name: String, value: Template, isAlways: Bool = false) {
        self.name = name
        self.value = value
        self.isAlways = isAlways
    }
}

package struct ErrorPage: Sendable, Hashable {
    package enum Status: Sendable, Hashable {
        case unchanged
        case replaced(Int)
        /// `=`: what the answer to the redirect says.
        case answered
    }

    package var statuses: [Int]
    package var status: Status
    /// A path within the server, `@name`, or an address for a redirect.
    package var target: Template

    package init(statuses: [Int], status: Status = .unchanged, target: Template) {
        self.statuses = statuses
        self.status = status
        self.target = target
    }
}

package struct AccessLogUse: Sendable, Hashable {
    /// A path; `/dev/stdout` and `/dev/stderr` are those.
    package var path: String
    /// A ``LogFormatModel``; `combined` is always there; `nil` is JSON.
    package var format: String?
    package var condition: Template?

    package init(path: String, format: String? = nil, condition: Template? = nil) {
        self.path = path
        self.format = format
        self.condition = condition
    }
}

package struct Compression: Sendable, Hashable {
    package var types: [String] = ["text/html"]
    package var minLength = 20
    package var level = 1
    package var minVersionIs11 = true
    package var addsVary = false
    /// Answers to requests that came through another proxy (`Via`): `nil` is off.
    package var compressesProxied = false

    package init() {}
}

package struct RealIP: Sendable, Hashable {
    package enum Source: Sendable, Hashable {
        case field(String)
        case proxyProtocol
    }

    package var trusted: [CIDR]
    package var source: Source
    package var isRecursive: Bool

    package init(trusted: [CIDR], source: Source, isRecursive: Bool = false) {
        self.trusted = trusted
        self.source = source
        self.isRecursive = isRecursive
    }
}
