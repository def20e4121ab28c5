public import ParleyCore

extension RESPExecutor {
    /// Adds an entry. Not idempotent: after ``RetrySafety/mayHaveRun`` a second try may add a second entry.
    ///
    /// - Parameters:
    ///   - id: `nil` lets the server choose, which is what keeps ids in order.
    ///   - createsStream: `false` adds to a stream that is there, and returns `nil` otherwise.
    public func xadd(
        _ stream: String,
        _ fields: [StreamField],
        id: StreamID? = nil,
        trimming: StreamTrimming? = nil,
        createsStream: Bool = true
    ) async throws(RESPError) -> StreamID? {
        let command = Self.xaddCommand(stream, fields, id: id, trimming: trimming, createsStream: createsStream)
        let reply = try await self.send(command)
        return reply.isNull ? nil : try reply.streamID("XADD")
    }

    /// The command of ``xadd(_:_:id:trimming:createsStream:)``, for a pipeline or a transaction.
    public static func xaddCommand(
        _ stream: String,
        _ fields: [StreamField],
        id: StreamID? = nil,
        trimming: StreamTrimming? = nil,
        createsStream: Bool = true
    ) -> RESPCommand {
        var words: [RESPArgument] = ["XADD", RESPArgument(stream)]
        if !createsStream { words.append("NOMKSTREAM") }
        words += trimming?.words ?? []
        words.append(id.map { RESPArgument("\($0)") } ?? "*")
        for field in fields { words += [RESPArgument(field.name), RESPArgument(field.value)] }
        return RESPCommand(words)
    }

    public func xlen(_ stream: String) async throws(RESPError) -> Int {
        try await self.send(["XLEN", RESPArgument(stream)]).count("XLEN")
    }

    /// Entries from `start` to `end`, both included; `nil` is the stream's own first and last.
    public func xrange(
        _ stream: String,
        from start: StreamID? = nil,
        through end: StreamID? = nil,
        count: Int? = nil
    ) async throws(RESPError) -> [StreamEntry] {
        let bounds = [start.map { RESPArgument("\($0)") } ?? "-", end.map { RESPArgument("\($0)") } ?? "+"]
        let command = ["XRANGE", RESPArgument(stream)] + bounds + Self.option("COUNT", count)
        return try await self.send(RESPCommand(command)).streamEntries("XRANGE")
    }

    /// The same from the end: from `end` back to `start`.
    public func xrevrange(
        _ stream: String,
        from end: StreamID? = nil,
        backTo start: StreamID? = nil,
        count: Int? = nil
    ) async throws(RESPError) -> [StreamEntry] {
        let bounds = [end.map { RESPArgument("\($0)") } ?? "+", start.map { RESPArgument("\($0)") } ?? "-"]
        let command = ["XREVRANGE", RESPArgument(stream)] + bounds + Self.option("COUNT", count)
        return try await self.send(RESPCommand(command)).streamEntries("XREVRANGE")
    }

    /// - Returns: how many were removed, whoever may still need them.
    @discardableResult
    public func xtrim(_ stream: String, _ trimming: StreamTrimming) async throws(RESPError) -> Int {
        try await self.send(RESPCommand(["XTRIM", RESPArgument(stream)] + trimming.words)).count("XTRIM")
    }

    /// - Returns: how many were there.
    @discardableResult
    public func xdel(_ stream: String, _ ids: [StreamID]) async throws(RESPError) -> Int {
        guard !ids.isEmpty else { return 0 }
        return try await self.send(RESPCommand(["XDEL", RESPArgument(stream)] + Self.words(ids))).count("XDEL")
    }

    /// Reads on from a position in each stream.
    ///
    /// - Parameter block: how long to wait for an entry; a ``RESPClient`` uses a connection of its own then. Without
    ///   one it does not wait. Zero, which to the server means for ever, is sent as one millisecond.
    public func xread(
        _ streams: [(stream: String, position: StreamPosition)],
        count: Int? = nil,
        block: Duration? = nil,
        deadline: Deadline? = nil
    ) async throws(RESPError) -> [String: [StreamEntry]] {
        let words = ["XREAD"] + Self.option("COUNT", count) + Self.option("BLOCK", Self.milliseconds(block))
        let reply = try await self.send(RESPCommand(words + Self.words(streams)), deadline: deadline)
        return try reply.streams("XREAD")
    }

    /// Reads for a consumer of a group. See ``StreamPosition`` for what `.new` and `.after` mean here.
    ///
    /// A reply that is lost on the way leaves its entries pending with this consumer: after an error, read
    /// `.after(.zero)` first. ``RESPError/Code/noGroup`` and ``RESPError/Code/unblocked`` mean that the group or the
    /// stream has gone.
    public func xreadGroup(
        _ group: String,
        consumer: String,
        _ streams: [(stream: String, position: StreamPosition)],
        count: Int? = nil,
        block: Duration? = nil,
        withoutAcknowledgement: Bool = false,
        deadline: Deadline? = nil
    ) async throws(RESPError) -> [String: [StreamEntry]] {
        var words = ["XREADGROUP", "GROUP", RESPArgument(group), RESPArgument(consumer)] + Self.option("COUNT", count)
        words += Self.option("BLOCK", Self.milliseconds(block))
        if withoutAcknowledgement { words.append("NOACK") }
        let reply = try await self.send(RESPCommand(words + Self.words(streams)), deadline: deadline)
        return try reply.streams("XREADGROUP")
    }

