public import ParleyCore

/// Remembers which messages a consumer has handled, in the consumer's own database, so that a message that is delivered
/// twice has its effect once.
///
/// ```swift
/// try await backend.withTransaction { tx in
///     guard try backend.inbox.admit(delivery.message.id, to: "billing", in: tx) else { return }  // seen before
///     try tx.execute("UPDATE …")
/// }
/// ```
/// The id and the effect commit together: after a crash between the two there is neither.
public protocol Inbox: Sendable {
    /// Records that `consumer` handles this message; `false` when it has done so before.
    func admit(_ messageID: String, to consumer: String, in transaction: any Transaction) throws -> Bool

    /// Forgets messages of `consumer` that are both older than `window`, *measured from the newest message it
    /// admitted*, and not among the newest `keep`; says how many.
    ///
    /// It is the consumer's progress that counts, not the calendar: after a long outage the first thing a broker does
    /// is to redeliver, and just then nothing may have been forgotten.
    func purge(consumer: String, window: Duration, keep: Int) async throws -> Int
}
