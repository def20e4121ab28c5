/// Which sagas have changed, in the order in which their steps were committed: for what shows sagas elsewhere.
///
/// Rules:
/// - A commit that adds a line to a saga's history appears after those that were made before it, and nothing ever
///   appears before a position that was handed out. What adds no line (a claim, a further try) appears with the next.
/// - A position survives the process, and means nothing to another store.
public protocol SagaFeed: Sendable {
    /// The sagas whose histories have grown since `position`, as they are now, each once.
    ///
    /// - Parameters:
    ///   - position: Of an earlier answer. `nil`, and one that this store has not given (the file was replaced by
    ///     another, or by an older copy), is the beginning.
    ///   - ids: Sagas that are given in any case, if they exist.
    ///   - limit: At most so many lines of history are looked at; 1 to 1,000.
    func changes(after position: String?, including ids: [String], limit: Int) async throws -> SagaChanges
}

/// A piece of a ``SagaFeed``.
public struct SagaChanges: Sendable, Hashable {
    public var instances: [SagaInstance]
    /// Where to go on; `nil` when there is no history at all.
    public var position: String?
    /// Whether there was nothing more at that moment.
    public var isEnd: Bool

    public init(instances: [SagaInstance], position: String?, isEnd: Bool) {
        self.instances = instances
        self.position = position
        self.isEnd = isEnd
    }
}
