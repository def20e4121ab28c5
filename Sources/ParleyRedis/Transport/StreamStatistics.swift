internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP

/// Counts what a group has. Redis's own `lag` is not used: it is unknown after a restart and was seen to be wrong after
/// a deletion, and it counts what the group's bindings do not take.
struct StreamStatistics {
    let link: StreamLink

    /// So many entries that were not read yet are looked at one by one; for the rest of a longer backlog the server's
    /// word is taken.
    static let exact = 2_000

    func ofGroups(
        dead: [String: Int],
        here: (String) -> GroupStatistics?
    ) async throws -> [GroupStatistics] {
        let client = self.link.client
        let declared = try await client.hgetall(self.link.keys.groups)
        guard !declared.isEmpty else { return [] }
        let infos = try await self.groups()
        var statistics: [GroupStatistics] = []
        for (name, declaration) in declared.sorted(by: { $0.key < $1.key }) {
            guard let group = try? GroupDeclaration(String(decoding: declaration, as: UTF8.self), of: name) else {
                continue
            }
            guard let info = infos[name] else {
                statistics.append(
                    GroupStatistics(
                        group: name,
                        ready: 0,
                        delayed: 0,
                        unacknowledged: 0,
                        deadLettered: dead[name] ?? 0,
                        oldest: nil
                    )
                )
                continue
            }
            let parked = try await self.parked(name)
            let pending = try await client.xpending(self.link.keys.stream, name)
            let released = pending.consumers[StreamKeys.released] ?? 0
            let unread = try await self.unread(by: group, info)
            let local = here(name)
            let localReady = local?.ready ?? 0
            let localDelayed = local?.delayed ?? 0
            let notHeld = parked.waiting + parked.due + released + localReady + localDelayed
            let oldest = [pending.first.map { Self.time(of: $0) }, unread.first].compactMap { $0 }.min()
            statistics.append(
                GroupStatistics(
                    group: name,
                    ready: unread.count + parked.due + released + localReady,
                    delayed: parked.waiting + localDelayed,
                    unacknowledged: max(0, pending.count - notHeld),
                    deadLettered: dead[name] ?? 0,
                    oldest: oldest
                )
            )
        }
        return statistics
    }

    /// By name; none when the stream is not there.
    func groups() async throws -> [String: StreamGroupInfo] {
        do throws(RESPError) {
            let infos = try await self.link.client.xinfoGroups(self.link.keys.stream)
            return Dictionary(infos.map { ($0.name, $0) }) { first, _ in first }
        } catch {
            guard error.isMissingKey else { throw error }
            return [:]
        }
    }

    private func parked(_ group: String) async throws -> (waiting: Int, due: Int) {
        let reply = try await self.link.client.eval(
            Self.parkedScript,
            keys: [self.link.keys.parked(group)],
            arguments: []
        )
        guard let parts = reply.elements, parts.count == 2, let all = parts[0].integer, let due = parts[1].integer
        else { throw reply.unexpected("EVALSHA") }
        return (Int(clamping: all - due), Int(clamping: due))
    }

    private static let parkedScript = RESPScript(
        """
        local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        return {redis.call('ZCARD', KEYS[1]), redis.call('ZCOUNT', KEYS[1], '-inf', now)}
        """
    )

    private func unread(
        by group: GroupDeclaration,
        _ info: StreamGroupInfo
    ) async throws -> (count: Int, first: Timestamp?) {
        var start = info.lastDeliveredID.successor
        var looked = 0
        var count = 0
        var first: Timestamp?
        while looked < Self.exact {
            let page = try await self.link.client.xrange(self.link.keys.stream, from: start, count: 500)
            for entry in page {
                let incoming = self.link.coding.incoming(entry)
                guard group.takes(incoming, at: entry.id) else { continue }
                count += 1
                first = first ?? incoming.publishedAt
            }
            looked += page.count
            guard page.count == 500, let end = page.last else { return (count, first) }
            start = end.id.successor
        }
        return (count + max(0, (info.lag ?? 0) - looked), first)
    }

    private static func time(of id: StreamID) -> Timestamp {
        Timestamp(microseconds: Int64(min(id.milliseconds, 9_000_000_000_000)) * 1_000)
    }
}
