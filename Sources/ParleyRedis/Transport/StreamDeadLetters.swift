internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP

/// The dead letters of all groups: the stream `<stream>.dlq`, where `redis-cli XRANGE` shows each with the fields of
/// the message and, under names that begin with `dlq_`, where it comes from and why.
struct StreamDeadLetters: DeadLetterStore {
    let link: StreamLink

    /// A letter's number is its entry's id: 43 bits of milliseconds and 20 of sequence, in the same order.
    static func number(of id: StreamID) -> Int64? {
        guard id.milliseconds < 1 << 43, id.sequence < 1 << 20 else { return nil }
        return Int64(id.milliseconds << 20 | id.sequence)
    }

    static func id(of number: Int64) -> StreamID {
        let bits = UInt64(max(0, number))
        return StreamID(bits >> 20, bits & (1 << 20 - 1))
    }

    func list(group: String?, after: Int64, limit: Int) async throws -> [DeadLetter] {
        let limit = min(1_000, max(1, limit))
        var start = after > 0 ? Self.id(of: after).successor : .zero
        var letters: [DeadLetter] = []
        while letters.count < limit {
            let page = try await self.link.reporting {
                try await self.link.client.xrange(self.link.keys.deadLetters, from: start, count: 200)
            }
            let wanted = page.compactMap(self.letter).filter { group == nil || $0.group == group }
            letters += wanted.prefix(limit - letters.count)
            guard page.count == 200, let last = page.last else { break }
            start = last.id.successor
        }
        return letters
    }

    /// `nil` for what somebody else has put into the stream.
    private func letter(_ entry: StreamEntry) -> DeadLetter? {
        guard let number = Self.number(of: entry.id), let group = entry[DeadLetterFields.group] else { return nil }
        return DeadLetter(
            id: number,
            group: group,
            message: self.link.coding.incoming(self.original(entry)).message,
            reason: entry[DeadLetterFields.reason] ?? "",
            attempts: entry[DeadLetterFields.deliveries].flatMap { Int($0) } ?? 0,
            diedAt: entry[DeadLetterFields.time].flatMap { Timestamp($0) }
                ?? Timestamp(microseconds: Int64(clamping: entry.id.milliseconds) * 1_000)
        )
    }

    /// The entry as it was before it died.
    private func original(_ entry: StreamEntry) -> StreamEntry {
        let id = entry[DeadLetterFields.id].flatMap { StreamID($0) } ?? entry.id
        return StreamEntry(id: id, fields: DeadLetterFields.removed(from: entry.fields))
    }

    func replay(_ ids: [Int64]) async throws -> Int {
        var count = 0
        for number in ids {
            let id = Self.id(of: number)
            let isDone = try await self.link.reporting {
                let found = try await self.link.client.xrange(self.link.keys.deadLetters, from: id, through: id)
                guard let entry = found.first, let group = entry[DeadLetterFields.group] else { return false }
                let fields = self.link.coding.readdressed(self.original(entry), to: group)
                let reply = try await self.link.client.eval(
                    StreamScripts.replay,
                    keys: [self.link.keys.stream, self.link.keys.deadLetters],
                    arguments: [RESPArgument("\(id)")]
                        + fields.flatMap { [RESPArgument($0.name), RESPArgument($0.value)] }
                )
                return reply.integer == 1
            }
            if isDone { count += 1 }
        }
        return count
    }

    func discard(_ ids: [Int64]) async throws -> Int {
        try await self.link.reporting {
            try await self.link.client.xdel(self.link.keys.deadLetters, ids.map(Self.id))
        }
    }

    /// How many each group has.
    func counts() async throws(RESPError) -> [String: Int] {
        var start = StreamID.zero
        var counts: [String: Int] = [:]
        while true {
            let reply = try await self.link.client.eval(
                Self.countScript,
                keys: [self.link.keys.deadLetters],
                arguments: [RESPArgument("\(start)"), RESPArgument(DeadLetterFields.group)]
            )
            guard let parts = reply.elements, parts.count == 2, let pairs = parts[1].elements else {
                throw reply.unexpected("EVALSHA")
            }
            var index = 0
            while index + 1 < pairs.count {
                if let group = pairs[index].string, let count = pairs[index + 1].integer {
                    counts[group, default: 0] += Int(clamping: count)
                }
                index += 2
            }
            guard let last = parts[0].string.flatMap({ StreamID($0) }) else { return counts }
            start = last.successor
        }
    }

    /// Counts on the server, so that no body travels. KEYS: dead letters. ARGV: from, the field with the group → {last
    /// id of a full page or '', {group, count…}}
    private static let countScript = RESPScript(
        """
        local page = redis.call('XRANGE', KEYS[1], ARGV[1], '+', 'COUNT', 500)
        local counts, names, pairs_ = {}, {}, {}
        for _, entry in ipairs(page) do
            local fields = entry[2]
            for i = 1, #fields, 2 do
                if fields[i] == ARGV[2] then
                    local group = fields[i + 1]
                    if not counts[group] then
                        counts[group] = 0
                        names[#names + 1] = group
                    end
                    counts[group] = counts[group] + 1
                    break
                end
            end
        end
        for _, name in ipairs(names) do
            pairs_[#pairs_ + 1] = name
            pairs_[#pairs_ + 1] = counts[name]
        end
        return {#page == 500 and page[#page][1] or '', pairs_}
        """
    )
}
