internal import ParleyCore
internal import Synchronization

/// A gate that a test opens.
public final class Gate: Sendable {
    private let isOpen = Mutex(false)
    private let signal = Signal()

    public init() {}

    public func open() {
        self.isOpen.withLock { $0 = true }
        self.signal.ring()
    }

    public func wait() async throws {
        while true {
            let generation = self.signal.generation
            if self.isOpen.withLock({ $0 }) { return }
            await self.signal.wait(after: generation, until: nil, on: SystemTimeSource())
            try Task.checkCancellation()
        }
    }
}
