internal import Synchronization

/// How often the write connection waits a millisecond for another connection before SQLite reports it busy.
///
/// SQLite's own handler waits 1, 2, 5 … 100 ms, so that a newcomer that looks every millisecond always overtakes it; a
/// constant wait is fair.
final class BusyBudget: Sendable {
    let normalLimit: Int
    private let current: Atomic<Int>

    init(_ limit: Duration) {
        self.normalLimit =
            Int(clamping: limit.components.seconds) * 1_000
            + Int(limit.components.attoseconds / 1_000_000_000_000_000)
        self.current = Atomic(self.normalLimit)
    }

    var limit: Int {
        get { self.current.load(ordering: .relaxed) }
        set { self.current.store(newValue, ordering: .relaxed) }
    }

    func wait(_ tries: Int) -> Bool {
        guard tries < self.limit else { return false }
        pauseThread(.milliseconds(1))
        return true
    }
}
