public import ParleyCore

/// When a key is written.
public struct SetCondition: Sendable, Hashable {
    package let words: [RESPArgument]

    /// Only a key that is not there.
    public static let absent = SetCondition(words: ["NX"])
    /// Only a key that is there.
    public static let present = SetCondition(words: ["XX"])
}

/// A member of a sorted set.
public struct ScoredMember: Sendable, Hashable {
    public var member: [UInt8]
    public var score: Double

    public init(_ member: String, _ score: Double) {
        self.member = Array(member.utf8)
        self.score = score
    }

    package init(member: [UInt8], score: Double) {
        self.member = member
        self.score = score
    }

    /// The member, if it is UTF-8.
    public var string: String? { String(validating: self.member, as: UTF8.self) }
}

/// An end of a range of scores.
public struct ScoreBound: Sendable, Hashable {
    package let word: RESPArgument

    public static func including(_ score: Double) -> ScoreBound { ScoreBound(word: RESPArgument(score)) }
    public static func excluding(_ score: Double) -> ScoreBound {
        ScoreBound(word: RESPArgument("(" + RESPArgument(score).text))
    }
    public static let lowest = ScoreBound(word: "-inf")
    public static let highest = ScoreBound(word: "+inf")
}

// MARK: - Strings and keys

extension RESPExecutor {
    /// Asks the server whether it is there, and how long that takes.
    public func ping(deadline: Deadline? = nil) async throws(RESPError) {
        let reply = try await self.send(["PING"], deadline: deadline)
        guard reply.string == "PONG" else { throw reply.unexpected("PING") }
    }

    /// The value's bytes; `nil` when the key is not there.
    public func get(_ key: String) async throws(RESPError) -> [UInt8]? {
        let reply = try await self.send(["GET", RESPArgument(key)])
        if reply.isNull { return nil }
        guard let bytes = reply.bytes else { throw reply.unexpected("GET") }
        return bytes
    }

    /// - Returns: whether it was written: false when the condition did not hold.
    @discardableResult
    public func set(
        _ key: String,
        _ value: RESPArgument,
        expiresAfter life: Duration? = nil,
        when condition: SetCondition? = nil
    ) async throws(RESPError) -> Bool {
        var words: [RESPArgument] = ["SET", RESPArgument(key), value]
        if let life { words += ["PX", RESPArgument(max(1, life.nanosecondsClamped / 1_000_000))] }
        return try await !self.send(RESPCommand(words + (condition?.words ?? []))).isNull
    }

    /// - Returns: how many were there.
    @discardableResult
    public func del(_ keys: String...) async throws(RESPError) -> Int {
        guard !keys.isEmpty else { return 0 }
        return try await self.send(RESPCommand(["DEL"] + keys.map { RESPArgument($0) })).count("DEL")
    }

    public func exists(_ key: String) async throws(RESPError) -> Bool {
        try await self.send(["EXISTS", RESPArgument(key)]).count("EXISTS") > 0
    }

    /// - Returns: the new value.
    @discardableResult
    public func incr(_ key: String, by amount: Int64 = 1) async throws(RESPError) -> Int64 {
        let reply = try await self.send(["INCRBY", RESPArgument(key), RESPArgument(amount)])
        guard let number = reply.integer else { throw reply.unexpected("INCRBY") }
        return number
    }

    /// - Returns: whether the key is there.
    @discardableResult
    public func expire(_ key: String, after life: Duration) async throws(RESPError) -> Bool {
        let milliseconds = RESPArgument(life.nanosecondsClamped / 1_000_000)
        return try await self.send(["PEXPIRE", RESPArgument(key), milliseconds]).count("PEXPIRE") == 1
    }
}

// MARK: - Hashes

extension RESPExecutor {
    /// - Returns: how many fields are new.
    @discardableResult
    public func hset(_ key: String, _ fields: [String: RESPArgument]) async throws(RESPError) -> Int {
        guard !fields.isEmpty else { return 0 }
        // Sorted, so that the same call is the same bytes.
        let words = fields.sorted { $0.key < $1.key }.flatMap { [RESPArgument($0.key), $0.value] }
        return try await self.send(RESPCommand(["HSET", RESPArgument(key)] + words)).count("HSET")
    }

    public func hget(_ key: String, _ field: String) async throws(RESPError) -> [UInt8]? {
        let reply = try await self.send(["HGET", RESPArgument(key), RESPArgument(field)])
        if reply.isNull { return nil }
        guard let bytes = reply.bytes else { throw reply.unexpected("HGET") }
        return bytes
    }

