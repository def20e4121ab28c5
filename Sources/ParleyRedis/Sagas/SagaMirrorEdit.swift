internal import ParleySagas

/// Somebody has changed the hash in which a ``RedisSagaMirror`` shows a saga. The saga itself knows nothing of it.
public struct SagaMirrorEdit: Sendable, Hashable {
    /// The saga's id.
    public var saga: String
    /// The hash: `saga:order:123`.
    public var key: String
    /// What is there: `hash`, or what else.
    public var content: String
    /// By field: what the mirror wrote last, and what is there now.
    public var changes: [SagaEdit.Change]
    /// The state that the hash showed when it was edited; `nil` when what is there was never the mirror's.
    public var shownState: String?
    /// What the hash holds; empty when it cannot be taken.
    let fields: [String: [UInt8]]

    /// The state that the person wants.
    ///
    /// - Throws: ``SagaError`` with `notAllowed` when the edit says something else; nothing was done.
    public func wantedState() throws -> String {
        let others = self.changes.map(\.field).filter { $0 != "state" }
        guard self.content == "hash", self.shownState != nil, others.isEmpty,
            let state = self.changes.first?.edited
        else {
            let what = others.isEmpty ? "is a \(self.content) without a state" : others.joined(separator: ", ")
            throw SagaError(
                .notAllowed,
                "only a state can be set in '\(self.key)', and the edit is about something else (\(what)); put that "
                    + "back, or delete the key: it is written anew"
            )
        }
        return state
    }
}
