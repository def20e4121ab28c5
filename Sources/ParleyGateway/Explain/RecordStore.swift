internal import Synchronization

/// The last records of the gateway, in memory.
///
/// Each event loop has a shard, and a request that goes well touches none. What the client is to blame for (a status
/// below 500 without a retry) has a ring of its own: a flood of refused requests must not wash away the failures of
/// the services behind. A record is found until newer ones have taken its place.
package final class RecordStore: Sendable {
    package struct Limits: Sendable {
        /// Of all shards together; each has its part.
        package var records: Int
        package var bytes: Int

        package init(records: Int = 1_000, bytes: Int = 4 << 20) {
            self.records = max(1, records)
            self.bytes = max(1, bytes)
        }
    }

    private final class Shard: Sendable {
        private struct Rings {
            var failures: Ring
            var refusals: Ring
            var added: UInt64 = 0
        }

        private let rings: Mutex<Rings>

        init(records: Int, bytes: Int) {
            let (records, bytes) = (max(1, records / 2), max(1, bytes / 2))
            self.rings = Mutex(
                Rings(
                    failures: Ring(maxRecords: records, maxBytes: bytes),
                    refusals: Ring(maxRecords: records, maxBytes: bytes)
                )
            )
        }

        func add(_ record: ExchangeRecord) {
            let record = record.bounded()
            self.rings.withLock {
                $0.added &+= 1
                if record.status >= 500 || record.attempts.count > 1 {
                    $0.failures.add(record)
                } else {
                    $0.refusals.add(record)
                }
            }
        }

        func record(_ id: String) -> ExchangeRecord? {
            self.rings.withLock { rings in
                let found = [rings.failures, rings.refusals].map { ring in
                    ring.last { $0.id == id || $0.sentID == id }
                }
                return found.compactMap { $0 }.max { $0.time < $1.time }
            }
        }

        func all() -> [ExchangeRecord] {
            let (failures, refusals) = self.rings.withLock { ($0.failures, $0.refusals) }
            return failures.all + refusals.all
        }

        var added: UInt64 { self.rings.withLock { $0.added } }
    }

    private let shards: [Shard]

    package init(shards: Int = 1, limits: Limits = Limits()) {
        let count = max(1, shards)
        self.shards = (0..<count).map { _ in Shard(records: limits.records / count, bytes: limits.bytes / count) }
    }

    /// - Parameter shard: the number of the event loop.
    package func add(_ record: ExchangeRecord, shard: Int = 0) {
        self.shards[Int(UInt(bitPattern: shard) % UInt(self.shards.count))].add(record)
    }

    /// The newest record of this request id, the gateway's or the client's own: there may be several of those.
    package func record(id: String) -> ExchangeRecord? {
        self.shards.compactMap { $0.record(id) }.max { $0.time < $1.time }
    }

    /// The newest first.
    package func last(_ count: Int) -> [ExchangeRecord] {
        let all = self.shards.flatMap { $0.all() }.sorted { $0.time > $1.time }
        return Array(all.prefix(max(0, count)))
    }

    /// How many were ever added.
    package var added: UInt64 { self.shards.reduce(0) { $0 &+ $1.added } }
}

/// Records in the order in which they came; the oldest go when there are too many or they are too large.
struct Ring: Sendable {
    let maxRecords: Int
    let maxBytes: Int
    private var slots: [ExchangeRecord?]
    private var sizes: [Int]
    private var start = 0
    private(set) var count = 0
    private(set) var bytes = 0

    init(maxRecords: Int, maxBytes: Int) {
        self.maxRecords = max(1, maxRecords)
        self.maxBytes = max(1, maxBytes)
        self.slots = []
        self.sizes = []
    }

    /// One that is larger than all room is not kept.
    mutating func add(_ record: ExchangeRecord) {
        let size = record.byteCount
        guard size <= self.maxBytes else { return }
        while self.count > 0, self.count == self.maxRecords || self.bytes + size > self.maxBytes { self.removeFirst() }
        let end = self.start + self.count
        if end < self.slots.count {
            self.slots[end] = record
            self.sizes[end] = size
        } else if self.slots.count < self.maxRecords {
            self.slots.append(record)
            self.sizes.append(size)
        } else {
            self.slots[end - self.maxRecords] = record
            self.sizes[end - self.maxRecords] = size
        }
        self.count += 1
        self.bytes += size
    }

    private mutating func removeFirst() {
        self.bytes -= self.sizes[self.start]
        self.slots[self.start] = nil
        self.count -= 1
        self.start += 1
        if self.start == self.slots.count, self.slots.count == self.maxRecords || self.count == 0 { self.start = 0 }
    }

    /// The oldest first.
    var all: [ExchangeRecord] {
        (0..<self.count).compactMap { self.slots[self.index($0)] }
    }

    func last(where predicate: (ExchangeRecord) -> Bool) -> ExchangeRecord? {
        for offset in stride(from: self.count - 1, through: 0, by: -1) {
            if let record = self.slots[self.index(offset)], predicate(record) { return record }
        }
        return nil
    }

    private func index(_ offset: Int) -> Int {
        let index = self.start + offset
        return index < self.maxRecords ? index : index - self.maxRecords
    }
}
