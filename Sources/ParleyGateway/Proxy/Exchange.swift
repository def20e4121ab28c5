internal import NIOCore
internal import ParleyCore

/// One request on its way through the gateway, from its head to the end of its answer. Bound to its event loop.
///
/// The phases are nginx's, in its order: rewrites of the server, location, rewrites of the location, limits, access,
/// content. An exchange is used again for another request once it is over; ``generation`` tells late news of the one
/// before from news of this one.
final class Exchange {
    enum Phase {
        case idle
        case routing
        /// `limit_req` lets it wait.
        case delayed
        /// Credentials are being looked at, or instances looked for, off the loop.
        case authorizing
        /// The body is read before an instance is chosen.
        case collecting
        case connecting
        /// Sent, or being sent, to an instance.
        case waiting
        /// The head of the answer is with the client.
        case answering
        case tunnel
        case done
    }

    /// Held: to look at a reference that is not costs two atomic operations each time. ``GatewayWorker/close()`` lets
    /// go of the exchanges that it keeps.
    let worker: GatewayWorker
    private(set) var generation = 0
    var phase = Phase.idle
    var plan: GatewayPlan
    var connection: ClientConnection?
    var stream: (any ClientStream)?
    var head = RequestHead()
    var started = NIODeadline.now()
    /// When the last of the answer came; `nil` where that is not noted.
    var ended: NIODeadline?
    var host = ByteBuffer()
    /// Whose request it is: of the connection, or whom a trusted proxy names.
    var client = ClientAddress()
    var server: CompiledServer?
    var location: CompiledLocation?
    var rewriteState = RewriteState()
    var requestID: RequestID?
    var identity: AccessIdentity?
    var connectionLease = ConnectionLease()
    /// Whose places the lease holds: an error page may lead elsewhere, and they go back to where they came from.
    var leasedBy: CompiledLocation?
    var isLimited = false

    // The answer.
    var status: UInt16 = 0
    var errorStatus: UInt16 = 0
    var isErrorPage = false
    var flags: ResponseFlags = []
    var why = ""
    var limitState: ExchangeRecord.LimitState?
    var sentFields: FieldBlock?
    var bodyBytesSent = 0
    var bodyBytesReceived = 0
    var isOwnAnswer = true
    var closesAfter = false
    var redirectLocation: ByteBuffer?
    var challenge: [UInt8]?
    var corsFields: [CORSPolicy.Field] = []
    var encoder: GzipEncoder?

    // The upstream.
    var upstream: Upstream?
    var proxyHost = ByteBuffer()
    var tried = PeerSet()
    var triesLeft = 0
    var peer: PeerID?
    var upstreamStream: (any UpstreamStream)?
    var attempts: [AttemptNote] = []
    var heldBody: [ByteBuffer] = []
    var heldBytes = 0
    var isBodyComplete = false
    var bodyTrailers: FieldBlock?
    var isStreamingBody = false
    var wantsClientBody = false
    var upstreamHead: ResponseHead?
    var isUpstreamPaused = false
    var mapDepth = 0
    var holdsCircuit = false
    /// What is wrong, where flags and status do not say it.
    var problem: ProblemCode?
    var hasLookedAgain = false
    /// The instance that the request has named, if it could.
    var askedInstance: String?
    /// When the whole of it has to be over.
    var deadline: NIODeadline?
    private(set) lazy var deadlineTimer = LazyTimer(self.worker.eventLoop) { [unowned self] in self.deadlineReached() }
    /// Its place among the worker's.
    var place = 0
    var holdsRetry = false
    var holdsPending = false
    /// It has an `Idempotency-Key`, and may not happen twice.
    var keyed: KeyedRequest?
    /// Its client has gone, and its work goes on.
    var isAlone = false
    /// Wants to know where the request would go; then it goes nowhere.
    var probe: RouteProbe?
    let timer: LazyTimer

    init(worker: GatewayWorker) {
        self.worker = worker
        self.plan = worker.plan
        self.timer = LazyTimer(worker.eventLoop)
        self.timer.onDeadline = { [unowned self] in self.timeIsUp() }
    }

    var loop: any EventLoop { self.worker.eventLoop }

