internal import Synchronization

/// A `Mutex` that closures of several tasks can share.
package final class Guarded<Value: Sendable>: Sendable {
    private let value: Mutex<Value>

    package init(_ value: Value) {
        self.value = Mutex(value)
    }

    package func withLock<Result: Sendable>(_ body: @Sendable (inout Value) throws -> Result) rethrows -> Result {
        try self.value.withLock { try body(&$0) }
    }

    package var current: Value { self.value.withLock { $0 } }
}
