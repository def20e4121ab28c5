package import NIOCore

/// What `allow` and `deny` say to an address.
package enum AddressDecision: Sendable, Hashable {
    case allowed
    case denied
    /// No rule speaks of it: it passes, unless something else refuses it.
    case unmentioned
}

/// `allow` and `deny` of one location: the first rule that fits decides.
///
/// As in nginx, rules of IPv4 and of IPv6 are two lists, and an IPv4-mapped address is looked up in the first, when
/// that has any. The rules are compiled to intervals, so a lookup is a binary search however many there are.
package struct AccessList: Sendable {
    private let v4: IntervalTable<UInt32>
    private let v6: IntervalTable<UInt128>
    private let hasV4: Bool
    private let hasV6: Bool
    private let others: AddressDecision

    package init(_ rules: [AccessRule]) {
        var v4: [IntervalTable<UInt32>.Rule] = []
        var v6: [IntervalTable<UInt128>.Rule] = []
        var others: AddressDecision?
        for (position, rule) in rules.enumerated() {
            let decision: AddressDecision = rule.isAllowed ? .allowed : .denied
            guard let block = rule.block else {
                v4.append(.init(network: 0, prefixLength: 0, position: position, decision: decision))
                v6.append(.init(network: 0, prefixLength: 0, position: position, decision: decision))
                others = others ?? decision
                continue
            }
            let bytes = block.address.bytes
            if bytes.count == 4 {
                let network = bytes.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
                v4.append(.init(network, block.prefixLength, position, decision))
            } else {
                let network = bytes.reduce(UInt128(0)) { $0 << 8 | UInt128($1) }
                v6.append(.init(network, block.prefixLength, position, decision))
            }
        }
        self.v4 = IntervalTable(v4)
        self.v6 = IntervalTable(v6)
        self.hasV4 = !v4.isEmpty
        self.hasV6 = !v6.isEmpty
        self.others = others ?? .unmentioned
    }

    package var isEmpty: Bool { !self.hasV4 && !self.hasV6 }

    /// Four bytes or sixteen; anything else is a socket without an address, for which only `all` is meant.
    /// - Parameter address: Four bytes or sixteen.
    package func decision(for address: [UInt8]) -> AddressDecision { self.decision(for: address.span) }

    package func decision(for address: Span<UInt8>) -> AddressDecision {
        switch address.count {
        case 4:
            return self.v4.decision(for: Self.number(address, from: 0))
        case 16:
            let whole: UInt128 = Self.number(address, from: 0)
            if self.hasV4, whole >> 32 == 0xFFFF { return self.v4.decision(for: UInt32(truncatingIfNeeded: whole)) }
            return self.v6.decision(for: whole)
        default:
            return self.others
        }
    }

    package func decision(for address: SocketAddress?) -> AddressDecision {
        // Where the address stands in the system's structures, the same on all systems.
        switch address {
        case .v4: return self.decision(for: address, at: 4, count: 4)
        case .v6: return self.decision(for: address, at: 8, count: 16)
        case .unixDomainSocket, nil: return self.others
        }
    }

    private func decision(for address: SocketAddress?, at start: Int, count: Int) -> AddressDecision {
        let decision = address?.withSockAddr { structure, size in
            let bytes = UnsafeRawBufferPointer(start: structure, count: size)
            guard start + count <= size else { return self.others }
            return self.decision(for: UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]))
        }
        return decision ?? self.others
    }

    private func decision(for bytes: UnsafeRawBufferPointer) -> AddressDecision {
        bytes.withMemoryRebound(to: UInt8.self) { self.decision(for: $0.span) }
    }

    private static func number<Number: FixedWidthInteger>(_ bytes: Span<UInt8>, from start: Int) -> Number {
        var number = Number(0)
        for index in start..<bytes.count { number = number << 8 | Number(truncatingIfNeeded: bytes[index]) }
        return number
    }
}

/// First-match rules over blocks of addresses, as sorted intervals that do not overlap.
struct IntervalTable<Address: FixedWidthInteger & UnsignedInteger & Sendable>: Sendable {
    struct Rule {
        var network: Address
        var prefixLength: Int
        /// Among all rules: the smallest that fits decides.
        var position: Int
        var decision: AddressDecision

        init(network: Address, prefixLength: Int, position: Int, decision: AddressDecision) {
            let length = min(max(prefixLength, 0), Address.bitWidth)
            let mask: Address = length == 0 ? 0 : ~Address(0) << (Address.bitWidth - length)
            self.network = network & mask
            self.prefixLength = length
            self.position = position
            self.decision = decision
        }

        init(_ network: Address, _ prefixLength: Int, _ position: Int, _ decision: AddressDecision) {
            self.init(network: network, prefixLength: prefixLength, position: position, decision: decision)
        }

        var last: Address {
            self.prefixLength == Address.bitWidth ? self.network : self.network | (~Address(0) >> self.prefixLength)
        }
    }

    /// Where each interval begins; it ends before the next one. Empty without rules.
    private var starts: [Address] = []
    private var decisions: [AddressDecision] = []

    /// Blocks are either one within the other or apart, so sorted by their beginning, the outer first, they are a tree
    /// in its order; on the way down the smallest position wins.
    init(_ rules: [Rule]) {
        guard !rules.isEmpty else { return }
        let sorted = rules.sorted { lhs, rhs in
            if lhs.network != rhs.network { return lhs.network < rhs.network }
            if lhs.prefixLength != rhs.prefixLength { return lhs.prefixLength < rhs.prefixLength }
            return lhs.position < rhs.position
        }
        self.begin(at: 0, with: .unmentioned)
        // The blocks that are open, each with the rule that decides within it.
        var open: [(last: Address, position: Int, decision: AddressDecision)] = []
        for rule in sorted {
            self.close(&open, before: rule.network)
            var effective = (last: rule.last, position: rule.position, decision: rule.decision)
            if let outer = open.last, outer.position < rule.position {
                effective.position = outer.position
                effective.decision = outer.decision
            }
            open.append(effective)
            self.begin(at: rule.network, with: effective.decision)
        }
        self.close(&open, before: nil)
    }

    func decision(for address: Address) -> AddressDecision {
        // The last interval that begins at the address or before it; the first begins at zero.
        var low = 0
        var high = self.starts.count
        while low < high {
            let middle = (low + high) / 2
            if self.starts[middle] <= address { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? .unmentioned : self.decisions[low - 1]
    }

    private mutating func close(
        _ open: inout [(last: Address, position: Int, decision: AddressDecision)],
        before address: Address?
    ) {
        while let inner = open.last, address.map({ inner.last < $0 }) ?? true {
            open.removeLast()
            guard inner.last != Address.max else { continue }
            self.begin(at: inner.last + 1, with: open.last?.decision ?? .unmentioned)
        }
    }

    private mutating func begin(at start: Address, with decision: AddressDecision) {
        if self.starts.last == start {
            self.decisions[self.decisions.count - 1] = decision
        } else {
            self.starts.append(start)
            self.decisions.append(decision)
        }
    }
}
