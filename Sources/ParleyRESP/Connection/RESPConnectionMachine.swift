internal import DequeModule
package import ParleyCore

/// One connection's order of events: the handshake, what waits to be written, and whose reply comes next.
///
/// RESP has no request ids: the n-th reply belongs to the n-th command. So whatever happens to a caller (it is
/// cancelled, its deadline passes), its place in the line stays until its replies have come. Requests have ids in the
/// order of their submission, without gaps; a request is one or more commands, written with no other's between them.
///
/// Times are nanoseconds on any monotonic clock, handed in.
package struct RESPConnectionMachine: ~Copyable {
    package typealias ID = UInt64

    package struct Limits: Equatable, Sendable {
        /// Commands that were written and have no reply. A request of more goes alone.
        package var inFlight: Int
        /// Commands that wait to be written.
        package var waiting: Int
        /// How long a peer may be silent while a reply is due, in nanoseconds.
        package var silence: UInt64

        package init(inFlight: Int, waiting: Int, silence: UInt64) {
            self.inFlight = max(1, inFlight)
            self.waiting = max(1, waiting)
            self.silence = silence
        }
    }

    package struct Handshake: Equatable, Sendable {
        /// Ask for RESP3 first.
        package var prefersRESP3: Bool
        package var authenticates: Bool
        package var names: Bool
        package var selects: Bool

        package init(prefersRESP3: Bool = true, authenticates: Bool, names: Bool, selects: Bool) {
            self.prefersRESP3 = prefersRESP3
            self.authenticates = authenticates
            self.names = names
            self.selects = selects
        }
    }

    /// What the shell asks the server; it knows the words and the secrets.
    package enum Step: Equatable, Sendable {
        case hello, authenticate, name, select, introduce
    }

    package enum Reply: Equatable, Sendable {
        case value
        /// A refusal, and what its first words mean for a handshake.
        case refusal(unknownCommand: Bool)
        case push
    }

    package enum SubmitAction: Equatable {
        case accepted(ID)
        case notReady, draining, overloaded
    }

    package enum WriteAction: Equatable {
        case write(ID)
        /// The caller has gone; nothing of it was sent.
        case skip(ID)
        case wait
    }

    package enum ReceiveAction: Equatable {
        /// One of the request's replies, `isLast` when it is complete.
        case deliver(ID, isLast: Bool)
        /// The caller has gone; the reply has no owner.
        case discard(ID, isLast: Bool)
        case push
        case ask(Step)
        /// The handshake is done.
        case ready
        case handshakeRefused(Step)
        /// A reply that belongs to nothing: the stream is out of step.
        case unexpected
        case ignore
    }

    package enum CancelAction: Equatable {
        case fail(RetrySafety)
        /// It has had its answer.
        case none
    }

    package struct TimeAction: Equatable {
        package var expired: [Expired] = []
        /// The connection is of no use any more.
        package var closes: Bool = false
        /// When to come again.
        package var next: UInt64?
    }

    package struct Expired: Equatable {
        package var id: ID
        package var retry: RetrySafety
    }

    package struct CloseAction: Equatable {
        package var wasReady = false
        package var notSent: [ID] = []
        package var mayHaveRun: [ID] = []
    }

    private struct Request {
        var id: ID
        var commands: Int
        var replies = 0
        var deadline: UInt64?
        var blocks: Bool
        var isAbandoned = false
    }

    private struct Lines {
        var waiting: Deque<Request> = []
        var inFlight: Deque<Request> = []
        var waitingCommands = 0
        var commandsInFlight = 0
        var lastProgress: UInt64 = 0
        var isDraining = false
    }

    private enum State {
        /// To: handshaking, closed.
        case connecting
        /// To: ready, closed.
        case handshaking(Step)
        /// To: closed. The only state in which the lines hold anything.
        case ready
        /// Final.
        case closed
    }

    private var state: State = .connecting
    private var lines = Lines()
    private let limits: Limits
    private let handshake: Handshake
    private var nextID: ID = 0
    /// Whether the server agreed to RESP3.
    package private(set) var usesRESP3 = false

    package init(limits: Limits, handshake: Handshake) {
        self.limits = limits
        self.handshake = handshake
    }

    package var isReady: Bool { self.takesCommands && !self.lines.isDraining }

    /// Nothing is owed and nothing new is taken.
    package var isDrained: Bool {
        self.takesCommands && self.lines.isDraining && self.lines.waiting.isEmpty && self.lines.inFlight.isEmpty
    }

    /// Commands without a reply, written or not.
    package var load: Int { self.lines.waitingCommands + self.lines.commandsInFlight }

    private var takesCommands: Bool { if case .ready = self.state { true } else { false } }
}

