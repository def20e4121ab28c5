internal import DequeModule
internal import NIOCore

/// One connection of HTTP/2 (RFC 9113) without its socket: bytes go in, events and bytes come out.
///
/// The owner hands over what it read (``receive(_:)``), asks for events until there are none (``next(now:)``), and
/// takes what is to be written (``takeOutput()``). Calls in between are allowed: nothing is told from within a call.
///
/// What a peer can make this hold is bounded: bodies by the windows, heads by their limits times the streams, output by
/// ``HTTP2Configuration/outputLimit`` and the owner who stops reading (``isBackedUp``).
struct HTTP2Connection: ~Copyable {
    enum Role: Sendable {
        case server
        /// `isSecure`: what `:scheme` says.
        case client(isSecure: Bool)
    }

    let role: Role
    let configuration: HTTP2Configuration

    // MARK: Reading

    var input = ByteBuffer()
    var decoder: HPACKDecoder
    /// The part of the client's preface that has not come yet.
    var prefaceLeft: Int
    var hasPeerSettings = false
    /// The DATA frame in whose middle we are: its bytes are passed on as they come.
    var data: DataFrame?
    /// The head whose CONTINUATION frames we await.
    var head: PartialHead?
    /// How large the last head was, for the next one's buffer.
    var headCapacity = 256
    var fieldCapacity = 8
    var flood: HTTP2FloodGuard

    // MARK: Writing

    var output = HTTP2Output()
    var encoder = HPACKEncoder()
    /// Whether the socket takes more. Bodies wait while it does not.
    var canWrite = true
    /// Streams with a body to send and a window for it, in turn.
    var ready = Deque<HTTP2StreamHandle>()

    // MARK: Both

    var events = Deque<HTTP2Event>()
    var slots: [HTTP2StreamState] = []
    var freeSlots: [Int32] = []
    /// Free as soon as all that was told about their streams has been taken: the owner may keep by slot what it knows.
    var releasedSlots: [Int32] = []
    /// What the generation of a new slot begins with: none that was ever in use.
    var generations: UInt32 = 0
    var table = HTTP2StreamTable()
    /// Streams that have not ended, with those that the client has opened without writing a head.
    var liveStreams = 0
    /// Server: those among them that are answered and whose client has not ended.
    var lingeringStreams = 0
    /// Streams ever opened.
    var requestCount = 0
    var sendWindow = HTTP2Window.initial
    var receiveWindow: Int
    /// Handed out or thrown away, and not yet given back to the connection's window.
    var uncredited = 0
    var peerInitialWindow = HTTP2Window.initial
    /// `nil`: the peer has not said.
    var peerMaximumStreams: Int?
    /// Our SETTINGS have been acknowledged: from here on the peer has no reason to use others.
    var areSettingsAcknowledged = false
    /// Server: the highest stream that the client has opened, and the highest that was not ignored for our going.
    var lastPeerStream: UInt32 = 0
    var lastTakenStream: UInt32 = 0
    /// Client: the identifier of its next stream.
    var nextIdentifier: UInt32 = 1
    /// Streams that we have reset: what was under way is no fault.
    var recentResets = HTTP2RecentStreams()
    var drain = Drain.none
    var isPeerGoing = false
    var failure: HTTP2Error?

    enum Drain: UInt8, Sendable {
        case none
        /// We have said that we will go, and still take what is under way.
        case announced
        /// Streams above the last one that we named are not taken.
        case final
    }

    struct DataFrame: Sendable {
        /// `nil`: thrown away.
        var stream: HTTP2StreamHandle?
        var left: Int
        var padding: Int
        var isEnd: Bool
    }

    struct PartialHead: Sendable {
        var stream: UInt32
        var isEnd: Bool
        var block: ByteBuffer
        var continuations: Int
    }

    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    private static let tableSize = 4096

    init(_ role: Role, configuration: HTTP2Configuration = HTTP2Configuration()) {
        self.role = role
        var configuration = configuration
        if case .client = role { configuration.fields.names = .answers }
        self.configuration = configuration
        self.decoder = HPACKDecoder(tableSize: Self.tableSize)
        self.flood = HTTP2FloodGuard(configuration)
        self.receiveWindow = max(configuration.connectionWindow, HTTP2Window.initial)
        switch role {
        case .server: self.prefaceLeft = Self.preface.count
        case .client: self.prefaceLeft = 0
        }
        self.start()
    }

    var isServer: Bool {
        if case .server = self.role { return true }
        return false
    }

