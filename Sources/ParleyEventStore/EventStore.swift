/// Where events live: streams that are only ever added to, in one order of all of them. What `EventStoreConformance` in
/// ParleyTestKit proves of every backend.
///
/// Rules of every store:
/// - An append is all or nothing, and what has returned is as durable as the backend's settings promise.
/// - Versions have no gaps within a stream. Positions have none within the store and follow the order of the commits:
///   a reader that has seen a position will never find a new event at or before it. Nothing can be skipped.
/// - A cancelled call may have been carried out all the same.
///
/// Any number of handles, in any number of processes, may use one store where the backend can be shared.
public protocol EventStore: Sendable {
    var limits: EventStoreLimits { get }

    /// Adds the events to the end of the stream, side by side, if it is as expected.
    ///
    /// Idempotent with every ``ExpectedVersion``: when the stream holds all the ids already, in this order and side by
    /// side, nothing is added and the answer is where they are, whatever was expected. So a caller that does not know
    /// the outcome (a lost reply, a crash) appends the same events again. Only ids are compared, contents are not.
    ///
    /// - Throws: ``EventStoreError``: `wrongVersion` when the stream is not as expected, `partialOverlap` when some of
    ///   the ids are there and some are not, or stand elsewhere, `invalidEvent` and `tooLarge` (nothing was stored in
    ///   these cases), or `unavailable`, whose `retry` says whether it may have been stored.
    func append(
        _ events: [EventData],
        to stream: StreamName,
        expecting expected: ExpectedVersion
    ) async throws -> AppendResult

    /// The events of one stream from a version on, in order; empty behind its end and for a stream that is not there.
    ///
    /// A page may be shorter than `limit` because its bytes are bounded, too: only an empty one means the end.
    ///
    /// - Parameters:
    ///   - version: The first that is wanted; 1 is the stream's first event.
    ///   - limit: 1 to ``EventStoreLimits/maximumPage``.
    func read(_ stream: StreamName, from version: Int64, limit: Int) async throws -> [RecordedEvent]

    /// The events of all streams behind `position`, in the order of their positions. Pages are as for
    /// ``read(_:from:limit:)``.
    func readAll(after position: GlobalPosition, limit: Int) async throws -> [RecordedEvent]

    /// The version of the stream: the number of its events, 0 when it does not exist.
    func version(of stream: StreamName) async throws -> Int64

    /// The position of the newest event: where to begin for "from now on".
    func head() async throws -> GlobalPosition

    /// Suspends until there is an event behind `position`, or `instant` has come.
    ///
    /// It may return early, and is never late by more than a second, also when another process appends. It asks for
    /// the position, so an event that came before the call is not missed.
    ///
    /// - Throws: `CancellationError`, or ``EventStoreError``.
    func waitForEvents(after position: GlobalPosition, until instant: ContinuousClock.Instant?) async throws
}

extension EventStore {
    /// All events behind `position`, those that are there and those that will come: see ``EventSubscription``.
    ///
    /// - Parameter page: How many events are read at a time, and held in memory at most; 1 to
    ///   ``EventStoreLimits/maximumPage``.
    public func subscribe(after position: GlobalPosition, page: Int = 500) -> EventSubscription {
        EventSubscription(store: self, after: position, page: page)
    }
}
