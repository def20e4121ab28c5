internal import ParleyCore
internal import ParleyRESP
public import ParleySagas

extension RedisSagaStore {
    /// The most sagas that one question to the server is about: it serves nobody else meanwhile.
    static let page = 200

    /// See `SagaStore`. Sagas that move while many are listed are shown as they were when their page was read.
    ///
    /// - Throws: ``SagaError`` with `corrupt` for a saga that cannot be read (it names the key), `RESPError`.
    public func instances(matching query: SagaQuery) async throws -> [SagaInstance] {
        if let ids = try await self.fewIDs(query) {
            var found: [SagaInstance] = []
            for start in stride(from: 0, to: ids.count, by: Self.page) {
                let page = ids[start..<min(ids.count, start + Self.page)]
                // A coordinator asks so for what it may have lost, and must not be kept from it by one that is broken.
                found += try await self.load(Array(page), shelvesBroken: query.owner != nil).filter {
                    query.matches($0)
                }
            }
            found.sort {
                ($0.status == .stuck ? 0 : 1, $0.createdAt, $0.id) < ($1.status == .stuck ? 0 : 1, $1.createdAt, $1.id)
            }
            return Array(found.prefix(query.limit))
        }
        if let status = query.status {
            return try await self.walk(self.keys.status(status), query.limit) { query.matches($0) }
        }
        var found = try await self.walk(self.keys.status(.stuck), query.limit) { query.matches($0) }
        let stuck = Set(found.map(\.id))
        let others = query.type.map { self.keys.type($0) } ?? self.keys.all
        found += try await self.walk(others, query.limit - found.count) {
            $0.status != .stuck && !stuck.contains($0.id) && query.matches($0)
        }
        return found
    }

    /// The candidates of a question that an index answers with few; `nil` for the others.
    private func fewIDs(_ query: SagaQuery) async throws -> [String]? {
        if let id = query.id { return [id] }
        if let key = query.businessKey {
            guard let type = query.type else {
                return try await self.members(self.keys.business(key))
            }
            let id = try await self.client.send(["GET", RESPArgument(self.keys.business(key, of: type))])
            return id.string.map { [$0] } ?? []
        }
        if let owner = query.owner { return try await self.members(self.keys.owned(owner)) }
        return nil
    }

    private func members(_ key: String) async throws -> [String] {
        try await self.client.send(["SMEMBERS", RESPArgument(key)]).elements?.compactMap(\.string) ?? []
    }

    /// Goes through an index by age until it has found `limit`.
    private func walk(
        _ index: String,
        _ limit: Int,
        _ isWanted: (SagaInstance) -> Bool
    ) async throws -> [SagaInstance] {
        var found: [SagaInstance] = []
        // One that moves within the index meanwhile may come by twice.
        var seen: Set<String> = []
        var offset = 0
        while found.count < limit {
            let reply = try await self.client.send([
                "ZRANGE", RESPArgument(index), RESPArgument(offset), RESPArgument(offset + Self.page - 1),
            ])
            let ids = reply.elements?.compactMap(\.string) ?? []
            found += try await self.load(ids.filter { seen.insert($0).inserted }).filter(isWanted)
            guard ids.count == Self.page else { break }
            offset += Self.page
        }
        return Array(found.prefix(limit))
    }

    private func load(_ ids: [String], shelvesBroken: Bool = false) async throws -> [SagaInstance] {
        guard !ids.isEmpty else { return [] }
        let keys = ids.map { self.keys.saga($0) }
        let replies = try await self.client.pipeline(keys.map { ["HGETALL", RESPArgument($0)] })
        var sagas: [SagaInstance] = []
        for (id, reply) in zip(ids, replies) {
            let fields = SagaRecord.fields(try reply.get())
            guard !fields.isEmpty else { continue }
            do {
                sagas.append(try SagaRecord.read(fields, key: self.keys.saga(id)))
            } catch  where shelvesBroken {
                try await self.shelve(id, because: error)
            }
        }
        return sagas
    }

    public func history(of id: String) async throws -> [SagaEvent] {
        let key = self.keys.history(id)
        return try await self.client.xrange(key).map { try SagaRecord.event($0, key: key) }
    }

    public func definition(_ fingerprint: String) async throws -> String? {
        try await self.client.send(["HGET", RESPArgument(self.keys.definitions), RESPArgument(fingerprint)]).string
    }
}

extension SagaQuery {
    fileprivate func matches(_ saga: SagaInstance) -> Bool {
        (self.id == nil || saga.id == self.id) && (self.type == nil || saga.type == self.type)
            && (self.businessKey == nil || saga.businessKey == self.businessKey)
            && (self.status == nil || saga.status == self.status) && (self.owner == nil || saga.owner == self.owner)
    }
}
