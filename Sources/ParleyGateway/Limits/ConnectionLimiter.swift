internal import Synchronization

/// What nginx's `limit_conn_zone` declares: how many requests of each key are under way. Shared by all event loops.
package final class ConnectionZone: Sendable {
    package let name: String
    private let state: Mutex<State>

    private struct State: Sendable {
        var table: KeyTable<UInt32>
        var overflowed: UInt64 = 0
    }

    /// - Parameter bytes: As nginx counts, which keeps a key of up to 28 bytes in 64; so do we with any.
    package init(name: String, bytes: Int) throws(LimitError) {
        guard bytes >= ZoneSize.least else { throw .zoneTooSmall(name, bytes: bytes) }
        self.name = name
        self.state = Mutex(State(table: KeyTable(capacity: ZoneSize.keys(bytes: bytes, stateSize: 64))))
    }

    package var usage: ZoneUsage {
        self.state.withLock { state in
            ZoneUsage(
                keys: state.table.count,
                capacity: state.table.capacity,
                forced: 0,
                overflowed: state.overflowed
            )
        }
    }

    /// The slot that counts one more, or `nil`: the key is at its limit, or the zone is full.
    func take(_ key: LimitKey, limit: UInt32) -> Int? {
        self.state.withLock { state in
            guard let slot = state.table.find(key) else {
                let slot = state.table.insert(key, 1)
                if slot == nil { state.overflowed &+= 1 }
                return slot
            }
            guard state.table[slot] < limit else { return nil }
            state.table[slot] &+= 1
            return slot
        }
    }

    func give(_ slot: Int) {
        self.state.withLock { state in
            if state.table[slot] > 1 { state.table[slot] &-= 1 } else { state.table.remove(slot) }
        }
    }
}

/// The places that a request holds in its zones, from ``ConnectionLimiter/take(_:key:)`` to its end.
package struct ConnectionLease: Sendable {
    fileprivate var slots = SIMD8<Int32>(repeating: -1)

    package init() {}
}

/// nginx's `limit_conn`: the limits of one location on what is under way at once.
package struct ConnectionLimiter: Sendable {
    package struct Limit: Sendable {
        package let zone: ConnectionZone
        let connections: UInt32

        /// - Parameter connections: 1 at least and 65,535 at most, as in nginx.
        package init(zone: ConnectionZone, connections: Int) {
            self.zone = zone
            self.connections = UInt32(min(max(connections, 1), 65_535))
        }
    }

    package enum Verdict: Sendable, Hashable {
        /// No limit had a key for it.
        case unlimited
        case passed
        /// By the limit with this index. In a dry run the request goes on all the same, and holds nothing.
        case rejected(limit: Int, isDryRun: Bool)
    }

    package static let maxLimits = 8
    /// nginx logs such a key and lets the request pass.
    package static let maxKeyBytes = 255

    private let limits: [Limit]
    private let isDryRun: Bool

    package init(_ limits: [Limit], isDryRun: Bool = false) throws(LimitError) {
        guard limits.count <= Self.maxLimits else {
            throw .tooMany("limit_conn", count: limits.count, most: Self.maxLimits)
        }
        self.limits = limits
        self.isDryRun = isDryRun
    }

    package var isEmpty: Bool { self.limits.isEmpty }

    /// Once for a request, with an empty lease. It is given back to the same limiter, whatever the verdict.
    package func take(_ lease: inout ConnectionLease, key: (Int) -> LimitKey) -> Verdict {
        var verdict = Verdict.unlimited
        for index in self.limits.indices {
            let key = key(index)
            if key.byteCount == 0 || key.byteCount > Self.maxKeyBytes { continue }
            let limit = self.limits[index]
            guard let slot = limit.zone.take(key, limit: limit.connections) else {
                self.give(&lease)
                return .rejected(limit: index, isDryRun: self.isDryRun)
            }
            lease.slots[index] = Int32(truncatingIfNeeded: slot)
            verdict = .passed
        }
        return verdict
    }

    /// Gives back what the lease holds; a second time does nothing.
    package func give(_ lease: inout ConnectionLease) {
        for index in self.limits.indices where lease.slots[index] >= 0 {
            self.limits[index].zone.give(Int(lease.slots[index]))
            lease.slots[index] = -1
        }
    }
}
