internal import ParleyCore

extension RESPConfiguration {
    /// From `redis://user:password@host:port/database`, or `rediss://…` for TLS; `valkey://` and `valkeys://` are the
    /// same. Each part may be left out: the host is 127.0.0.1, the port 6379, the database 0, and
    /// `redis://:password@host` has no user. User, password and host may be percent-encoded; an IPv6 address stands in
    /// brackets.
    ///
    /// `redis+sentinel://user:password@host1:port1,host2:port2/master/database` names sentinels and what they call the
    /// master; `rediss+sentinel://…` is with TLS, and the port is 26379 unless said. User and password are those of the
    /// servers. Sentinels that have a password of their own are named by
    /// ``Endpoint/sentinel(master:_:username:password:)``.
    ///
    /// - Throws: ``RESPError/Code/invalidURL``. The text is not repeated in it, because it may hold a password.
    public init(url: String) throws(RESPError) {
        guard let scheme = Scheme.all.first(where: { url.hasPrefix($0.prefix) }) else { throw Self.invalid }
        var rest = url.dropFirst(scheme.prefix.count)
        var path: [Substring] = []
        if let slash = rest.firstIndex(of: "/") {
            path = rest[rest.index(after: slash)...].split(separator: "/", omittingEmptySubsequences: false)
            rest = rest[..<slash]
        }
        var user: String?
        var password: String?
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let name = PercentEncoding.decode(parts[0]),
                let secret = PercentEncoding.decode(parts[1])
            else { throw Self.invalid }
            (user, password) = (name.isEmpty ? nil : name, secret)
            rest = rest[rest.index(after: at)...]
        }
        let endpoint: Endpoint
        if scheme.namesSentinels {
            guard !path.isEmpty, let master = PercentEncoding.decode(path.removeFirst()), !master.isEmpty else {
                throw Self.invalid
            }
            var sentinels: [Endpoint] = []
            for place in rest.split(separator: ",", omittingEmptySubsequences: false) {
                guard !place.isEmpty else { throw Self.invalid }
                sentinels.append(try Self.endpoint(place, port: 26_379))
            }
            endpoint = .sentinel(master: master, sentinels)
        } else {
            endpoint = try Self.endpoint(rest, port: 6_379)
        }
        guard path.count <= 1 else { throw Self.invalid }
        var database = 0
        if let text = path.first, !text.isEmpty {
            guard let number = Self.number(text) else { throw Self.invalid }
            database = Int(number)
        }
        self.init(
            endpoint: endpoint,
            username: user,
            password: password,
            database: database,
            tls: scheme.encrypts ? TLS() : nil
        )
    }

    private struct Scheme {
        var prefix: String
        var encrypts: Bool
        var namesSentinels: Bool

        static let all = ["redis", "valkey"].flatMap { product in
            [false, true].flatMap { encrypts in
                [false, true].map { namesSentinels in
                    let suffix = (encrypts ? "s" : "") + (namesSentinels ? "+sentinel" : "") + "://"
                    return Scheme(prefix: product + suffix, encrypts: encrypts, namesSentinels: namesSentinels)
                }
            }
        }
    }

    private static var invalid: RESPError {
        RESPError(
            .invalidURL,
            "not a Redis URL: write redis://user:password@host:port/database, or "
                + "redis+sentinel://user:password@host:port,host:port/master/database"
        )
    }

    /// `host`, `host:port`, `[IPv6]` or `[IPv6]:port`; an empty host is this machine.
    private static func endpoint(_ text: Substring, port standard: Int) throws(RESPError) -> Endpoint {
        var name = text
        var port = standard
        var isAddress = false
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else { throw Self.invalid }
            name = text[text.index(after: text.startIndex)..<end]
            let behind = text[text.index(after: end)...]
            guard !name.isEmpty, behind.isEmpty || behind.first == ":" else { throw Self.invalid }
            port = try Self.port(behind, else: standard)
            isAddress = true
        } else if let colon = text.firstIndex(of: ":") {
            name = text[..<colon]
            port = try Self.port(text[colon...], else: standard)
        }
        guard let host = PercentEncoding.decode(name), host.contains(":") == isAddress,
            !host.contains(where: { "?#@,/[]".contains($0) || $0.isWhitespace }),
            !host.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F })
        else { throw Self.invalid }
        return .host(host.isEmpty ? "127.0.0.1" : host, port: port)
    }

    /// `:6379`, or nothing.
    private static func port(_ text: Substring, else standard: Int) throws(RESPError) -> Int {
        guard !text.isEmpty else { return standard }
        guard let number = Self.number(text.dropFirst()), number > 0 else { throw Self.invalid }
        return Int(number)
    }

    /// Digits only: `UInt16` would take a sign.
    private static func number(_ text: Substring) -> UInt16? {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(text) : nil
    }
}
