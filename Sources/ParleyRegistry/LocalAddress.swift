internal import NIOCore

/// Under which address other machines reach this one.
package enum LocalAddress {
    /// Whether it is what one listens on to be reached at every address, and so is none to be reached at.
    package static func isWildcard(_ address: String) -> Bool {
        guard let parsed = try? SocketAddress(ipAddress: address, port: 0) else { return false }
        return parsed.ipAddress == "0.0.0.0" || parsed.ipAddress == "::"
    }

    /// The first address of an interface that is neither the loopback nor good on one link only; IPv4 before IPv6.
    ///
    /// - Parameter allowsIPv6: Who listens on IPv4 only is not reached by IPv6.
    /// - Returns: `nil` when there is none, or the operating system does not tell.
    package static func reachable(allowsIPv6: Bool) -> String? {
        let devices = (try? System.enumerateDevices()) ?? []
        let addresses = devices.compactMap(\.address)
        let four = addresses.lazy.filter { $0.protocol == .inet }.compactMap(\.ipAddress)
            .first { !$0.hasPrefix("127.") && !$0.hasPrefix("169.254.") && $0 != "0.0.0.0" }
        guard four == nil, allowsIPv6 else { return four }
        return addresses.lazy.filter { $0.protocol == .inet6 }.compactMap(\.ipAddress)
            .first { $0 != "::1" && $0 != "::" && !$0.lowercased().hasPrefix("fe80") }
    }
}
