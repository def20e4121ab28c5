internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// How often messages of one group have been handed out, where the broker's own marks do not say it.
///
/// The broker only says that it has sent a message before, be it that a handler had it or that it lay in a process's
/// memory. So the first hand-out is not written down, and a message that comes again without a line here counts as
/// handed out once; everything else is written *before* the handler gets the message, into a stream that every process
/// of the group reads.
struct AttemptLedger: Sendable {
    struct Entry: Codable, Sendable {
        /// The copy, see ``MessageCoding/Incoming/copy``.
        var copy: String
        var attempts: Int
        /// Microseconds since 1970.
        var notBefore: Int64?
    }

    private let book: Book
    let journal: Journal<Entry>

    /// Lines older than this many bytes are forgotten: some hundred thousand.
    static let retainedBytes: Int64 = 32 * 1_024 * 1_024

    init(group: String, link: BrokerLink) {
        let book = Book()
        self.book = book
        self.journal = Journal(
            GroupQueues.attempts(of: group),
            link: link,
            retainedBytes: Self.retainedBytes,
            onBeginning: { book.pages.withLock { $0 = Pages() } },
            onEntry: { entry in book.pages.withLock { $0.add(entry) } }
        )
    }

    /// Call ``Journal/sync()`` first, once for as long as no other process can hand out messages of the group.
    func find(_ copy: String) -> Entry? { self.book.pages.withLock { $0.find(copy) } }

    func write(_ entries: [Entry]) async throws {
        try await self.journal.append(entries)
        self.book.pages.withLock { pages in
            for entry in entries { pages.add(entry) }
        }
    }

    private final class Book: Sendable {
        let pages = Mutex(Pages())
    }

    /// The newest entries, at least `size` of them: nobody says when a message is done with.
    private struct Pages {
        static let size = 100_000
        private var current: [String: Entry] = [:]
        private var former: [String: Entry] = [:]

        func find(_ copy: String) -> Entry? { self.current[copy] ?? self.former[copy] }

        mutating func add(_ entry: Entry) {
            if self.current.count >= Self.size {
                self.former = self.current
                self.current = [:]
            }
            self.current[entry.copy] = entry
        }
    }
}