// MARK: - Events

extension RESPConnectionMachine {
    /// The connection is up: the first question of the handshake.
    package mutating func connected() -> Step {
        let first: Step = self.handshake.prefersRESP3 ? .hello : self.step(after: .hello)
        self.state = .handshaking(first)
        return first
    }

    package mutating func submit(commands: Int, deadline: UInt64?, blocks: Bool) -> SubmitAction {
        guard self.takesCommands else { return .notReady }
        guard !self.lines.isDraining else { return .draining }
        // Counted as requests, too: those that were cancelled hold a place until the socket takes more.
        guard self.lines.waiting.count < self.limits.waiting,
            self.lines.waiting.isEmpty || self.lines.waitingCommands + commands <= self.limits.waiting
        else { return .overloaded }
        let id = self.nextID
        self.lines.waiting.append(Request(id: id, commands: commands, deadline: deadline, blocks: blocks))
        self.lines.waitingCommands += commands
        self.nextID &+= 1
        return .accepted(id)
    }

    /// The socket takes more: which request goes out now. Asked again until it says ``WriteAction/wait``.
    package mutating func write(now: UInt64) -> WriteAction {
        guard self.takesCommands, let first = self.lines.waiting.first else { return .wait }
        if !first.isAbandoned, !self.lines.inFlight.isEmpty,
            self.lines.commandsInFlight + first.commands > self.limits.inFlight
        {
            return .wait
        }
        self.lines.waiting.removeFirst()
        guard !first.isAbandoned else { return .skip(first.id) }
        self.lines.waitingCommands -= first.commands
        if self.lines.inFlight.isEmpty { self.lines.lastProgress = now }
        self.lines.inFlight.append(first)
        self.lines.commandsInFlight += first.commands
        return .write(first.id)
    }

    package mutating func received(_ reply: Reply, now: UInt64) -> ReceiveAction {
        switch self.state {
        case .handshaking(let step): reply == .push ? .push : self.answered(step, reply)
        case .ready: self.answered(reply, now: now)
        case .connecting: .unexpected
        case .closed: .ignore
        }
    }

    private mutating func answered(_ reply: Reply, now: UInt64) -> ReceiveAction {
        self.lines.lastProgress = now
        if reply == .push { return .push }
        guard var first = self.lines.inFlight.first else { return .unexpected }
        first.replies += 1
        self.lines.commandsInFlight -= 1
        let isLast = first.replies == first.commands
        if isLast {
            self.lines.inFlight.removeFirst()
        } else {
            self.lines.inFlight[self.lines.inFlight.startIndex] = first
        }
        return first.isAbandoned ? .discard(first.id, isLast: isLast) : .deliver(first.id, isLast: isLast)
    }

    private mutating func answered(_ step: Step, _ reply: Reply) -> ReceiveAction {
        var next = self.step(after: step)
        if case .refusal(let unknownCommand) = reply {
            switch step {
            case .hello where unknownCommand:
                // An old server, or one that does not speak RESP3: the same in RESP2.
                next = self.step(after: .hello)
            case .introduce:
                // Older servers do not know CLIENT SETINFO, and nothing depends on it.
                break
            default:
                self.state = .closed
                return .handshakeRefused(step)
            }
        } else if step == .hello {
            self.usesRESP3 = true
            // HELLO has carried the password and the name.
            next = self.handshake.selects ? .select : .introduce
        }
        guard step != .introduce else {
            self.state = .ready
            return .ready
        }
        self.state = .handshaking(next)
        return .ask(next)
    }

