internal import ParleyCore
internal import ParleyDiscovery

/// What every question may carry: how long it waits for news, how fresh the answer must be, and what it leaves out.
struct ReadOptions: Sendable {
    var patience = RegistryEngine.Patience()
    var consistency = "leader"
    var filter: BooleanExpression?
    var isPretty = false

    /// - Parameter chance: in 0..<1; up to a sixteenth is added to the wait, so that a crowd does not come back
    ///   together.
    init(
        _ query: QueryItems,
        datacenter: String,
        maximumFilterBytes: Int,
        chance: Double
    ) throws(APIError) {
        self.isPretty = query.has("pretty")
        if query.has("stale"), query.has("consistent") {
            throw APIError(400, "Cannot specify ?stale with ?consistent, conflicting semantics.")
        }
        if query.has("stale") { self.consistency = "stale" }
        if query.has("consistent") { self.consistency = "consistent" }
        if let text = query["index"], !text.isEmpty {
            guard let index = UInt64(text), text.utf8.allSatisfy({ (48...57).contains($0) }) else {
                throw APIError(400, "Invalid index")
            }
            self.patience.index = index
        }
        if let text = query["wait"], !text.isEmpty {
            guard let wait = try? GoDuration.parse(text) else { throw APIError(400, "Invalid wait time") }
            self.patience.wait = wait > .zero ? wait : RegistryEngine.Patience.defaultWait
        }
        let wait = min(self.patience.wait, RegistryEngine.Patience.maximumWait)
        self.patience.wait = wait + wait / 16 * chance
        if let wanted = query["dc"], !wanted.isEmpty, wanted.lowercased() != datacenter.lowercased() {
            throw APIError(500, "No path to datacenter")
        }
        if let text = query["filter"], !text.isEmpty {
            guard text.utf8.count <= maximumFilterBytes else {
                throw APIError(400, "The filter is longer than \(maximumFilterBytes) bytes")
            }
            do throws(BooleanExpression.Fault) { self.filter = try BooleanExpression(text) } catch {
                throw APIError(500, "Failed to create boolean expression evaluator: \(error.message)")
            }
        }
    }
}