    /// Idempotent.
    ///
    /// - Returns: how many were pending.
    @discardableResult
    public func xack(_ stream: String, _ group: String, _ ids: [StreamID]) async throws(RESPError) -> Int {
        guard !ids.isEmpty else { return 0 }
        let words = ["XACK", RESPArgument(stream), RESPArgument(group)] + Self.words(ids)
        return try await self.send(RESPCommand(words)).count("XACK")
    }

    // MARK: Groups

    /// - Parameter position: `.after(.zero)` gives the group all there is, `.end` what comes from now on.
    /// - Throws: ``RESPError/Code/groupExists`` when it is there already.
    public func xgroupCreate(
        _ stream: String,
        _ group: String,
        from position: StreamPosition,
        createsStream: Bool = true
    ) async throws(RESPError) {
        let words = ["XGROUP", "CREATE", RESPArgument(stream), RESPArgument(group), position.word]
        try await self.send(RESPCommand(words + (createsStream ? ["MKSTREAM"] : [])))
    }

    /// - Returns: whether it was there.
    @discardableResult
    public func xgroupDestroy(_ stream: String, _ group: String) async throws(RESPError) -> Bool {
        try await self.send(["XGROUP", "DESTROY", RESPArgument(stream), RESPArgument(group)]).count("XGROUP") == 1
    }

    /// - Returns: whether it is new.
    @discardableResult
    public func xgroupCreateConsumer(
        _ stream: String,
        _ group: String,
        _ consumer: String
    ) async throws(RESPError) -> Bool {
        let words = ["XGROUP", "CREATECONSUMER", stream, group, consumer].map { RESPArgument($0) }
        return try await self.send(RESPCommand(words)).count("XGROUP") == 1
    }

    /// Removes the consumer **with everything that it has pending**: claim that first.
    ///
    /// - Returns: how many pending entries were dropped.
    @discardableResult
    public func xgroupDeleteConsumer(
        _ stream: String,
        _ group: String,
        _ consumer: String
    ) async throws(RESPError) -> Int {
        let words = ["XGROUP", "DELCONSUMER", stream, group, consumer].map { RESPArgument($0) }
        return try await self.send(RESPCommand(words)).count("XGROUP")
    }

    /// Moves what the group counts as delivered; what is pending stays so.
    public func xgroupSetID(
        _ stream: String,
        _ group: String,
        to position: StreamPosition
    ) async throws(RESPError) {
        try await self.send(["XGROUP", "SETID", RESPArgument(stream), RESPArgument(group), position.word])
    }

    // MARK: Pending

    public func xpending(_ stream: String, _ group: String) async throws(RESPError) -> PendingSummary {
        let reply = try await self.send(["XPENDING", RESPArgument(stream), RESPArgument(group)])
        return try reply.pendingSummary()
    }

    /// - Parameter idle: only what has been idle for so long.
    public func xpending(
        _ stream: String,
        _ group: String,
        from start: StreamID? = nil,
        through end: StreamID? = nil,
        count: Int,
        consumer: String? = nil,
        idle: Duration? = nil
    ) async throws(RESPError) -> [PendingEntry] {
        var words = ["XPENDING", RESPArgument(stream), RESPArgument(group)]
        words += Self.option("IDLE", idle.map { $0.inMilliseconds })
        words += [start.map { RESPArgument("\($0)") } ?? "-", end.map { RESPArgument("\($0)") } ?? "+"]
        words += [RESPArgument(count)] + (consumer.map { [RESPArgument($0)] } ?? [])
        let reply = try await self.send(RESPCommand(words))
        return try reply.list("XPENDING") { $0.pendingEntry }
    }

    /// Takes over entries that have been idle for `minimumIdle`.
    ///
    /// - Parameters:
    ///   - idle: what the entries' idle time is set to; a large one lets others claim them at once.
    ///   - deliveries: what the count is set to; otherwise it goes up by one, except with `justIDs`.
    ///   - justIDs: returns ids only and does not count: with `minimumIdle` zero on one's own entries, a heartbeat.
    public func xclaim(
        _ stream: String,
        _ group: String,
        consumer: String,
        minimumIdle: Duration,
        _ ids: [StreamID],
        idle: Duration? = nil,
        deliveries: Int? = nil,
        force: Bool = false,
        justIDs: Bool = false
    ) async throws(RESPError) -> [StreamEntry] {
        guard !ids.isEmpty else { return [] }
        var words = ["XCLAIM", stream, group, consumer].map { RESPArgument($0) }
        words += [RESPArgument(minimumIdle.inMilliseconds)] + Self.words(ids)
        words += Self.option("IDLE", idle.map { $0.inMilliseconds }) + Self.option("RETRYCOUNT", deliveries)
        if force { words.append("FORCE") }
        if justIDs { words.append("JUSTID") }
        let reply = try await self.send(RESPCommand(words))
        // Servers before 7 answer null for an entry that is no longer in the stream.
        return try reply.list("XCLAIM") { $0 }.filter { !$0.isNull }.map { value throws(RESPError) in
            try value.streamEntry("XCLAIM")
        }
    }

