/// What happens to the requests of one part of a server.
package struct LocationModel: Sendable, Hashable {
    package enum Match: Sendable, Hashable {
        /// `= /path`
        case exact(String)
        /// `/path`, and with `isFinal` (`^~`) no regular expression is tried after it.
        case prefix(String, isFinal: Bool)
        /// By whole segments, as our own routes are: `/a` is `/a` and `/a/b`, not `/ab`.
        case segments(String)
        case regex(RegexModel)
        /// `@name`: only for internal redirects.
        case named(String)
    }

    package var match: Match
    /// All must hold, else the location is passed over. Not in nginx's language.
    package var conditions: [RouteCondition] = []
    package var isInternal = false
    package var rewrites: [RewriteStep] = []
    package var settings = LocationSettings()
    package var action = Action.notFound
    /// Locations within this one.
    package var locations: [LocationModel] = []
    /// For metrics and logs; by default what was written: `= /path`.
    package var name: String

    package enum Action: Sendable, Hashable {
        /// Nothing is there: 404.
        case notFound
        case proxy(ProxyTarget)
        case stubStatus
        /// Our own `/health`: all services behind, with detail.
        case health
    }

    package init(match: Match, name: String? = nil) {
        self.match = match
        self.name = name ?? match.text
    }
}

extension LocationModel.Match {
    /// As nginx writes it.
    package var text: String {
        switch self {
        case .exact(let path): "= \(path)"
        case .prefix(let path, let isFinal): isFinal ? "^~ \(path)" : path
        case .segments(let path): path
        case .regex(let regex): "\(regex.ignoresCase ? "~*" : "~") \(regex.pattern)"
        case .named(let name): "@\(name)"
        }
    }
}

/// A condition of a route beyond its path.
package enum RouteCondition: Sendable, Hashable {
    case methods([String])
    /// The value as a whole; without a value the field only has to be there.
    case header(name: String, value: String?)
    case headerRegex(name: String, regex: RegexModel)
}

/// Where `proxy_pass` and `grpc_pass` go.
package struct ProxyTarget: Sendable, Hashable {
    package enum Scheme: String, Sendable, Hashable {
        case http, https, grpc, grpcs

        var isGRPC: Bool { self == .grpc || self == .grpcs }
    }
    package enum Destination: Sendable, Hashable {
        /// An ``UpstreamModel``, by its name.
        case upstream(String)
        /// What the template gives: an upstream's name, or `host:port`, found anew for each request.
        case template(Template)
    }

    package var scheme: Scheme
    package var destination: Destination
    /// What `$proxy_host` is: as it was written, `backend` or `10.0.0.1:8080`.
    package var host: String
    /// The part behind host and port, when there is one, even `/`: it takes the place of the matched prefix.
    package var uri: Template?

    /// Whether there is a variable in it: then its path is what is sent, and nothing is replaced.
    package var isVariable: Bool {
        if case .template = self.destination { return true }
        return self.uri.map { $0.constant == nil } ?? false
    }

    package init(scheme: Scheme, destination: Destination, host: String, uri: Template? = nil) {
        self.scheme = scheme
        self.destination = destination
        self.host = host
        self.uri = uri
    }
}

/// A step of nginx's rewrite module.
package enum RewriteStep: Sendable, Hashable {
    package enum Flag: String, Sendable, Hashable {
        case none = ""
        case last, `break`, redirect, permanent
    }

    case set(variable: String, value: Template)
    case rewrite(RegexModel, replacement: Template, flag: Flag)
    case respond(FixedResponse)
    case stop
    indirect case when(RewriteCondition, [RewriteStep])
}

package enum RewriteCondition: Sendable, Hashable {
    /// Neither empty nor `0`.
    case isTrue(Template)
    case equals(Template, Template)
    case differs(Template, Template)
    case matches(Template, RegexModel)
    case matchesNot(Template, RegexModel)
}

/// `return`.
package struct FixedResponse: Sendable, Hashable {
    /// 444 closes the connection without an answer.
    package var status: Int
    /// The text, or for 301, 302, 303, 307 and 308 the location; `nil` gives nginx's page for the status.
    package var text: Template?

    package init(status: Int, text: Template? = nil) {
        self.status = status
        self.text = text
    }
}
