/// What a gateway does, as data: the one model that both front ends (nginx's language and `parley.yaml`) are read into,
/// that `convert` writes, and that the data plane is compiled from.
///
/// Everything is already inherited: a location holds the settings that are in force there, wherever they were written.
/// Times are milliseconds and sizes bytes, as in nginx's own tables. Two models that are equal behave equally.
package struct GatewayModel: Sendable, Hashable {
    package var servers: [ServerModel] = []
    package var upstreams: [UpstreamModel] = []
    package var requestZones: [RequestZoneModel] = []
    package var connectionZones: [ConnectionZoneModel] = []
    package var maps: [MapModel] = []
    package var logFormats: [LogFormatModel] = []
    /// How many event loops carry connections; `nil` is one for each core.
    package var workers: Int?
    /// The most connections at once, clients' and upstreams' together; a client above it is closed at once.
    package var maxConnections = 65_536
    package var errorFormat = ErrorFormat.html
    /// As whom it calls services of our own.
    package var name = "gateway"
    /// How names in `server` and in variables are resolved anew; `nil` uses the system's resolver at the start.
    package var resolver: ResolverModel?

    package init() {}
}

/// In which form the gateway says what went wrong.
package enum ErrorFormat: String, Sendable, Hashable {
    /// nginx's pages.
    case html
    /// RFC 9457, with the request id and a code that a program can read.
    case problem
}

package struct ResolverModel: Sendable, Hashable {
    /// `address` or `address:port` of DNS servers.
    package var servers: [String]
    /// How long an answer is good; `nil` is what the answer says.
    package var validMilliseconds: Int?

    package init(servers: [String], validMilliseconds: Int? = nil) {
        self.servers = servers
        self.validMilliseconds = validMilliseconds
    }
}

/// `map $source $variable { … }`.
package struct MapModel: Sendable, Hashable {
    package enum Key: Sendable, Hashable {
        /// Compared without regard to case.
        case exact(String)
        /// `*.example.com`, `example.*`; only with ``MapModel/matchesHosts``.
        case wildcard(String)
        case regex(RegexModel)
    }

    package struct Entry: Sendable, Hashable {
        package var key: Key
        package var value: Template

        package init(key: Key, value: Template) {
            self.key = key
            self.value = value
        }
    }

    package var source: Template
    package var variable: String
    package var entries: [Entry]
    package var fallback: Template
    package var matchesHosts: Bool

    package init(source: Template, variable: String, entries: [Entry], fallback: Template, matchesHosts: Bool = false) {
        self.source = source
        self.variable = variable
        self.entries = entries
        self.fallback = fallback
        self.matchesHosts = matchesHosts
    }
}

package struct LogFormatModel: Sendable, Hashable {
    package enum Escape: String, Sendable, Hashable {
        case standard = "default"
        case json, none
    }

    package var name: String
    package var escape: Escape
    package var line: Template

    package init(name: String, escape: Escape, line: Template) {
        self.name = name
        self.escape = escape
        self.line = line
    }
}

/// A regular expression as it was written, in the syntax of PCRE.
package struct RegexModel: Sendable, Hashable {
    package var pattern: String
    package var ignoresCase: Bool

    package init(pattern: String, ignoresCase: Bool = false) {
        self.pattern = pattern
        self.ignoresCase = ignoresCase
    }
}
