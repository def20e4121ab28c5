internal import DequeModule
internal import NIOCore

/// A reply to a request, with its message if there is one.
enum Reply: Sendable {
    case method(AMQPMethod)
    case content(ContentAssembler.Content)
}

/// What the connection knows about one channel of the user, through all the channel numbers it has over time.
final class ChannelState {
    enum Status {
        /// Its connection is not there, or it is being opened (again).
        case recovering
        case ready
        case closed(AMQPError)
    }

    struct Pending {
        var method: AMQPMethod
        var completion: Completion<Reply>
        var deadline: NIODeadline
    }

    struct QueuedPublish {
        var id: UInt64
        var message: OutgoingMessage
        /// The one before it in its batch.
        var former: PublisherConfirm?
        var continuation: CheckedContinuation<PublisherConfirm, any Error>
        var deadline: NIODeadline
    }

    let id: UInt64
    let settings: AMQPChannelSettings
    /// False for the channels that recovery itself opens.
    let recovers: Bool
    var status: Status = .recovering
    var number: UInt16 = 0
    var machine = ChannelMachine()
    var assembler: ContentAssembler
    var ledger = DeliveryLedger(generation: 0)
    var confirms = ConfirmMachine<PublisherConfirm>()
    var pending: [UInt64: Pending] = [:]
    var queued: Deque<QueuedPublish> = []
    /// Publishes of a lost connection that go out again first.
    var resend: Deque<PublisherConfirm> = []
    var consumers: [String: ConsumerState] = [:] {
        didSet { self.smallestPrefetch = Int(self.consumers.values.map(\.prefetch).min() ?? 1) }
    }
    private(set) var smallestPrefetch = 1
    var prefetch: UInt16
    /// Acknowledgements and publishes since the flush of that number: what the broker does not know yet.
    var settledSince: (flush: UInt64, count: Int) = (0, 0)
    var sentSince: (flush: UInt64, count: Int) = (0, 0)
    var inTransaction = false
    var flowing = true
    /// Waits until the channel is usable again.
    var readyWaiters: [ConnectionState.Waiter] = []
    /// Handed out with deliveries.
    weak var handle: AMQPChannel?

    init(id: UInt64, settings: AMQPChannelSettings, recovers: Bool, maximumMessageBytes: Int) {
        self.id = id
        self.settings = settings
        self.recovers = recovers
        self.prefetch = max(1, settings.prefetch)
        self.assembler = ContentAssembler(maximumBytes: maximumMessageBytes)
    }

    /// A fresh number on a connection: all that counts from 1 counts from 1 again.
    func restart(number: UInt16, maximumMessageBytes: Int) {
        self.number = number
        self.machine = ChannelMachine()
        self.assembler = ContentAssembler(maximumBytes: maximumMessageBytes)
        self.ledger = DeliveryLedger(generation: self.ledger.generation + 1)
        self.flowing = true
        self.status = .recovering
    }
}