    private mutating func start() {
        let window = (HTTP2SettingKind.initialWindowSize, UInt32(clamping: self.streamWindow))
        let list = (HTTP2SettingKind.maxHeaderListSize, UInt32(clamping: self.configuration.fields.section))
        if self.isServer {
            let streams = UInt32(clamping: self.configuration.maximumStreams)
            self.output.writeSettings([(.maxConcurrentStreams, streams), window, list])
        } else {
            self.output.writePreface(Self.preface)
            self.output.writeSettings([(.enablePush, 0), window, list])
        }
        let more = self.receiveWindow - HTTP2Window.initial
        if more > 0 { self.output.writeWindowUpdate(stream: 0, increment: more) }
    }

    /// What a stream's window begins with.
    var streamWindow: Int { min(max(self.configuration.streamWindow, 1), HTTP2Window.largest) }

    // MARK: In and out

    mutating func receive(_ bytes: ByteBuffer) {
        guard self.failure == nil else { return }
        if self.input.readableBytes == 0 {
            self.input = bytes
        } else {
            self.input.writeBytes(bytes.readableBytesSpan)
        }
    }

    /// What has happened, one after the other; `nil` when more bytes are needed.
    mutating func next(now: NIODeadline) -> HTTP2Event? {
        while true {
            if let event = self.events.popFirst() { return event }
            if !self.releasedSlots.isEmpty {
                self.freeSlots.append(contentsOf: self.releasedSlots)
                self.releasedSlots.removeAll(keepingCapacity: true)
            }
            guard self.failure == nil else { return nil }
            do {
                guard try self.step(now: now) else {
                    // A part of a DATA frame has been told, and the frame goes on.
                    if !self.events.isEmpty { continue }
                    // The buffer belongs to the socket again.
                    if self.input.readableBytes == 0 { self.input = ByteBuffer() }
                    return nil
                }
            } catch {
                self.fail(error)
            }
        }
    }

    mutating func takeOutput() -> ByteBuffer? { self.output.take() }

    /// The peer does not read what it has asked for: nothing more is to be read from it.
    var isBackedUp: Bool { self.output.byteCount > 2 &* self.configuration.outputLimit }

    mutating func socketIsWritable(_ isWritable: Bool) {
        self.canWrite = isWritable
        self.pump()
    }

    /// Gives back memory that only a working connection needs.
    mutating func releaseMemory() {
        guard self.liveStreams == 0, self.events.isEmpty, self.releasedSlots.isEmpty else { return }
        self.output.releaseMemory()
        self.slots = []
        self.freeSlots = []
    }

    // MARK: Farewell

    mutating func ping(_ data: UInt64) { self.output.writePing(data, isAcknowledgement: false) }

    /// Announces the end: the peer is to open no more streams, and those that are under way are taken. To be followed
    /// by ``finishDrain()`` when the peer has had time enough; if it answers our PING before, that happens by itself.
    mutating func beginDrain() {
        guard self.drain == .none, self.failure == nil else { return }
        self.drain = .announced
        guard self.isServer else { return }
        self.output.writeGoAway(lastStream: UInt32(HTTP2Window.largest), code: .noError)
        self.output.writePing(Self.drainPing, isAcknowledgement: false)
    }

    mutating func finishDrain() {
        guard self.drain != .final, self.failure == nil else { return }
        self.drain = .final
        self.output.writeGoAway(lastStream: self.lastTakenStream, code: .noError)
    }

    static let drainPing: UInt64 = 0x6472_6169_6E00_0000

    /// Nothing is left to do on this connection.
    var isDrained: Bool { self.drain == .final && self.liveStreams == 0 }

    mutating func fail(_ error: HTTP2Error) {
        guard self.failure == nil else { return }
        self.failure = error
        self.input = ByteBuffer()
        self.head = nil
        self.data = nil
        for slot in self.slots.indices where self.slots[slot].isLive {
            self.events.append(.ended(self.handle(slot), .connectionFailed))
            self.release(slot)
        }
        self.output.writeGoAway(lastStream: self.lastTakenStream, code: error.code)
        self.events.append(.failed(error))
    }
}

/// The streams that ended last, a few of them.
struct HTTP2RecentStreams: Sendable {
    private static let capacity = 128
    private var identifiers: [UInt32] = []
    private var next = 0

    mutating func add(_ identifier: UInt32) {
        if self.identifiers.count < Self.capacity {
            self.identifiers.append(identifier)
        } else {
            self.identifiers[self.next] = identifier
            self.next = (self.next + 1) % Self.capacity
        }
    }

    func contains(_ identifier: UInt32) -> Bool { self.identifiers.contains(identifier) }
}