    /// Takes over whatever has been idle for `minimumIdle`, from `cursor` on. Go on with the claim's cursor until it is
    /// ``StreamID/zero``.
    public func xautoclaim(
        _ stream: String,
        _ group: String,
        consumer: String,
        minimumIdle: Duration,
        from cursor: StreamID = .zero,
        count: Int? = nil,
        justIDs: Bool = false
    ) async throws(RESPError) -> StreamClaim {
        var words = ["XAUTOCLAIM", stream, group, consumer].map { RESPArgument($0) }
        words += [RESPArgument(minimumIdle.inMilliseconds), RESPArgument("\(cursor)")] + Self.option("COUNT", count)
        if justIDs { words.append("JUSTID") }
        let reply = try await self.send(RESPCommand(words))
        guard let parts = reply.elements, parts.count >= 2 else { throw reply.unexpected("XAUTOCLAIM") }
        let entries = try parts[1].list("XAUTOCLAIM") { $0 }.filter { !$0.isNull }
        return StreamClaim(
            cursor: try parts[0].streamID("XAUTOCLAIM"),
            entries: try entries.map { entry throws(RESPError) in try entry.streamEntry("XAUTOCLAIM") },
            deleted: parts.count > 2 ? try parts[2].list("XAUTOCLAIM") { $0.string.flatMap { StreamID($0) } } : []
        )
    }

    // MARK: Information

    public func xinfoStream(_ stream: String) async throws(RESPError) -> StreamInfo {
        let reply = try await self.send(["XINFO", "STREAM", RESPArgument(stream)])
        guard let length = reply["length"]?.integer, let groups = reply["groups"]?.integer,
            let last = reply["last-generated-id"]?.string.flatMap({ StreamID($0) })
        else { throw reply.unexpected("XINFO STREAM") }
        return StreamInfo(
            length: Int(clamping: length),
            groups: Int(clamping: groups),
            lastGeneratedID: last,
            maximumDeletedID: reply["max-deleted-entry-id"]?.string.flatMap { StreamID($0) },
            entriesAdded: reply["entries-added"]?.integer.map { Int(clamping: $0) },
            firstEntry: try? reply["first-entry"]?.streamEntry("XINFO STREAM"),
            lastEntry: try? reply["last-entry"]?.streamEntry("XINFO STREAM")
        )
    }

    public func xinfoGroups(_ stream: String) async throws(RESPError) -> [StreamGroupInfo] {
        try await self.send(["XINFO", "GROUPS", RESPArgument(stream)]).list("XINFO GROUPS") { group in
            guard let name = group["name"]?.string, let consumers = group["consumers"]?.integer,
                let pending = group["pending"]?.integer,
                let last = group["last-delivered-id"]?.string.flatMap({ StreamID($0) })
            else { return nil }
            return StreamGroupInfo(
                name: name,
                consumers: Int(clamping: consumers),
                pending: Int(clamping: pending),
                lastDeliveredID: last,
                entriesRead: group["entries-read"]?.integer.map { Int(clamping: $0) },
                lag: group["lag"]?.integer.map { Int(clamping: $0) }
            )
        }
    }

    public func xinfoConsumers(_ stream: String, _ group: String) async throws(RESPError) -> [StreamConsumerInfo] {
        let reply = try await self.send(["XINFO", "CONSUMERS", RESPArgument(stream), RESPArgument(group)])
        return try reply.list("XINFO CONSUMERS") { consumer in
            guard let name = consumer["name"]?.string, let pending = consumer["pending"]?.integer,
                let idle = consumer["idle"]?.integer
            else { return nil }
            return StreamConsumerInfo(
                name: name,
                pending: Int(clamping: pending),
                idle: .milliseconds(idle),
                inactive: consumer["inactive"]?.integer.flatMap { $0 < 0 ? nil : .milliseconds($0) }
            )
        }
    }

    // MARK: Words

    private static func option(_ name: RESPArgument, _ value: Int?) -> [RESPArgument] {
        value.map { [name, RESPArgument($0)] } ?? []
    }

    private static func words(_ ids: [StreamID]) -> [RESPArgument] { ids.map { RESPArgument("\($0)") } }

    private static func words(_ streams: [(stream: String, position: StreamPosition)]) -> [RESPArgument] {
        ["STREAMS"] + streams.map { RESPArgument($0.stream) } + streams.map(\.position.word)
    }

    private static func milliseconds(_ block: Duration?) -> Int? { block.map { max(1, $0.inMilliseconds) } }
}

extension Duration {
    /// Whole milliseconds, not below zero, saturating.
    var inMilliseconds: Int { Int(clamping: self.nanosecondsClamped / 1_000_000) }
}
