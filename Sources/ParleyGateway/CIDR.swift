/// A block of IP addresses: `10.0.0.0/8`, `fd00::/8`, or one address.
///
/// An IPv4-mapped IPv6 address (`::ffff:10.1.2.3`) is the IPv4 address that it maps: a listener on `::` sees IPv4
/// clients that way.
public struct CIDR: Sendable, Hashable, CustomStringConvertible {
    let address: IPAddress
    /// Of the address's 32 or 128 bits, how many are the block's.
    let prefixLength: Int

    /// Every address of the machine itself, both families.
    public static let loopback: [CIDR] = [
        CIDR(address: IPAddress(bytes: [127, 0, 0, 0]), prefixLength: 8),
        CIDR(address: IPAddress(bytes: Array(repeating: 0, count: 15) + [1]), prefixLength: 128),
    ]

    private init(address: IPAddress, prefixLength: Int) {
        self.address = address
        self.prefixLength = prefixLength
    }

    /// `nil` when `text` is not a block. Bits behind the prefix are ignored: `10.1.2.3/8` is `10.0.0.0/8`.
    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let address = IPAddress(String(first)) else { return nil }
        let bits = address.bytes.count * 8
        var length = bits
        if parts.count == 2 {
            let digits = parts[1].utf8
            guard (1...3).contains(digits.count), digits.allSatisfy({ (48...57).contains($0) }),
                var number = Int(parts[1])
            else { return nil }
            // A mapped block counts its prefix in the 128 bits in which it was written.
            if address.wasMapped { number -= 96 }
            guard (0...bits).contains(number) else { return nil }
            length = number
        }
        self.init(address: address, prefixLength: length)
    }

    /// Whether the address is in the block; `false` for a text that is not an address.
    public func contains(_ text: String) -> Bool {
        IPAddress(text).map { self.contains($0) } ?? false
    }

    func contains(_ other: IPAddress) -> Bool {
        guard self.address.bytes.count == other.bytes.count else { return false }
        var left = self.prefixLength
        for (own, others) in zip(self.address.bytes, other.bytes) where left > 0 {
            let mask = left >= 8 ? 0xFF : ~(UInt8(0xFF) >> UInt8(left))
            guard own & mask == others & mask else { return false }
            left -= 8
        }
        return true
    }

    public var description: String {
        let bytes = self.address.bytes
        if bytes.count == 4 { return bytes.map { "\($0)" }.joined(separator: ".") + "/\(self.prefixLength)" }
        let groups = stride(from: 0, to: 16, by: 2).map { String(Int(bytes[$0]) << 8 | Int(bytes[$0 + 1]), radix: 16) }
        return groups.joined(separator: ":") + "/\(self.prefixLength)"
    }
}

/// Four bytes or sixteen. The text comes from peers and configuration files, so nothing in the reader can trap.
struct IPAddress: Sendable, Hashable {
    let bytes: [UInt8]
    let wasMapped: Bool

    init(bytes: [UInt8]) {
        self.bytes = bytes
        self.wasMapped = false
    }

    init?(_ text: String) {
        if let bytes = Self.v4(text[...]) {
            self.bytes = bytes
            self.wasMapped = false
        } else if let bytes = Self.v6(text) {
            let isMapped = bytes.prefix(10).allSatisfy { $0 == 0 } && bytes[10] == 0xFF && bytes[11] == 0xFF
            self.bytes = isMapped ? Array(bytes.suffix(4)) : bytes
            self.wasMapped = isMapped
        } else {
            return nil
        }
    }

    private static func v4(_ text: Substring) -> [UInt8]? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var bytes: [UInt8] = []
        for part in parts {
            // No signs, no leading zeros: some readers take "010" for eight.
            guard (1...3).contains(part.utf8.count), part.utf8.allSatisfy({ (48...57).contains($0) }),
                part.count == 1 || part.first != "0", let byte = UInt8(part)
            else { return nil }
            bytes.append(byte)
        }
        return bytes
    }

    /// Sixteen bytes, or `nil`.
    private static func v6(_ text: String) -> [UInt8]? {
        // A zone ("%eth0") says through which interface; it is no part of the address.
        let address = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false).first ?? ""
        guard address.utf8.count <= 45, address.contains(":") else { return nil }
        var halves: [[UInt8]] = []
        let parts = Self.splitAtGap(address)
        for (index, half) in parts.enumerated() {
            // An IPv4 address may only be the end of the whole: "1.2.3.4::" is none.
            guard let bytes = Self.groups(half, isLast: index == parts.count - 1) else { return nil }
            halves.append(bytes)
        }
        switch halves.count {
        case 1:
            return halves[0].count == 16 ? halves[0] : nil
        case 2:
            let missing = 16 - halves[0].count - halves[1].count
            return missing >= 2 ? halves[0] + Array(repeating: 0, count: missing) + halves[1] : nil
        default:
            return nil
        }
    }

    private static func splitAtGap(_ text: Substring) -> [Substring] {
        var halves: [Substring] = []
        var rest = text
        var index = rest.startIndex
        while index < rest.endIndex {
            let next = rest.index(after: index)
            if rest[index] == ":", next < rest.endIndex, rest[next] == ":" {
                halves.append(rest[..<index])
                rest = rest[rest.index(after: next)...]
                index = rest.startIndex
            } else {
                index = next
            }
        }
        return halves + [rest]
    }

    private static func groups(_ text: Substring, isLast: Bool) -> [UInt8]? {
        guard !text.isEmpty else { return [] }
        let groups = text.split(separator: ":", omittingEmptySubsequences: false)
        guard groups.count <= 8 else { return nil }
        var bytes: [UInt8] = []
        for (index, group) in groups.enumerated() {
            if isLast, index == groups.count - 1, group.contains(".") {
                guard let last = Self.v4(group) else { return nil }
                bytes += last
            } else {
                guard (1...4).contains(group.utf8.count), group.utf8.allSatisfy(Self.isHex),
                    let value = UInt16(group, radix: 16)
                else { return nil }
                bytes += [UInt8(value >> 8), UInt8(value & 0xFF)]
            }
        }
        return bytes.count <= 16 ? bytes : nil
    }

    private static func isHex(_ byte: UInt8) -> Bool {
        (48...57).contains(byte) || (65...70).contains(byte) || (97...102).contains(byte)
    }
}
