internal import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Where the management API is, who asks, and within which limits.
public struct RabbitMQManagementConfiguration: Sendable {
    /// `http://host:port` with a path before `/api`, if there is one; without user and password.
    public let address: String
    public var user: String
    public var password: RabbitMQPassword
    /// For one request with its whole answer.
    public var requestTimeout: Duration = .seconds(15)
    /// For opening a connection.
    public var connectTimeout: Duration = .seconds(5)
    /// The longest answer that is read.
    public var maximumAnswerBytes = 64 << 20
    /// How many queues or exchanges are asked for at a time; the broker allows 500.
    public var pageSize = 500
    /// A listing that is longer fails.
    public var maximumItems = 100_000

    /// From `http://user:password@host:port` or `https://…`. Without a user it is `guest` with the password `guest`,
    /// without a port 15672 (15671 for https).
    ///
    /// - Throws: ``RabbitMQManagementError/Code/invalidAddress``. The text is not repeated in it, because it may hold a
    ///   password.
    public init(url: String) throws(RabbitMQManagementError) {
        guard let parts = URLComponents(string: url), let scheme = parts.scheme, ["http", "https"].contains(scheme),
            let host = parts.encodedHost, !host.isEmpty, parts.query == nil, parts.fragment == nil,
            parts.port.map({ (1...65_535).contains($0) }) ?? true
        else {
            throw RabbitMQManagementError(
                .invalidAddress,
                "the management API's address is not of the form http://user:password@host:15672; characters such as "
                    + "'@' and '/' in a password are written %40 and %2F"
            )
        }
        var path = parts.percentEncodedPath
        while path.hasSuffix("/") { path.removeLast() }
        if path.hasSuffix("/api") { path.removeLast(4) }
        self.address = "\(scheme)://\(host):\(parts.port ?? (scheme == "https" ? 15_671 : 15_672))\(path)"
        self.user = parts.user ?? "guest"
        self.password = RabbitMQPassword(parts.password ?? (parts.user == nil ? "guest" : ""))
    }
}
