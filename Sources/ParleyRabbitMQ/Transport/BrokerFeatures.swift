internal import ParleyAMQP

/// What a broker can do, from its version: an old one accepts arguments that it does not know and does nothing, so a
/// declaration that succeeds proves nothing.
public struct BrokerFeatures: Sendable, Hashable {
    /// Major and minor version; `nil` when the broker does not say.
    public let version: Version?

    public struct Version: Sendable, Hashable, Comparable, CustomStringConvertible {
        public let major: Int
        public let minor: Int

        public init(_ major: Int, _ minor: Int) {
            self.major = major
            self.minor = minor
        }

        public static func < (lhs: Version, rhs: Version) -> Bool {
            (lhs.major, lhs.minor) < (rhs.major, rhs.minor)
        }

        public var description: String { "\(self.major).\(self.minor)" }
    }

    init(serverProperties: AMQPTable) { self.init(version: serverProperties["version"]?.string ?? "") }

    init(version text: String) {
        let numbers = text.split(separator: ".").prefix(2).compactMap { Int($0) }
        self.version = numbers.count == 2 ? Version(numbers[0], numbers[1]) : nil
    }

    /// Streams (3.9), which keep the counts of deliveries. Without them there is no bus.
    public var hasStreams: Bool { self.isAtLeast(3, 9) }
    /// Quorum queues that delay what is given back (4.3). It grows with the count and is the same for all messages of
    /// a queue, so it cannot carry a delay that a handler asks for; see decision 0006.
    public var hasDelayedRetry: Bool { self.isAtLeast(4, 3) }

    private func isAtLeast(_ major: Int, _ minor: Int) -> Bool {
        self.version.map { $0 >= Version(major, minor) } ?? false
    }
}
