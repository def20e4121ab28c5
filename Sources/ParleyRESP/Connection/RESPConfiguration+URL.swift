internal import ParleyCore

extension RESPConfiguration {
    /// From `redis://user:password@host:port/database`, or `rediss://…` for TLS; `valkey://` and `valkeys://` are the
    /// same. Each part may be left out: the port is 6379, the database 0, and `redis://:password@host` has no user.
    ///
    /// - Throws: ``RESPError/Code/invalidURL``. The text is not repeated in it, because it may hold a password.
    public init(url: String) throws(RESPError) {
        let invalid = RESPError(.invalidURL, "not a Redis URL: write redis://user:password@host:port/database")
        let schemes = ["redis://": false, "valkey://": false, "rediss://": true, "valkeys://": true]
        guard let scheme = schemes.first(where: { url.hasPrefix($0.key) }) else { throw invalid }
        var rest = url.dropFirst(scheme.key.count)
        var database = 0
        if let slash = rest.firstIndex(of: "/") {
            let text = rest[rest.index(after: slash)...]
            guard text.isEmpty || UInt16(text) != nil else { throw invalid }
            database = Int(text) ?? 0
            rest = rest[..<slash]
        }
        var user: String?
        var password: String?
        if let at = rest.lastIndex(of: "@") {
            let parts = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
            guard parts.count == 2, let name = PercentEncoding.decode(parts[0]),
                let secret = PercentEncoding.decode(parts[1])
            else { throw invalid }
            (user, password) = (name.isEmpty ? nil : name, secret)
            rest = rest[rest.index(after: at)...]
        }
        var port = 6_379
        let afterBracket = rest.lastIndex(of: "]") ?? rest.startIndex
        if let colon = rest[afterBracket...].lastIndex(of: ":") {
            guard let number = UInt16(rest[rest.index(after: colon)...]), number > 0 else { throw invalid }
            port = Int(number)
            rest = rest[..<colon]
        }
        if rest.hasPrefix("["), rest.hasSuffix("]") { rest = rest.dropFirst().dropLast() }
        guard !rest.contains(where: { "?#@ ".contains($0) }) else { throw invalid }
        self.init(
            endpoint: .host(rest.isEmpty ? "127.0.0.1" : String(rest), port: port),
            username: user,
            password: password,
            database: database,
            tls: scheme.value ? TLS() : nil
        )
    }
}
