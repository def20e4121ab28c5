/// Which path is answered by what. Paths that end with a slash take everything that begins with them.
struct RouteTable: Sendable {
    typealias Handler = @Sendable (RegistryAPI.Call) async throws -> APIAnswer

    struct Route: Sendable {
        /// By method.
        var handlers: [String: Handler] = [:]
        /// A registry with a token asks for it.
        var needsToken = true
        /// The largest body that is read, in bytes.
        var maximumBodyBytes: Int

        /// As Consul's `Allow`.
        var allow: String { (["OPTIONS"] + self.handlers.keys.sorted()).joined(separator: ",") }
    }

    private var exact: [String: Route] = [:]
    /// The longest first.
    private var prefixes: [(path: String, route: Route)] = []

    mutating func add(
        _ path: String,
        _ handlers: [String: Handler],
        needsToken: Bool = true,
        maximumBodyBytes: Int
    ) {
        let route = Route(handlers: handlers, needsToken: needsToken, maximumBodyBytes: maximumBodyBytes)
        guard path.hasSuffix("/") else {
            self.exact[path] = route
            return
        }
        self.prefixes.append((path, route))
        self.prefixes.sort { ($0.path.utf8.count, $0.path) > ($1.path.utf8.count, $1.path) }
    }

    /// The route, and what follows it in the path.
    func find(_ path: String) -> (route: Route, rest: String)? {
        if let route = self.exact[path] { return (route, "") }
        for (prefix, route) in self.prefixes where path.utf8.starts(with: prefix.utf8) {
            return (route, String(Substring(path.utf8.dropFirst(prefix.utf8.count))))
        }
        return nil
    }
}
