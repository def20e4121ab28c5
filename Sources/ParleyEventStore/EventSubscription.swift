/// Every committed event behind a position, once each and in order, without an end.
///
/// ```swift
/// for try await event in store.subscribe(after: checkpoint) {
///     try await backend.withTransaction { tx in
///         try project(event, in: tx)
///         try saveCheckpoint(event.position, in: tx)
///     }
/// }
/// ```
/// The subscriber keeps its position itself, best in the transaction of what it does with the event: then each event
/// has its effect exactly once. A subscription is only a way of reading: it holds nothing in the store and no task, and
/// reads as fast as it is asked, one page at a time.
///
/// When the store fails, `next()` throws; asking the same iterator again goes on behind the last event that it gave. A
/// cancelled task gets `CancellationError`.
public struct EventSubscription: AsyncSequence, Sendable {
    public typealias Element = RecordedEvent

    private let store: any EventStore
    private let position: GlobalPosition
    private let page: Int

    init(store: any EventStore, after position: GlobalPosition, page: Int) {
        self.store = store
        self.position = position
        self.page = Swift.min(EventStoreLimits.maximumPage, Swift.max(1, page))
    }

    public func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(store: self.store, position: self.position, limit: self.page)
    }

    public struct AsyncIterator: AsyncIteratorProtocol {
        private let store: any EventStore
        private let limit: Int
        /// The last event that was given.
        public private(set) var position: GlobalPosition
        private var events: ArraySlice<RecordedEvent> = []

        init(store: any EventStore, position: GlobalPosition, limit: Int) {
            self.store = store
            self.position = position
            self.limit = limit
        }

        /// Never `nil`.
        public mutating func next() async throws -> RecordedEvent? {
            while self.events.isEmpty {
                try Task.checkCancellation()
                self.events = try await self.store.readAll(after: self.position, limit: self.limit)[...]
                if self.events.isEmpty { try await self.store.waitForEvents(after: self.position, until: nil) }
            }
            let event = self.events.removeFirst()
            guard event.position > self.position else {
                self.events = []
                throw EventStoreError(
                    .corrupt,
                    stream: event.stream,
                    "the store gave position \(event.position) after \(self.position); its order is damaged"
                )
            }
            self.position = event.position
            return event
        }
    }
}
