internal import ParleyCore
internal import ParleyDiscovery

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// `/v1/kv/…`: the key-value store, without sessions and locks.
extension RegistryAPI {
    func addKVRoutes(to routes: inout RouteTable) {
        routes.add(
            "/v1/kv/",
            ["GET": self.readKey, "PUT": self.writeKey, "DELETE": self.deleteKey],
            maximumBodyBytes: self.limits.maximumValueBytes
        )
    }

    @Sendable
    private func readKey(_ call: Call) async throws -> APIAnswer {
        let key = call.request.rest
        if call.query.has("keys") { return try await self.listKeys(call, prefix: key) }
        if call.query.has("recurse") {
            return try await self.entries(call, about: .kvPrefix(key)) { $0.entries(prefix: key) }
        }
        guard !key.isEmpty else { throw APIError(400, "Missing key name") }
        return try await self.entries(call, about: .kv(key)) { machine in machine.kv[key].map { [$0] } ?? [] }
    }

    private func entries(
        _ call: Call,
        about topic: RegistryStateMachine.Topic,
        _ read: @Sendable (borrowing RegistryStateMachine) -> [KVRecord]
    ) async throws -> APIAnswer {
        let options = try call.options(self)
        let (index, records) = try await self.engine.answer(
            about: topic,
            patience: options.patience,
            onWaiting: call.onWaiting,
            read
        )
        var answer = APIAnswer(status: 404)
        if let first = records.first {
            answer = APIAnswer(body: .bytes(first.value))
            if !call.query.has("raw") { answer = try self.json(records.map(Self.wire), options) }
        }
        answer.headers += Self.indexHeaders(index, consistency: nil)
        return answer
    }

    private static func wire(_ record: KVRecord) -> ConsulKVEntry {
        var entry = ConsulKVEntry(key: record.key)
        entry.lockIndex = record.lockIndex
        entry.flags = record.flags
        entry.value = record.value.isEmpty ? nil : Data(record.value).base64EncodedString()
        entry.session = record.session
        entry.createIndex = record.createIndex
        entry.modifyIndex = record.modifyIndex
        return entry
    }

    /// `?keys`: the keys alone; with a separator, what follows it is left out.
    private func listKeys(_ call: Call, prefix: String) async throws -> APIAnswer {
        let options = try call.options(self)
        let separator = call.query["separator"] ?? ""
        let (index, keys) = try await self.engine.answer(
            about: .kvPrefix(prefix),
            patience: options.patience,
            onWaiting: call.onWaiting
        ) { machine in
            Self.folded(machine.entries(prefix: prefix).map(\.key), prefix: prefix, separator: separator)
        }
        var answer = keys.isEmpty ? APIAnswer(status: 404) : try self.json(keys, options)
        answer.headers += Self.indexHeaders(index, consistency: nil)
        return answer
    }

    private static func folded(_ keys: [String], prefix: String, separator: String) -> [String] {
        guard !separator.isEmpty else { return keys }
        var folded: [String] = []
        for key in keys {
            let rest = key.dropFirst(prefix.count)
            let name = rest.firstRange(of: separator).map { prefix + rest[..<$0.upperBound] } ?? key
            if folded.last != name { folded.append(name) }
        }
        return folded
    }

    private static func condition(_ query: QueryItems) throws(APIError) -> RegistryStateMachine.KVCondition {
        guard let text = query["cas"] else { return .always }
        guard let index = UInt64(text) else { throw APIError(400, "Invalid cas") }
        return .index(index)
    }

    private static func refuseSessions(_ query: QueryItems) throws(APIError) {
        guard query.has("acquire") || query.has("release") else { return }
        throw APIError(400, "This registry has no sessions: use ?cas instead of ?acquire and ?release")
    }

    @Sendable
    private func writeKey(_ call: Call) async throws -> APIAnswer {
        let key = call.request.rest
        guard !key.isEmpty else { throw APIError(400, "Missing key name") }
        try Self.refuseSessions(call.query)
        let condition = try Self.condition(call.query)
        var flags: UInt64 = 0
        if let text = call.query["flags"] {
            guard let number = UInt64(text) else { throw APIError(400, "Invalid flags") }
            flags = number
        }
        let value = call.request.body
        let isDone = try await self.engine.durableChange { [flags] machine throws(RegistryStateMachine.Refusal) in
            let effects = try machine.put(key, value: value, flags: flags, condition: condition)
            return (effects ?? RegistryStateMachine.Effects(), effects != nil)
        }
        return try self.json(isDone, call.options(self))
    }

    @Sendable
    private func deleteKey(_ call: Call) async throws -> APIAnswer {
        let key = call.request.rest
        let isRecursive = call.query.has("recurse")
        guard !key.isEmpty || isRecursive else { throw APIError(400, "Missing key name") }
        let condition = try Self.condition(call.query)
        if case .index = condition, isRecursive {
            throw APIError(400, "Conflicting flags: cas and recurse cannot be used together")
        }
        let isDone = try await self.engine.durableChange { machine in
            if isRecursive { return (machine.deleteAll(prefix: key), true) }
            let effects = machine.delete(key, condition: condition)
            return (effects ?? RegistryStateMachine.Effects(), effects != nil)
        }
        return try self.json(isDone, call.options(self))
    }
}
