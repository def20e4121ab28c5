internal import ParleyCore
internal import ParleyDiscovery

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

// The key-value store. Keys are paths without a leading slash: `shop/limits/orders`.
extension ConsulClient {
    /// What is stored at `key`; `nil` when there is nothing.
    public func value(at key: String) async throws -> Consul.KeyValue? {
        try await self.entries(self.path(key)).first
    }

    /// Everything whose key begins with `prefix`, by key.
    public func values(below prefix: String) async throws -> [Consul.KeyValue] {
        try await self.entries(self.path(prefix).adding("recurse"))
    }

    /// The keys that begin with `prefix`.
    ///
    /// - Parameter separator: Cuts keys behind its first occurrence after the prefix, as a folder's listing does.
    public func keys(below prefix: String, separator: String? = nil) async throws -> [String] {
        var path = self.path(prefix).adding("keys")
        if let separator { path.add("separator", separator) }
        do {
            return try await self.get(path, as: [String].self)
        } catch let error as ConsulError where error.code == .notFound {
            return []
        }
    }

    /// Stores a value of at most 512 KiB.
    ///
    /// - Parameter ifIndex: Only when the entry is still the one with this ``Consul/KeyValue/modifyIndex``; 0 only when
    ///   there is none.
    /// - Returns: Whether it was stored; always `true` without `ifIndex`.
    @discardableResult
    public func set(
        _ value: [UInt8],
        at key: String,
        flags: UInt64 = 0,
        ifIndex: UInt64? = nil
    ) async throws -> Bool {
        var path = self.path(key)
        if flags != 0 { path.add("flags", "\(flags)") }
        if let ifIndex { path.add("cas", "\(ifIndex)") }
        return try await self.decide("PUT", path, body: value)
    }

    /// Removes an entry. Not being there is as good.
    ///
    /// - Parameter ifIndex: Only when the entry is still the one with this ``Consul/KeyValue/modifyIndex``.
    /// - Returns: Whether it is gone; always `true` without `ifIndex`.
    @discardableResult
    public func delete(_ key: String, ifIndex: UInt64? = nil) async throws -> Bool {
        var path = self.path(key)
        if let ifIndex { path.add("cas", "\(ifIndex)") }
        return try await self.decide("DELETE", path)
    }

    /// Removes everything whose key begins with `prefix`.
    public func deleteAll(below prefix: String) async throws {
        _ = try await self.decide("DELETE", self.path(prefix).adding("recurse"))
    }

    private func path(_ key: String) -> ConsulPath {
        let path = ConsulPath("kv", key)
        return self.configuration.datacenter.map { path.adding("dc", $0) } ?? path
    }

    private func entries(_ path: ConsulPath) async throws -> [Consul.KeyValue] {
        do {
            return try await self.get(path, as: [ConsulKVEntry].self).map { entry in
                guard let bytes = Data(base64Encoded: entry.value ?? "") else {
                    throw self.notConsul(self.what("GET", path), Array((entry.value ?? "").utf8))
                }
                return Consul.KeyValue(
                    key: entry.key,
                    value: Array(bytes),
                    flags: entry.flags,
                    session: entry.session,
                    createIndex: entry.createIndex,
                    modifyIndex: entry.modifyIndex
                )
            }
        } catch let error as ConsulError where error.code == .notFound {
            return []
        }
    }
}
