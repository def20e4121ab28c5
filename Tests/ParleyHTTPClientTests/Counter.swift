internal import Synchronization

final class Counter: Sendable {
    private let value = Mutex(0)

    /// 1, 2, 3…
    func next() -> Int {
        self.value.withLock { value in
            value += 1
            return value
        }
    }
}
