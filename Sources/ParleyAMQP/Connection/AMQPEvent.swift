/// Something that happened to a connection beside the calls on it.
public struct AMQPEvent: Sendable, CustomStringConvertible {
    public struct Kind: Hashable, Sendable, CustomStringConvertible {
        private enum Name: String {
            case connected, disconnected, recovered, blocked, unblocked, channelClosed, consumerCancelled
            case consumerResubscribed, secretRenewed, secretFailed
            case topologyFailed, queueRenamed, returned
        }

        private let name: Name
        public var description: String { self.name.rawValue }

        /// A connection is open, for the first time or again; recovery follows.
        public static let connected = Kind(name: .connected)
        /// The connection is gone, or a try to make one failed; see ``AMQPEvent/error``.
        public static let disconnected = Kind(name: .disconnected)
        /// Channels, topology and consumers are as they were before.
        public static let recovered = Kind(name: .recovered)
        /// The broker blocks publishers; ``AMQPEvent/detail`` is its reason.
        public static let blocked = Kind(name: .blocked)
        public static let unblocked = Kind(name: .unblocked)
        /// The broker closed one channel; the others go on.
        public static let channelClosed = Kind(name: .channelClosed)
        /// The broker cancelled the consumer ``AMQPEvent/detail``, or refused it on recovery.
        public static let consumerCancelled = Kind(name: .consumerCancelled)
        /// The consumer ``AMQPEvent/detail``, which the broker had cancelled, has been started again.
        public static let consumerResubscribed = Kind(name: .consumerResubscribed)
        /// The broker has taken the credentials provider's next secret.
        public static let secretRenewed = Kind(name: .secretRenewed)
        /// The next secret could not be had or handed over; it is tried again.
        public static let secretFailed = Kind(name: .secretFailed)
        /// ``AMQPEvent/detail`` could not be declared again on recovery and was skipped.
        public static let topologyFailed = Kind(name: .topologyFailed)
        /// A queue that the broker had named has another name since recovery: `old → new`.
        public static let queueRenamed = Kind(name: .queueRenamed)
        /// A mandatory message came back on a channel without confirms.
        public static let returned = Kind(name: .returned)
    }

    public var kind: Kind
    public var detail = ""
    public var error: AMQPError?

    public var description: String {
        "\(self.kind) \(self.detail)" + (self.error.map { " \($0)" } ?? "")
    }
}
