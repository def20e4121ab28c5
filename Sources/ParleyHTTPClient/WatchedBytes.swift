internal import Synchronization

/// Whether a request may have reached the wire.
final class BeginMark: Sendable {
    private let flag = Mutex(false)

    var isSet: Bool { self.flag.withLock { $0 } }

    func set() { self.flag.withLock { $0 = true } }
}

/// A request body that marks when it is first read. The HTTP client reads it right after it has written the head, so a
/// body nobody has read belongs to a request of which nothing was sent: the difference between "try again" and "it may
/// have been done".
struct WatchedBytes: Collection, Sendable {
    /// Larger bodies are read by the library from a task of its own, some time after the head: for them, unread would
    /// prove nothing.
    static let maxCount = 1_048_576

    let bytes: [UInt8]
    let mark: BeginMark

    var startIndex: Int { 0 }
    var endIndex: Int { self.bytes.count }

    func index(after index: Int) -> Int { index + 1 }

    subscript(position: Int) -> UInt8 {
        self.mark.set()
        return self.bytes[position]
    }

    func withContiguousStorageIfAvailable<Result>(
        _ body: (UnsafeBufferPointer<UInt8>) throws -> Result
    ) rethrows -> Result? {
        self.mark.set()
        return try self.bytes.withContiguousStorageIfAvailable(body)
    }
}
