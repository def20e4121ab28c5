extension RESPConfiguration {
    /// A place to connect to, or the sentinels that know it.
    public struct Endpoint: Sendable, Hashable, CustomStringConvertible, CustomReflectable {
        package enum Kind: Hashable {
            case tcp(host: String, port: Int)
            case unix(path: String)
            case sentinel(Sentinels)
        }

        package struct Sentinels: Hashable {
            package var master: String
            package var endpoints: [Endpoint]
            package var username: String?
            package var password: String?
        }

        package let kind: Kind

        public static func host(_ name: String, port: Int = 6379) -> Endpoint {
            Endpoint(kind: .tcp(host: name, port: port))
        }

        public static func unixSocket(_ path: String) -> Endpoint { Endpoint(kind: .unix(path: path)) }

        /// The server that sentinels call the master of `master`.
        ///
        /// Every try to connect asks the sentinels in turn, the one that was right last time first, and takes the
        /// server that they name only when it says itself, by `ROLE`, that it is a master. A lost connection, a
        /// `READONLY` and a master that became a replica lead to a new question, so ``RESPClient`` follows a fail-over
        /// by itself. It also asks every ``RESPConfiguration/sentinelInterval``; when there is another master, it gives
        /// up its connections to the old one.
        ///
        /// What this cannot see: a master that is cut off together with us and still says that it is one. Writes to it
        /// are lost when it comes back; `min-replicas-to-write` on the servers bounds that. Sentinels that are not in
        /// the list are not looked for.
        ///
        /// - Parameters:
        ///   - sentinels: where they are; each of kind ``host(_:port:)`` or ``unixSocket(_:)``. With
        ///     ``RESPConfiguration/tls`` they are spoken to with TLS like the servers. They share one
        ///     ``RESPConfiguration/connectTimeout`` in equal parts; the server that they name has its own.
        ///   - username: an ACL user of the sentinels; not used without a password.
        ///   - password: the sentinels' own. That of the servers is ``RESPConfiguration/password``.
        public static func sentinel(
            master: String,
            _ sentinels: [Endpoint],
            username: String? = nil,
            password: String? = nil
        ) -> Endpoint {
            let group = Sentinels(master: master, endpoints: sentinels, username: username, password: password)
            return Endpoint(kind: .sentinel(group))
        }

        /// Never holds a password.
        public var description: String {
            switch self.kind {
            case .tcp(let host, let port): host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
            case .unix(let path): path
            case .sentinel(let group):
                "master \(group.master) of sentinels " + group.endpoints.map(\.description).joined(separator: ", ")
            }
        }

        /// For debuggers and `dump`: the description.
        public var customMirror: Mirror { Mirror(self, children: ["description": self.description]) }
    }
}
