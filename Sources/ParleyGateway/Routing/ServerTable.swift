package import NIOCore

/// The host of a request, checked by nginx's rules and without its port: the first bytes of what the client wrote.
package struct RequestHost: Sendable, Hashable {
    package struct Invalid: Error, Sendable, Hashable, CustomStringConvertible {
        package init() {}

        package var description: String {
            "The request's host is not valid: it is empty, or has two dots in a row, a slash, a space or a control "
                + "character in it. The client must send a name or an address, and a port if it is not the usual one."
        }
    }

    /// How many bytes of the authority are the host.
    package var count: Int
    package var hasUppercase: Bool

    /// - Parameter authority: Host and port; of a request that has none there is nothing to check.
    package init(_ authority: Span<UInt8>) throws(Invalid) {
        var count = authority.count
        var lastDot: Int?
        var hasUppercase = false
        // Whether the host's end is still to be found, and if so whether by the bracket of an IPv6 address.
        var isLiteral = false
        var isOpen = true
        for index in 0..<authority.count {
            let byte = authority[index]
            switch byte {
            case 0x2E:
                if lastDot == index - 1 { throw Invalid() }
                lastDot = index
            case 0x3A:
                if isOpen, !isLiteral {
                    count = index
                    isOpen = false
                }
            case 0x5B: if index == 0 { isLiteral = true }
            case 0x5D:
                if isOpen, isLiteral {
                    count = index + 1
                    isOpen = false
                }
            case 0x2F, ...0x20, 0x7F: throw Invalid()
            case 0x41...0x5A: hasUppercase = true
            default: break
            }
        }
        if let lastDot, lastDot == count - 1 { count -= 1 }
        guard count > 0 else { throw Invalid() }
        self.count = count
        self.hasUppercase = hasUppercase
    }

    /// The host in lower case; shares the storage when it is written so.
    /// - Parameter authority: What this was made of.
    package func text(of authority: ByteBuffer) -> ByteBuffer {
        guard let host = authority.getSlice(at: authority.readerIndex, length: self.count) else { return ByteBuffer() }
        guard self.hasUppercase else { return host }
        return ByteBuffer(bytes: host.readableBytesView.map(\.lowercased))
    }
}

/// The servers that listen on one socket, by their names. A class: it is held while it is looked into, not copied.
package final class ServerTable: Sendable {
    private let exact: ByteTable
    private let wildcards: HostWildcards
    private let regexes: [(regex: CompiledRegex, index: Int)]
    /// The server of hosts that no name fits.
    package let fallback: Int

    /// - Parameter servers: In the order of the file; where two have the same name, the first keeps it.
    package init(_ servers: [(index: Int, names: [ServerName])], fallback: Int) throws(RegexProblem) {
        var exact: [(key: [UInt8], value: Int)] = []
        var suffixes: [(key: [UInt8], value: Int)] = []
        var prefixes: [(key: [UInt8], value: Int)] = []
        var regexes: [(regex: CompiledRegex, index: Int)] = []
        for (index, names) in servers {
            for name in names {
                switch name {
                case .exact(let name): exact.append((Array(name.utf8), index))
                case .suffix(let suffix): suffixes.append((Array(suffix.utf8), index))
                case .nameAndSuffix(let suffix):
                    exact.append((Array(suffix.utf8.dropFirst()), index))
                    suffixes.append((Array(suffix.utf8), index))
                case .prefix(let prefix): prefixes.append((Array(prefix.utf8), index))
                case .regex(var regex):
                    // Names have no case; the host comes in lower case, whatever the expression is written in.
                    regex.ignoresCase = true
                    regexes.append((try CompiledRegex(regex), index))
                }
            }
        }
        self.regexes = regexes
        self.exact = ByteTable(exact)
        self.wildcards = HostWildcards(suffixes: suffixes, prefixes: prefixes)
        self.fallback = fallback
    }

    /// - Parameters:
    ///   - host: In lower case, without a port (``RequestHost``); empty for a request that has none.
    ///   - variables: Takes the groups of a regular expression that matched.
    package func find(_ host: ByteBuffer, scratch: RegexScratch, variables: inout RequestVariables) -> Int {
        let bytes = host.readableBytesUInt8Span
        if let index = self.exact.find(bytes) { return index }
        guard bytes.count > 0 else { return self.fallback }
        if let index = self.wildcards.find(bytes) { return index }
        for (regex, index) in self.regexes where regex.matches(host, scratch: scratch, variables: &variables) {
            return index
        }
        return self.fallback
    }
}
