package import ParleyCore
internal import Synchronization

/// The `Date` header, written once a second instead of once an answer.
package final class DateHeader: Sendable {
    private let cached = Mutex<(second: Int64, text: String)>((-1, ""))
    private let time: any TimeSource

    package init(time: any TimeSource) {
        self.time = time
    }

    package var text: String {
        let now = self.time.wallTime
        let second = now.milliseconds / 1_000
        return self.cached.withLock { cached in
            if cached.second != second { cached = (second, HTTPDate.text(now)) }
            return cached.text
        }
    }
}