    /// When it began, for what counts in milliseconds.
    var startedMilliseconds: Int64 { Int64(clamping: self.started.uptimeNanoseconds / 1_000_000) }

    func begin(_ head: RequestHead, stream: any ClientStream, connection: ClientConnection) {
        self.generation &+= 1
        self.plan = self.worker.plan
        self.phase = .routing
        self.started = .now()
        self.head = head
        self.stream = stream
        self.connection = connection
        self.client = connection.client
        self.isBodyComplete = head.framing == .none
        self.worker.began(self)
    }

    /// The answer is complete, or will never be. Nobody is told anything any more.
    func finish() {
        guard self.phase != .done, self.phase != .idle else { return }
        self.phase = .done
        self.timer.clear()
        self.clearDeadline()
        self.leasedBy?.connectionLimiter.give(&self.connectionLease)
        self.giveCircuit()
        self.dropKey()
        self.worker.ended(self)
        self.reset()
        self.worker.takeBack(self)
    }

    private func reset() {
        self.generation &+= 1
        self.phase = .idle
        self.connection = nil
        self.stream = nil
        self.ended = nil
        self.head = RequestHead()
        self.host = ByteBuffer()
        self.server = nil
        self.location = nil
        self.rewriteState = RewriteState()
        self.requestID = nil
        self.identity = nil
        self.connectionLease = ConnectionLease()
        self.leasedBy = nil
        self.holdsRetry = false
        self.isLimited = false
        self.status = 0
        self.errorStatus = 0
        self.isErrorPage = false
        self.flags = []
        self.why = ""
        self.limitState = nil
        self.sentFields = nil
        self.bodyBytesSent = 0
        self.bodyBytesReceived = 0
        self.isOwnAnswer = true
        self.closesAfter = false
        self.redirectLocation = nil
        self.challenge = nil
        self.corsFields.removeAll(keepingCapacity: true)
        self.encoder = nil
        self.upstream = nil
        self.proxyHost = ByteBuffer()
        self.tried = PeerSet()
        self.triesLeft = 0
        self.peer = nil
        self.upstreamStream = nil
        self.attempts.removeAll(keepingCapacity: true)
        self.heldBody.removeAll(keepingCapacity: true)
        self.worker.heldBytes -= self.heldBytes
        self.heldBytes = 0
        self.isBodyComplete = false
        self.bodyTrailers = nil
        self.isStreamingBody = false
        self.wantsClientBody = false
        self.upstreamHead = nil
        self.isUpstreamPaused = false
        self.problem = nil
        self.hasLookedAgain = false
        self.askedInstance = nil
        self.probe = nil
    }

    /// The id under which its story is kept: what was sent along, if anything was.
    var recordedID: String {
        let keepsSent = self.plan.model.errorFormat == .problem || self.location?.proxy.carriesContext ?? false
        if keepsSent, let id = self.clientRequestID { return self.head.block.text(id) }
        return self.requestID?.text ?? self.sentID ?? self.ensureRequestID().text
    }

    /// The client's own `X-Request-ID`.
    var sentID: String? {
        guard let field = self.head.block.first(.xRequestID), !field.value.isEmpty else { return nil }
        return self.head.block.text(field.value)
    }

    func clearDeadline() {
        guard self.deadline != nil else { return }
        self.deadline = nil
        self.deadlineTimer.clear()
    }

    private func timeIsUp() {
        switch self.phase {
        case .delayed: self.limitConnections()
        case .waiting, .answering, .tunnel: self.upstreamTimedOut()
        case .idle, .routing, .authorizing, .collecting, .connecting, .done: break
        }
    }
}

/// What is remembered of one try at an instance, for the log and the story.
struct AttemptNote {
    /// Whose peer it is: an error page may lead to another upstream.
    let upstream: Upstream
    var peer: PeerID
    var began: NIODeadline
    /// The instances as they were when this one was chosen; empty when it went well at once.
    var candidates: [ExchangeRecord.Candidate] = []
    var isReused = false
    var connected: NIODeadline?
    var sent: NIODeadline?
    var firstByte: NIODeadline?
    var ended: NIODeadline?
    var status: UInt16 = 0
    var bytesSent = 0
    var bytesReceived = 0
    var failure: UpstreamFailure?
    var retry: ExchangeRecord.RetryDecision = .notNeeded
}
