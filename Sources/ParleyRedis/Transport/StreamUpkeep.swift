internal import CoreMetrics
internal import Logging
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyRESP
internal import Synchronization

/// What has to be done now and then: metrics, by every process; trimming and dismissing dead consumers, by one.
final class StreamUpkeep: Sendable {
    private let link: StreamLink
    private let groups = Mutex<[String: StreamMetrics.Group]>([:])

    init(link: StreamLink) {
        self.link = link
    }

    func once() async {
        do {
            try await self.work()
        } catch {
            guard !Task.isCancelled else { return }
            self.link.logger.info(
                "The stream could not be kept in order; it is tried again",
                metadata: ["redis.stream": "\(self.link.keys.stream)", "error": "\(error)"]
            )
        }
    }

    private func work() async throws {
        let interval = max(.milliseconds(100), self.link.configuration.upkeepInterval)
        let isMine = try await self.link.client.set(
            self.link.keys.upkeep,
            RESPArgument(self.link.consumer),
            // A little less, so that the same process may have it the next time.
            expiresAfter: interval * 9 / 10,
            when: .absent
        )
        try await self.measure()
        guard isMine else { return }
        let declared = try await self.link.client.hgetall(self.link.keys.groups)
        for (name, declaration) in declared {
            guard let group = try? GroupDeclaration(String(decoding: declaration, as: UTF8.self), of: name).group else {
                continue
            }
            do throws(RESPError) {
                _ = try await self.link.dismiss(in: group)
            } catch {
                // Somebody has deleted it; whoever consumes makes it again.
                guard error.isMissingKey else { throw error }
            }
        }
        if let kept = self.link.configuration.retention.milliseconds {
            do throws(RESPError) {
                // One call removes some thousands; others have their turn between two.
                for _ in 0..<1_000 {
                    let reply = try await self.link.client.eval(
                        StreamScripts.trim,
                        keys: [self.link.keys.stream],
                        arguments: [RESPArgument(kept)]
                    )
                    guard let count = reply.integer, count > 0 else { break }
                }
            } catch {
                // There is nothing to trim.
                guard error.isMissingKey else { throw error }
            }
        }
    }

    private func metrics(of group: String) -> StreamMetrics.Group? {
        self.groups.withLock { groups in
            if let known = groups[group] { return known }
            let made = self.link.metrics.group(group)
            groups[group] = made
            return made
        }
    }

    private func measure() async throws {
        guard let handles = self.link.metrics.handles else { return }
        let client = self.link.client
        let stream = self.link.keys.stream
        handles.length.record(try await client.xlen(stream))
        for info in try await StreamStatistics(link: self.link).groups().values {
            guard let metrics = self.metrics(of: info.name) else { continue }
            metrics.pending.record(info.pending)
            if let lag = info.lag { metrics.lag.record(lag) }
            let first = try await client.xpending(stream, info.name, count: 1).first
            metrics.oldestIdle.record(first.map { $0.idle.inSeconds } ?? 0)
        }
    }
}
