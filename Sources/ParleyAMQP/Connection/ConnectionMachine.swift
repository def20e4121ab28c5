/// The life of one connection to a broker, from the protocol header to the last farewell. Pure: it is told what came
/// and says what to do.
///
/// `idle` → `awaitingStart` → `awaitingTune` → `awaitingOpen` → `open` → `closing` → `closed`; a peer's close, the
/// socket's end and a violation lead to `closed` from anywhere.
struct ConnectionMachine: ~Copyable {
    struct Tuning: Equatable, Sendable {
        var channelMax: UInt16
        var frameMax: UInt32
        /// Seconds; zero is no heartbeat.
        var heartbeat: UInt16
    }

    enum State: Equatable {
        /// Nothing was sent. Exits: awaitingStart, closed.
        case idle
        /// The protocol header was sent. Exits: awaitingTune, closed.
        case awaitingStart
        /// Name and password were sent. Exits: awaitingOpen, closed.
        case awaitingTune
        /// The virtual host was asked for. Exits: open, closed.
        case awaitingOpen(Tuning)
        /// In use. Exits: closing, closed.
        case open(Tuning)
        /// Our close was sent. Exit: closed.
        case closing
        /// Exit: none.
        case closed
    }

    /// What we want; the broker may want less.
    let wanted: Tuning
    private let mechanism: String
    private var state: State = .idle

    init(wanted: Tuning, mechanism: String) {
        self.wanted = wanted
        self.mechanism = mechanism
    }

    var isOpen: Bool {
        switch self.state {
        case .open: true
        default: false
        }
    }

    enum StartAction: Equatable { case sendProtocolHeader, ignore }

    mutating func start() -> StartAction {
        switch self.state {
        case .idle:
            self.state = .awaitingStart
            return .sendProtocolHeader
        default:
            return .ignore
        }
    }

    enum Refusal: Equatable {
        case violation(String)
        case mechanismNotOffered(String)
    }
    enum ReceivedStartAction: Equatable {
        case sendStartOK
        case fail(Refusal)
    }

    mutating func receivedStart(major: UInt8, minor: UInt8, mechanisms: String) -> ReceivedStartAction {
        switch self.state {
        case .awaitingStart:
            guard major == 0, minor == 9 else {
                self.state = .closed
                return .fail(.violation("the broker speaks AMQP \(major)-\(minor)"))
            }
            guard mechanisms.split(separator: " ").contains(where: { $0 == self.mechanism }) else {
                self.state = .closed
                return .fail(.mechanismNotOffered(mechanisms))
            }
            self.state = .awaitingTune
            return .sendStartOK
        default:
            self.state = .closed
            return .fail(.violation("connection.start out of turn"))
        }
    }

    enum ReceivedTuneAction: Equatable {
        case sendTuneOKAndOpen(Tuning)
        case fail(Refusal)
    }

    /// Zero is "no limit" for every number of the offer; of two limits the smaller one holds.
    mutating func receivedTune(_ offer: Tuning) -> ReceivedTuneAction {
        switch self.state {
        case .awaitingTune:
            guard offer.frameMax == 0 || offer.frameMax >= 4_096 else {
                self.state = .closed
                return .fail(.violation("the broker offers frames of \(offer.frameMax) bytes; the least is 4096"))
            }
            let tuning = Tuning(
                channelMax: Self.smaller(self.wanted.channelMax, offer.channelMax),
                frameMax: Self.smaller(self.wanted.frameMax, offer.frameMax),
                heartbeat: Self.smaller(self.wanted.heartbeat, offer.heartbeat)
            )
            self.state = .awaitingOpen(tuning)
            return .sendTuneOKAndOpen(tuning)
        default:
            self.state = .closed
            return .fail(.violation("connection.tune out of turn"))
        }
    }

    private static func smaller<T: UnsignedInteger>(_ ours: T, _ theirs: T) -> T {
        if ours == 0 { return theirs }
        return theirs == 0 ? ours : min(ours, theirs)
    }

    enum ReceivedOpenOKAction: Equatable {
        case opened(Tuning)
        case fail(Refusal)
    }

    mutating func receivedOpenOK() -> ReceivedOpenOKAction {
        switch self.state {
        case .awaitingOpen(let tuning):
            self.state = .open(tuning)
            return .opened(tuning)
        default:
            self.state = .closed
            return .fail(.violation("connection.open-ok out of turn"))
        }
    }

    enum ReceivedCloseAction: Equatable {
        /// Send close-ok, then end the socket. `opening`: the broker answers our name, password or virtual host.
        case sendCloseOKAndEnd(opening: Bool)
        case ignore
    }

    mutating func receivedClose() -> ReceivedCloseAction {
        switch self.state {
        case .closed:
            self.state = .closed
            return .ignore
        case .open:
            self.state = .closed
            return .sendCloseOKAndEnd(opening: false)
        case .closing:
            self.state = .closed
            return .sendCloseOKAndEnd(opening: false)
        default:
            self.state = .closed
            return .sendCloseOKAndEnd(opening: true)
        }
    }

    enum CloseAction: Equatable { case sendClose, endSocket, ignore }

    mutating func close() -> CloseAction {
        switch self.state {
        case .open:
            self.state = .closing
            return .sendClose
        case .closing:
            self.state = .closing
            return .ignore
        case .closed:
            self.state = .closed
            return .ignore
        default:
            self.state = .closed
            return .endSocket
        }
    }

    enum ReceivedCloseOKAction: Equatable {
        case endSocket
        case fail(Refusal)
    }

    mutating func receivedCloseOK() -> ReceivedCloseOKAction {
        switch self.state {
        case .closing:
            self.state = .closed
            return .endSocket
        default:
            self.state = .closed
            return .fail(.violation("connection.close-ok out of turn"))
        }
    }

    enum Ending: Equatable {
        /// Before the broker had said that our name and password are good: most likely they are not.
        case duringAuthentication
        /// Before the connection was open.
        case duringOpening
        case lost
        case expected
    }

    mutating func socketEnded() -> Ending {
        switch self.state {
        case .awaitingTune:
            self.state = .closed
            return .duringAuthentication
        case .open:
            self.state = .closed
            return .lost
        case .closing:
            self.state = .closed
            return .expected
        case .closed:
            self.state = .closed
            return .expected
        default:
            self.state = .closed
            return .duringOpening
        }
    }

    /// Whether a method of the connection, or a frame of a channel, may come now.
    enum TrafficAction: Equatable {
        case take, discard
        case fail(Refusal)
    }

    func receivedTraffic() -> TrafficAction {
        switch self.state {
        case .open: .take
        case .closing, .closed: .discard
        default: .fail(.violation("traffic before the connection is open"))
        }
    }
}
