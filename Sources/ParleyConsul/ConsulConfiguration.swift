public import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A token of Consul's access control that no description, dump or log shows.
public struct ConsulToken: Sendable, Hashable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable
{
    let text: String

    public init(_ text: String) {
        self.text = text
    }

    public var description: String { "(hidden)" }
    public var debugDescription: String { "(hidden)" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Where Consul's agent (or a Parley registry) is, who asks, and within which limits.
public struct ConsulConfiguration: Sendable {
    /// How the connection is encrypted. Files are in PEM.
    public struct TLS: Sendable, Hashable {
        /// The authorities to trust instead of the system's.
        public var authoritiesFile: String?
        /// The client's own certificate, with ``keyFile``.
        public var certificateFile: String?
        public var keyFile: String?
        /// The name that the agent's certificate must have, when it is not the host that is connected to.
        public var serverName: String?
        /// Off, anybody may pretend to be the agent, and reads the token.
        public var verifiesAgent = true

        public init() {}
    }

    /// The agent; `127.0.0.1:8500` is Consul's own choice.
    public var endpoint: Endpoint
    /// `nil` for no encryption.
    public var tls: TLS?
    public var token: ConsulToken?
    /// Where questions go that name no datacenter; `nil` for the agent's own.
    public var datacenter: String?
    /// For opening a connection, and for waiting until one is free.
    public var connectTimeout: Duration = .seconds(3)
    /// For one request with its whole answer; questions that wait for a change have this much more than their wait.
    public var requestTimeout: Duration = .seconds(10)
    /// The longest answer that is read: some 30,000 instances.
    public var maximumAnswerBytes = 64 << 20
    /// How many questions wait at the agent at the same time; further ones take turns.
    ///
    /// Consul closes connections beyond 200 from one address (`limits.http_max_conns_per_client`), counting all
    /// processes of a machine.
    public var maximumWaitingQuestions = 128
    /// How many other requests are under way at the same time.
    public var maximumRequests = 32

    public init(endpoint: Endpoint = Endpoint(host: "127.0.0.1", port: 8_500)) {
        self.endpoint = endpoint
    }

    /// From `consul://[token@]host[:port][?dc=NAME&tls=true]`. Without a port it is 8500, with TLS 8501.
    ///
    /// - Throws: ``ConsulError/Code/invalidConfiguration``. The text is not repeated in it, as it may hold a token.
    public init(url: String) throws(ConsulError) {
        guard let parts = URLComponents(string: url), parts.scheme == "consul", let host = parts.host, !host.isEmpty,
            parts.password == nil, parts.path.isEmpty || parts.path == "/", parts.fragment == nil,
            parts.port.map({ (1...65_535).contains($0) }) ?? true
        else {
            throw ConsulError(
                .invalidConfiguration,
                "Consul's address is not of the form consul://token@host:8500?dc=NAME&tls=true, where token, port, dc "
                    + "and tls may be left out; '@' and '/' in a token are written %40 and %2F"
            )
        }
        self.init()
        var seen: Set<String> = []
        for item in parts.queryItems ?? [] {
            let value = item.value ?? ""
            switch item.name {
            case "dc" where seen.insert("dc").inserted && !value.isEmpty: self.datacenter = value
            case "tls" where seen.insert("tls").inserted && value == "true": self.tls = TLS()
            case "tls" where value == "false": break
            default:
                throw ConsulError(
                    .invalidConfiguration,
                    "Consul's address has '\(item.name)' twice or not as it should be: after '?' come dc=NAME and "
                        + "tls=true or tls=false, each once"
                )
            }
        }
        self.token = parts.user.flatMap { $0.isEmpty ? nil : ConsulToken($0) }
        self.endpoint = Endpoint(host: Self.plain(host), port: parts.port ?? (self.tls == nil ? 8_500 : 8_501))
    }

    /// From the variables that Consul's own tools read: `CONSUL_HTTP_ADDR`, `CONSUL_HTTP_TOKEN`,
    /// `CONSUL_HTTP_TOKEN_FILE`, `CONSUL_HTTP_SSL`, `CONSUL_HTTP_SSL_VERIFY`, `CONSUL_CACERT`, `CONSUL_CLIENT_CERT`,
    /// `CONSUL_CLIENT_KEY`, `CONSUL_TLS_SERVER_NAME`. What is missing or empty is as without.
    ///
    /// - Parameter environment: `ProcessInfo.processInfo.environment`, usually.
    /// - Throws: ``ConsulError/Code/invalidConfiguration``.
    public init(environment: [String: String]) throws(ConsulError) {
        func variable(_ name: String) -> String? { environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        self.init()
        var usesTLS = try Self.flag("CONSUL_HTTP_SSL", variable("CONSUL_HTTP_SSL")) ?? false
        if var address = variable("CONSUL_HTTP_ADDR") {
            if address.hasPrefix("https://") { usesTLS = true }
            for scheme in ["http://", "https://"] where address.hasPrefix(scheme) {
                address.removeFirst(scheme.count)
            }
            while address.hasSuffix("/") { address.removeLast() }
            let withPort = Endpoint(address) ?? Endpoint(address + (usesTLS ? ":8501" : ":8500"))
            guard let endpoint = withPort, endpoint.port > 0, !endpoint.host.contains("/") else {
                throw ConsulError(
                    .invalidConfiguration,
                    "CONSUL_HTTP_ADDR is not of the form host:port, http://host:port or https://host:port; unix "
                        + "sockets are not supported"
                )
            }
            self.endpoint = endpoint
        } else if usesTLS {
            self.endpoint.port = 8_501
        }
        if usesTLS {
            var tls = TLS()
            tls.authoritiesFile = variable("CONSUL_CACERT")
            tls.certificateFile = variable("CONSUL_CLIENT_CERT")
            tls.keyFile = variable("CONSUL_CLIENT_KEY")
            tls.serverName = variable("CONSUL_TLS_SERVER_NAME")
            tls.verifiesAgent = try Self.flag("CONSUL_HTTP_SSL_VERIFY", variable("CONSUL_HTTP_SSL_VERIFY")) ?? true
            self.tls = tls
        }
        if let token = variable("CONSUL_HTTP_TOKEN") {
            self.token = ConsulToken(token)
        } else if let path = variable("CONSUL_HTTP_TOKEN_FILE") {
            self.token = try Self.token(fromFile: path)
        }
    }

    private static func token(fromFile path: String) throws(ConsulError) -> ConsulToken {
        do {
            let data = try Data(contentsOf: URL(fileURLWithPath: path))
            let text = String(decoding: data.prefix(4_096), as: UTF8.self).split(whereSeparator: \.isWhitespace).first
            return ConsulToken(String(text ?? ""))
        } catch {
            throw ConsulError(
                .invalidConfiguration,
                "\(path), which CONSUL_HTTP_TOKEN_FILE names, cannot be read: check path and permissions",
                cause: error
            )
        }
    }

    /// As Go reads a truth value.
    private static func flag(_ name: String, _ text: String?) throws(ConsulError) -> Bool? {
        switch text {
        case nil: nil
        case "1", "t", "T", "true", "TRUE", "True": true
        case "0", "f", "F", "false", "FALSE", "False": false
        default: throw ConsulError(.invalidConfiguration, "\(name) is neither true nor false")
        }
    }

    /// An IPv6 address comes in brackets.
    private static func plain(_ host: String) -> String {
        host.hasPrefix("[") && host.hasSuffix("]") ? String(host.dropFirst().dropLast()) : host
    }

    /// `http://host:port`
    var address: String { (self.tls == nil ? "http://" : "https://") + self.endpoint.description }
}
