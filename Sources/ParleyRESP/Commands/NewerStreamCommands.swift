public import ParleyCore

/// Commands of Redis 8.2 to 8.8 that no version of Valkey knows so far. They follow the public documentation and were
/// **not** run against such a server; ``RESPClient/supports(_:option:)`` tells whether one knows them.
extension RESPExecutor {
    /// Adds an entry once, however often it is sent: a second one returns the id of the first. Since Redis 8.6; not run
    /// against one.
    ///
    /// So after ``RetrySafety/mayHaveRun`` it may be sent again, for as long as the server remembers: 100 seconds and
    /// the last 100 entries of a producer, unless `XCFGSET` says otherwise.
    ///
    /// - Parameter createsStream: `false` adds to a stream that is there, and returns `nil` otherwise.
    /// - Throws: ``RESPError``; an older server refuses the words as an invalid id and adds nothing.
    public func xaddOnce(
        _ stream: String,
        _ fields: [StreamField],
        _ idempotence: StreamIdempotence,
        trimming: StreamTrimming? = nil,
        createsStream: Bool = true
    ) async throws(RESPError) -> StreamID? {
        let command = Self.xaddOnceCommand(
            stream,
            fields,
            idempotence,
            trimming: trimming,
            createsStream: createsStream
        )
        let reply = try await self.send(command)
        return reply.isNull ? nil : try reply.streamID("XADD")
    }

    /// The command of ``xaddOnce(_:_:_:trimming:createsStream:)``, for a pipeline or a transaction.
    public static func xaddOnceCommand(
        _ stream: String,
        _ fields: [StreamField],
        _ idempotence: StreamIdempotence,
        trimming: StreamTrimming? = nil,
        createsStream: Bool = true
    ) -> RESPCommand {
        var words: [RESPArgument] = ["XADD", RESPArgument(stream)]
        if !createsStream { words.append("NOMKSTREAM") }
        words += idempotence.words + (trimming?.words ?? []) + ["*"]
        for field in fields { words += [RESPArgument(field.name), RESPArgument(field.value)] }
        return RESPCommand(words)
    }

    /// Acknowledges and deletes in one step. Idempotent. Since Redis 8.2; not run against one.
    ///
    /// - Returns: what became of each id, in their order.
    @discardableResult
    public func xackdel(
        _ stream: String,
        _ group: String,
        _ ids: [StreamID],
        references: StreamReferences = .keep
    ) async throws(RESPError) -> [StreamDeletion] {
        guard !ids.isEmpty else { return [] }
        let words = ["XACKDEL", RESPArgument(stream), RESPArgument(group), references.word] + Self.counted(ids)
        return try await self.send(RESPCommand(words)).deletions("XACKDEL", of: ids.count)
    }

    /// Deletes, with a say in what becomes of the groups' references. Idempotent. Since Redis 8.2; not run against one.
    ///
    /// - Returns: what became of each id, in their order.
    @discardableResult
    public func xdelex(
        _ stream: String,
        _ ids: [StreamID],
        references: StreamReferences = .keep
    ) async throws(RESPError) -> [StreamDeletion] {
        guard !ids.isEmpty else { return [] }
        let words = ["XDELEX", RESPArgument(stream), references.word] + Self.counted(ids)
        return try await self.send(RESPCommand(words)).deletions("XDELEX", of: ids.count)
    }

    /// Hands entries back to their group: they belong to no consumer and can be claimed at once, whatever idle time is
    /// asked for. Since Redis 8.8; not run against one.
    ///
    /// Any consumer's entries, so release only what is known to be one's own. After ``RetrySafety/mayHaveRun`` look
    /// first: somebody else may have claimed them by then.
    ///
    /// - Parameter deliveries: what the count is set to, whatever the reason.
    /// - Returns: how many were pending.
    @discardableResult
    public func xnack(
        _ stream: String,
        _ group: String,
        _ reason: StreamRelease,
        _ ids: [StreamID],
        deliveries: Int? = nil
    ) async throws(RESPError) -> Int {
        guard !ids.isEmpty else { return 0 }
        var words = ["XNACK", RESPArgument(stream), RESPArgument(group), reason.word] + Self.counted(ids)
        if let deliveries { words += ["RETRYCOUNT", RESPArgument(deliveries)] }
        return try await self.send(RESPCommand(words)).count("XNACK")
    }

    /// Reads for a consumer of a group: first what has been pending for `minimumIdle` with whomever, the longest idle
    /// first, then what is new. Since Redis 8.4; not run against one.
    ///
    /// `count` is for both together. A reply that is lost on the way leaves its entries pending with this consumer.
    ///
    /// - Parameters:
    ///   - block: how long to wait for an entry, as in
    ///     ``xreadGroup(_:consumer:_:count:block:withoutAcknowledgement:deadline:)``.
    ///   - withoutAcknowledgement: for the new ones; what was claimed is pending all the same.
    public func xreadGroup(
        _ group: String,
        consumer: String,
        _ streams: [String],
        claimingAfter minimumIdle: Duration,
        count: Int? = nil,
        block: Duration? = nil,
        withoutAcknowledgement: Bool = false,
        deadline: Deadline? = nil
    ) async throws(RESPError) -> [String: [StreamDelivery]] {
        var words: [RESPArgument] = ["XREADGROUP", "GROUP", RESPArgument(group), RESPArgument(consumer)]
        if let count { words += ["COUNT", RESPArgument(count)] }
        if let block { words += ["BLOCK", RESPArgument(max(1, block.inMilliseconds))] }
        words += ["CLAIM", RESPArgument(minimumIdle.inMilliseconds)]
        if withoutAcknowledgement { words.append("NOACK") }
        words += ["STREAMS"] + streams.map { RESPArgument($0) } + streams.map { _ in ">" }
        return try await self.send(RESPCommand(words), deadline: deadline).deliveries("XREADGROUP")
    }

    private static func counted(_ ids: [StreamID]) -> [RESPArgument] {
        ["IDS", RESPArgument(ids.count)] + ids.map { RESPArgument("\($0)") }
    }
}

extension RESPValue {
    fileprivate func deletions(_ command: String, of count: Int) throws(RESPError) -> [StreamDeletion] {
        let results = try self.list(command) { $0.integer.map { StreamDeletion(rawValue: Int(clamping: $0)) } }
        guard results.count == count else { throw self.unexpected(command) }
        return results
    }

    fileprivate func deliveries(_ command: String) throws(RESPError) -> [String: [StreamDelivery]] {
        var streams: [String: [StreamDelivery]] = [:]
        for (name, entries) in try self.namedStreams(command) {
            streams[name, default: []] += try entries.list(command) { $0 }.map { value throws(RESPError) in
                try value.delivery(command)
            }
        }
        return streams
    }

    /// `[id, fields, idle, deliveries]`, or the first two of them.
    private func delivery(_ command: String) throws(RESPError) -> StreamDelivery {
        guard let parts = self.elements, parts.count == 4 else {
            return StreamDelivery(entry: try self.streamEntry(command))
        }
        guard let idle = parts[2].integer, let deliveries = parts[3].integer else { throw self.unexpected(command) }
        return StreamDelivery(
            entry: try RESPValue.array(Array(parts[..<2])).streamEntry(command),
            idle: .milliseconds(max(0, idle)),
            deliveries: Int(clamping: max(0, deliveries))
        )
    }
}
