package import ParleyCore

/// A request that was recorded, to be decided again without being sent.
package struct ReplayRequest: Sendable, Hashable {
    package var time: Timestamp?
    package var method: String
    /// Empty when the log does not say it: the default server answers.
    package var host: String
    /// Path and query as the client wrote them.
    package var target: String
    package var client: String
    package var isTLS: Bool
    package var userAgent: String?
    package var referer: String?

    package init(
        time: Timestamp? = nil,
        method: String,
        host: String = "",
        target: String,
        client: String,
        isTLS: Bool = false,
        userAgent: String? = nil,
        referer: String? = nil
    ) {
        self.time = time
        self.method = method
        self.host = host
        self.target = target
        self.client = client
        self.isTLS = isTLS
        self.userAgent = userAgent
        self.referer = referer
    }
}

/// What a configuration does with a request, as far as it can be said without sending it.
package struct ReplayOutcome: Sendable, Hashable {
    /// A limit that the request is counted in.
    package struct Limit: Sendable, Hashable {
        package var zone: String
        package var key: [UInt8]
        /// Thousandths of a request in a second.
        package var rate: Int
        package var burst: Int
        /// What a request above the limit is answered.
        package var status: Int

        package init(zone: String, key: [UInt8], rate: Int, burst: Int, status: Int) {
            self.zone = zone
            self.key = key
            self.rate = rate
            self.burst = burst
            self.status = status
        }
    }

    package var server: String
    package var route: String?
    /// Of what the gateway itself answers: `return`, `deny`, a redirect, nothing there. `nil` when it is sent on.
    package var status: Int?
    /// Of a redirect.
    package var location: String?
    package var upstream: String?
    /// Path and query as they are sent on.
    package var uri: String?
    package var limits: [Limit]

    package init(
        server: String,
        route: String? = nil,
        status: Int? = nil,
        location: String? = nil,
        upstream: String? = nil,
        uri: String? = nil,
        limits: [Limit] = []
    ) {
        self.server = server
        self.route = route
        self.status = status
        self.location = location
        self.upstream = upstream
        self.uri = uri
        self.limits = limits
    }
}