    private func step(after step: Step) -> Step {
        switch step {
        case .hello where self.handshake.authenticates: .authenticate
        case .hello, .authenticate: self.handshake.names ? .name : self.handshake.selects ? .select : .introduce
        case .name: self.handshake.selects ? .select : .introduce
        case .select, .introduce: .introduce
        }
    }

    /// The caller does not wait any more. Its place in the line stays.
    package mutating func cancel(_ id: ID) -> CancelAction {
        guard self.takesCommands else { return .none }
        if let first = self.lines.waiting.first, id >= first.id {
            let offset = id - first.id
            guard offset < UInt64(self.lines.waiting.count) else { return .none }
            let index = Int(offset)
            guard !self.lines.waiting[index].isAbandoned else { return .none }
            self.lines.waiting[index].isAbandoned = true
            self.lines.waitingCommands -= self.lines.waiting[index].commands
            return .fail(.notSent)
        }
        // Ids in flight are in order, with gaps where one was cancelled before it was written.
        var low = 0
        var high = self.lines.inFlight.count
        while low < high {
            let middle = (low + high) / 2
            if self.lines.inFlight[middle].id < id { low = middle + 1 } else { high = middle }
        }
        guard low < self.lines.inFlight.count, self.lines.inFlight[low].id == id, !self.lines.inFlight[low].isAbandoned
        else {
            return .none
        }
        self.lines.inFlight[low].isAbandoned = true
        return .fail(.mayHaveRun)
    }

    /// Which callers' deadlines have passed, and whether the peer is silent for too long.
    package mutating func timePassed(now: UInt64) -> TimeAction {
        guard self.takesCommands else { return TimeAction() }
        var action = TimeAction()
        func sooner(_ instant: UInt64) { action.next = min(action.next ?? instant, instant) }
        for index in self.lines.inFlight.indices where !self.lines.inFlight[index].isAbandoned {
            guard let deadline = self.lines.inFlight[index].deadline else { continue }
            guard deadline <= now else {
                sooner(deadline)
                continue
            }
            self.lines.inFlight[index].isAbandoned = true
            action.expired.append(Expired(id: self.lines.inFlight[index].id, retry: .mayHaveRun))
            // A blocking command's deadline lies behind its own limit: the peer has gone.
            if self.lines.inFlight[index].blocks { action.closes = true }
        }
        for index in self.lines.waiting.indices where !self.lines.waiting[index].isAbandoned {
            guard let deadline = self.lines.waiting[index].deadline else { continue }
            guard deadline <= now else {
                sooner(deadline)
                continue
            }
            self.lines.waiting[index].isAbandoned = true
            self.lines.waitingCommands -= self.lines.waiting[index].commands
            action.expired.append(Expired(id: self.lines.waiting[index].id, retry: .notSent))
        }
        if let first = self.lines.inFlight.first, !first.blocks {
            let (limit, overflows) = self.lines.lastProgress.addingReportingOverflow(self.limits.silence)
            if !overflows {
                if limit <= now { action.closes = true } else { sooner(limit) }
            }
        }
        return action
    }

    /// Takes nothing new; what has been taken is finished.
    package mutating func drain() {
        self.lines.isDraining = true
    }

    /// The connection has ended: who was not sent, and who may have run.
    package mutating func closed() -> CloseAction {
        var action = CloseAction()
        action.wasReady = self.takesCommands
        action.notSent = self.lines.waiting.filter { !$0.isAbandoned }.map(\.id)
        action.mayHaveRun = self.lines.inFlight.filter { !$0.isAbandoned }.map(\.id)
        self.lines = Lines()
        self.state = .closed
        return action
    }
}
