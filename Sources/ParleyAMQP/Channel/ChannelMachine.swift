internal import DequeModule

/// The life of one channel number and the requests that wait for their replies. Pure; tokens stand for whoever waits.
///
/// A reply answers the oldest request that it fits: its kind, and for consumers the tag. Not simply the oldest one:
/// RabbitMQ answers consume and cancel from the queue's own process, so a later request's reply may overtake theirs.
/// `idle` → `opening` → `open` → `closing` → `closed`; the peer's close leads to `closed` from anywhere.
struct ChannelMachine: Sendable {
    enum Phase: Equatable { case idle, opening, open, closing, closed }

    private struct Request {
        var token: UInt64
        var number: UInt32
        /// The consumer tag, where the reply carries one.
        var tag: String
    }

    private(set) var phase: Phase = .idle
    private var requests: Deque<Request> = []

    static let open: UInt32 = 0x0014_000a
    static let close: UInt32 = 0x0014_0028
    private static let closeOK: UInt32 = 0x0014_0029
    private static let get: UInt32 = 0x003c_0046

    /// Whether `reply` answers the request `number`: the next number, but for two places where the protocol skips.
    static func isReply(_ reply: UInt32, to number: UInt32) -> Bool {
        switch number {
        case 0x0028_0028: reply == 0x0028_0033  // exchange.unbind
        case Self.get: reply == 0x003c_0047 || reply == 0x003c_0048
        default: reply == number + 1
        }
    }

    enum CallAction: Equatable { case send, refuse }

    /// A request is to go out: channel.open first, then others, channel.close last.
    mutating func call(_ number: UInt32, token: UInt64, tag: String = "") -> CallAction {
        switch (self.phase, number) {
        case (.idle, Self.open): self.phase = .opening
        case (.open, Self.close), (.opening, Self.close): self.phase = .closing
        case (.open, _): break
        default: return .refuse
        }
        self.requests.append(Request(token: token, number: number, tag: tag))
        return .send
    }

    /// Whether messages and acknowledgements may go out.
    var isOpen: Bool { self.phase == .open }

    enum ReplyAction: Equatable {
        /// This request is answered.
        case complete(token: UInt64, request: UInt32)
        /// Our close is done: the number is free. `others` were overtaken by the close.
        case closed(token: UInt64, others: [UInt64])
        /// The channel is being closed: what still comes means nothing.
        case discard
        case violation
    }

    mutating func receivedReply(_ number: UInt32, tag: String = "") -> ReplyAction {
        if self.phase == .closing {
            guard number == Self.closeOK else { return .discard }
            self.phase = .closed
            let all = self.requests
            self.requests = []
            guard let close = all.last(where: { $0.number == Self.close }) else { return .violation }
            return .closed(token: close.token, others: all.map(\.token).filter { $0 != close.token })
        }
        let index = self.requests.firstIndex { Self.isReply(number, to: $0.number) && $0.tag == tag }
        guard let index else { return .violation }
        let request = self.requests.remove(at: index)
        if request.number == Self.open { self.phase = .open }
        return .complete(token: request.token, request: request.number)
    }

    enum TrafficAction: Equatable { case take, discard, violation }

    /// A delivery, a confirm, a return, a cancel or a flow.
    func receivedTraffic() -> TrafficAction {
        switch self.phase {
        case .open: .take
        case .closing: .discard
        case .idle, .opening, .closed: .violation
        }
    }

    enum ClosedByPeerAction: Equatable {
        /// Send close-ok; the number is free, and these requests fail.
        case sendCloseOK(failed: [UInt64])
        /// Both sides closed at once: send close-ok and go on waiting for the peer's.
        case sendCloseOKAndWait
        case violation
    }

    mutating func closedByPeer() -> ClosedByPeerAction {
        switch self.phase {
        case .closing: return .sendCloseOKAndWait
        case .idle, .closed: return .violation
        case .opening, .open:
            self.phase = .closed
            return .sendCloseOK(failed: self.drain())
        }
    }

    /// The connection is gone. Returns the requests that will not be answered.
    mutating func connectionLost() -> [UInt64] {
        self.phase = .closed
        return self.drain()
    }

    private mutating func drain() -> [UInt64] {
        defer { self.requests = [] }
        return self.requests.map(\.token)
    }
}
