/// What an append does to a stream, as a function of what the stream holds: the rule that all stores share.
package enum AppendDecision: Sendable, Hashable {
    /// The events become `firstVersion` and following.
    case append(firstVersion: Int64)
    /// They are there, from this version on.
    case repetition(firstVersion: Int64)

    /// - Parameters:
    ///   - known: The versions of those of the append's ids that the stream holds.
    ///   - current: The version of the stream.
    /// - Throws: ``EventStoreError`` with `wrongVersion` or `partialOverlap`.
    package static func decide(
        _ events: [EventData],
        to stream: StreamName,
        expecting expected: ExpectedVersion,
        known: [String: Int64],
        current: Int64
    ) throws(EventStoreError) -> AppendDecision {
        // Ids before versions: a repetition finds the stream further on than its first try did.
        guard known.isEmpty else {
            guard let first = events.first.flatMap({ known[$0.id] }) else {
                throw .partialOverlap(stream, current: current)
            }
            for (index, event) in events.enumerated() where known[event.id] != first + Int64(index) {
                throw .partialOverlap(stream, current: current)
            }
            return .repetition(firstVersion: first)
        }
        guard expected.isMet(by: current) else {
            throw .wrongVersion(stream, expected: expected, current: current)
        }
        return .append(firstVersion: current + 1)
    }
}