    /// Every field; empty when the key is not there.
    public func hgetall(_ key: String) async throws(RESPError) -> [String: [UInt8]] {
        let reply = try await self.send(["HGETALL", RESPArgument(key)])
        guard let pairs = reply.pairs else { throw reply.unexpected("HGETALL") }
        var fields: [String: [UInt8]] = [:]
        for pair in pairs {
            guard let name = pair.key.string, let value = pair.value.bytes else { throw reply.unexpected("HGETALL") }
            fields[name] = value
        }
        return fields
    }

    /// - Returns: how many were there.
    @discardableResult
    public func hdel(_ key: String, _ fields: String...) async throws(RESPError) -> Int {
        guard !fields.isEmpty else { return 0 }
        let words = ["HDEL", RESPArgument(key)] + fields.map { RESPArgument($0) }
        return try await self.send(RESPCommand(words)).count("HDEL")
    }

    /// - Returns: the new value.
    @discardableResult
    public func hincr(_ key: String, _ field: String, by amount: Int64 = 1) async throws(RESPError) -> Int64 {
        let reply = try await self.send(["HINCRBY", RESPArgument(key), RESPArgument(field), RESPArgument(amount)])
        guard let number = reply.integer else { throw reply.unexpected("HINCRBY") }
        return number
    }
}

// MARK: - Sorted sets

extension RESPExecutor {
    /// - Returns: how many are new.
    @discardableResult
    public func zadd(_ key: String, _ members: [ScoredMember]) async throws(RESPError) -> Int {
        guard !members.isEmpty else { return 0 }
        let words = members.flatMap { [RESPArgument($0.score), RESPArgument($0.member)] }
        return try await self.send(RESPCommand(["ZADD", RESPArgument(key)] + words)).count("ZADD")
    }

    /// - Returns: how many were there.
    @discardableResult
    public func zrem(_ key: String, _ members: String...) async throws(RESPError) -> Int {
        guard !members.isEmpty else { return 0 }
        let words = ["ZREM", RESPArgument(key)] + members.map { RESPArgument($0) }
        return try await self.send(RESPCommand(words)).count("ZREM")
    }

    public func zcard(_ key: String) async throws(RESPError) -> Int {
        try await self.send(["ZCARD", RESPArgument(key)]).count("ZCARD")
    }

    public func zscore(_ key: String, _ member: String) async throws(RESPError) -> Double? {
        let reply = try await self.send(["ZSCORE", RESPArgument(key), RESPArgument(member)])
        if reply.isNull { return nil }
        guard let score = reply.real else { throw reply.unexpected("ZSCORE") }
        return score
    }

    /// Members by score, the lowest first.
    public func zrange(
        _ key: String,
        from lower: ScoreBound = .lowest,
        through upper: ScoreBound = .highest,
        limit: Int? = nil
    ) async throws(RESPError) -> [ScoredMember] {
        var words: [RESPArgument] = ["ZRANGEBYSCORE", RESPArgument(key), lower.word, upper.word, "WITHSCORES"]
        if let limit { words += ["LIMIT", "0", RESPArgument(limit)] }
        return try await self.send(RESPCommand(words)).scoredMembers("ZRANGEBYSCORE")
    }

    /// Removes the members of a range of scores.
    ///
    /// - Returns: how many.
    @discardableResult
    public func zremrange(
        _ key: String,
        from lower: ScoreBound = .lowest,
        through upper: ScoreBound = .highest
    ) async throws(RESPError) -> Int {
        try await self.send(["ZREMRANGEBYSCORE", RESPArgument(key), lower.word, upper.word]).count("ZREMRANGEBYSCORE")
    }
}

extension RESPValue {
    /// Pairs in an array in RESP3, a flat array in RESP2.
    fileprivate func scoredMembers(_ command: String) throws(RESPError) -> [ScoredMember] {
        guard let values = self.elements else { throw self.unexpected(command) }
        let nested = values.first?.elements != nil
        let pairs: [RESPPair]? =
            nested
            ? values.compactMap { value in
                value.elements.flatMap { $0.count == 2 ? RESPPair(key: $0[0], value: $0[1]) : nil }
            } : self.pairs
        guard let pairs, !nested || pairs.count == values.count else { throw self.unexpected(command) }
        var members: [ScoredMember] = []
        for pair in pairs {
            guard let member = pair.key.bytes, let score = pair.value.real else { throw self.unexpected(command) }
            members.append(ScoredMember(member: member, score: score))
        }
        return members
    }
}
