internal import DequeModule
package import NIOCore
public import ParleyCore
internal import Synchronization

/// One connection, pipelined: any number of tasks may send at once, and each gets the reply to its own commands.
///
/// A command that was cancelled, or whose deadline has passed, keeps its place in the line, so the replies of the
/// others stay theirs. Nothing is sent twice: a connection that is lost answers everything it had taken, with
/// `RetrySafety.notSent` for what never reached the socket and `RetrySafety.mayHaveRun` for the rest, and is then of no
/// use any more. Reconnecting is ``RESPClient``'s work.
public final class RESPConnection: RESPExecutor {
    package typealias Answer = Result<[RESPValue], RESPError>
    private typealias Waiter = CheckedContinuation<Answer, Never>

    private struct Request {
        var commands: [RESPCommand]
        var replies: [RESPValue] = []
        var waiter: Waiter?
        var isOver = false
    }

    private struct Resumption {
        var waiter: Waiter
        var answer: Answer
    }

    private struct Core: ~Copyable {
        var machine: RESPConnectionMachine
        /// From `firstID` on, without gaps: what the machine knows by id.
        var requests: Deque<Request> = []
        var firstID: RESPConnectionMachine.ID = 0
        var flushIsDue = false
        var timerWanted: UInt64?
        var timerAt: UInt64?
        var startup: CheckedContinuation<RESPError?, Never>?
        var outcome: RESPError??
        var failure: RESPError?
        var isOpen = true
    }

    private enum Received {
        case command(RESPCommand)
        case push([RESPValue])
        case startup(CheckedContinuation<RESPError?, Never>, RESPError?)
    }

    package let configuration: RESPConfiguration
    private let channel: any Channel
    private let core: Mutex<Core>
    private let time: any TimeSource
    /// Shared connections refuse what would harm the others on it.
    private let isShared: Bool
    private let isTainted = Atomic(false)

    package init(channel: any Channel, configuration: RESPConfiguration, isShared: Bool, time: any TimeSource) {
        self.channel = channel
        self.configuration = configuration
        self.isShared = isShared
        self.time = time
        let limits = RESPConnectionMachine.Limits(
            inFlight: configuration.maximumInFlight,
            waiting: configuration.maximumWaiting,
            silence: configuration.silenceLimit.nanosecondsClamped
        )
        self.core = Mutex(Core(machine: RESPConnectionMachine(limits: limits, handshake: configuration.handshake)))
    }

    /// True while commands are taken.
    public var isOpen: Bool { self.core.withLock { $0.isOpen && $0.machine.isReady } }

    /// Whether the server agreed to RESP3.
    public var usesRESP3: Bool { self.core.withLock { $0.machine.usesRESP3 } }

    /// Commands that have been taken and not answered.
    package var load: Int { self.core.withLock { $0.machine.load } }

    /// Nobody's session was changed on it, and nothing is owed.
    package var isReusable: Bool {
        !self.isTainted.load(ordering: .relaxed) && self.core.withLock { $0.machine.isReady && $0.machine.load == 0 }
    }

    // MARK: Sending

    /// Sends the commands as one block, with no other command between them, and returns their replies in order.
    ///
    /// Refusals are among the replies, as ``RESPValue/simpleError(_:)`` or ``RESPValue/bulkError(_:)``: a refusal of
    /// one command says nothing about the others.
    public func execute(_ commands: [RESPCommand], deadline: Deadline?) async throws(RESPError) -> [RESPValue] {
        guard !commands.isEmpty else { return [] }
        var limit = self.configuration.commandTimeout
        var blocks = false
        var isBounded = true
        // A whole transaction in one block leaves nothing behind, and ASKING is for the next command only.
        let isTransaction = commands.count > 2 && commands.first?.name == "MULTI" && commands.last?.name == "EXEC"
        let isAsking = commands.count == 2 && commands.first?.name == "ASKING"
        for (index, command) in commands.enumerated() {
            let leavesNothing = isTransaction ? index == 0 || index == commands.count - 1 : isAsking && index == 0
            if !leavesNothing { try self.check(command) }
            switch command.blocking {
            case .never: break
            case .upTo(let duration):
                blocks = true
                limit += duration
            case .forever:
                blocks = true
                isBounded = false
            }
        }
        guard !Task.isCancelled else { throw self.cancelled(.notSent) }
        if let asked = [deadline, RequestContext.current?.deadline].compactMap({ $0 }).min() {
            let remaining = asked.remaining(at: self.time.now)
            guard remaining > .zero else { throw self.deadlineExceeded(.notSent) }
            limit = isBounded ? min(limit, remaining) : remaining
            isBounded = true
        }
        let instant = isBounded ? self.now &+ limit.nanosecondsClamped : nil
        let replies = try await self.submit(commands, deadline: instant, blocks: blocks).get()
        if replies.contains(where: { Self.saysReplica($0) }) {
            // The same address may lead to another server now, or another address to the master.
            self.isTainted.store(true, ordering: .relaxed)
            if self.isShared { self.retire() }
        }
        return replies
    }

    /// A write that a replica refused, or a wait that ended because its master became one.
    private static func saysReplica(_ reply: RESPValue) -> Bool {
        guard let refusal = reply.errorMessage else { return false }
        return refusal.hasPrefix("READONLY")
            || (refusal.hasPrefix("UNBLOCKED") && refusal.contains("instance state changed"))
    }

    private func check(_ command: RESPCommand) throws(RESPError) {
        let name = command.name
        if command.changesProtocol {
            throw self.error(.notAllowed, "\(name) would put the replies out of step; it was not sent")
        }
        guard command.changesSession || (self.isShared && command.blocking != .never) else { return }
        if self.isShared {
            throw self.error(.notAllowed, "\(name) on a shared connection: use withConnection or transaction")
        }
        if command.changesSession { self.isTainted.store(true, ordering: .relaxed) }
    }

    private func submit(_ commands: [RESPCommand], deadline: UInt64?, blocks: Bool) async -> Answer {
        let ticket = Ticket()
        return await withTaskCancellationHandler {
            await withCheckedContinuation { (waiter: Waiter) in
                let refusal = self.core.withLock { core -> RESPError?? in
                    switch core.machine.submit(commands: commands.count, deadline: deadline, blocks: blocks) {
                    case .accepted(let id):
                        guard ticket.submitted(id) else {
                            // Cancelled in between: it has its place, which the writer skips.
                            _ = core.machine.cancel(id)
                            core.requests.append(Request(commands: [], isOver: true))
                            return .some(self.cancelled(.notSent))
                        }
                        core.requests.append(Request(commands: commands, waiter: waiter))
                        if let deadline { core.timerWanted = min(core.timerWanted ?? deadline, deadline) }
                        guard !core.flushIsDue else { return .none }
                        core.flushIsDue = true
                        return .some(nil)
                    case .overloaded:
                        return self.error(
                            .overloaded,
                            "\(self.configuration.maximumWaiting) commands wait: send less, or raise maximumWaiting",
                            retry: .notSent
                        )
                    case .draining, .notReady:
                        return core.failure.map { self.lost($0, .notSent) }
                            ?? self.error(.closed, "the connection is closed", retry: .notSent)
                    }
                }
                switch refusal {
                case .none: break
                case .some(nil): self.channel.eventLoop.execute { self.flush() }
                case .some(.some(let error)): waiter.resume(returning: .failure(error))
                }
            }
        } onCancel: {
            guard let id = ticket.cancel() else { return }
            self.cancel(id)
        }
    }

    private func cancel(_ id: RESPConnectionMachine.ID) {
        let resumption = self.core.withLock { core -> Resumption? in
            guard case .fail(let retry) = core.machine.cancel(id) else { return nil }
            return Self.give(&core, id, .failure(self.cancelled(retry)))
        }
        resumption.map { $0.waiter.resume(returning: $0.answer) }
    }

    /// Takes the waiter of `id`, if it has not had its answer.
    private static func give(
        _ core: inout Core,
        _ id: RESPConnectionMachine.ID,
        _ answer: Answer
    ) -> Resumption? {
        guard id >= core.firstID, id - core.firstID < UInt64(core.requests.count) else { return nil }
        let index = Int(id - core.firstID)
        guard let waiter = core.requests[index].waiter else { return nil }
        core.requests[index].waiter = nil
        core.requests[index].replies = []
        core.requests[index].commands = []
        return Resumption(waiter: waiter, answer: answer)
    }

    private static func finish(_ core: inout Core, _ id: RESPConnectionMachine.ID) {
        guard id >= core.firstID, id - core.firstID < UInt64(core.requests.count) else { return }
        core.requests[Int(id - core.firstID)].isOver = true
        while core.requests.first?.isOver == true {
            core.requests.removeFirst()
            core.firstID &+= 1
        }
    }

    // MARK: On the event loop

    private var now: UInt64 { self.channel.eventLoop.now.uptimeNanoseconds }

    /// Writes what may be written. On the event loop.
    package func flush() {
        self.core.withLock { $0.flushIsDue = false }
        while self.channel.isWritable {
            var buffer = self.channel.allocator.buffer(capacity: 4_096)
            let now = self.now
            self.core.withLock { core in
                // In pieces, so that the socket's own limit is noticed.
                writing: while buffer.readableBytes < 256 << 10 {
                    switch core.machine.write(now: now) {
                    case .wait: break writing
                    case .skip(let id): Self.finish(&core, id)
                    case .write(let id):
                        let index = Int(id - core.firstID)
                        guard core.requests.indices.contains(index) else { break writing }
                        for command in core.requests[index].commands { command.write(into: &buffer) }
                        core.requests[index].commands = []
                        let silence = now &+ self.configuration.silenceLimit.nanosecondsClamped
                        core.timerWanted = min(core.timerWanted ?? silence, silence)
                    }
                }
            }
            guard buffer.readableBytes > 0 else { break }
            self.channel.writeAndFlush(buffer, promise: nil)
        }
        self.armTimer()
    }

    private func armTimer() {
        let instant = self.core.withLock { core -> UInt64? in
            guard core.isOpen, let wanted = core.timerWanted else { return nil }
            core.timerWanted = nil
            if let armed = core.timerAt, armed <= wanted { return nil }
            core.timerAt = wanted
            return wanted
        }
        guard let instant else { return }
        self.channel.eventLoop.scheduleTask(deadline: .uptimeNanoseconds(instant)) { [weak self] in
            self?.timePassed(instant)
        }
    }

    private func timePassed(_ instant: UInt64) {
        let now = self.now
        let (resumptions, closes) = self.core.withLock { core -> ([Resumption], Bool) in
            // An earlier one has been armed since, and has done this one's work.
            guard core.timerAt == instant else { return ([], false) }
            core.timerAt = nil
            let action = core.machine.timePassed(now: now)
            if let next = action.next { core.timerWanted = min(core.timerWanted ?? next, next) }
            if action.closes, core.failure == nil {
                core.failure = self.error(.connectionLost, "the server owes a reply and is silent", retry: .mayHaveRun)
            }
            let resumptions = action.expired.compactMap {
                Self.give(&core, $0.id, .failure(self.deadlineExceeded($0.retry)))
            }
            return (resumptions, action.closes)
        }
        for resumption in resumptions { resumption.waiter.resume(returning: resumption.answer) }
        if closes { self.channel.close(promise: nil) }
        self.armTimer()
    }

    /// The channel is active: begins the handshake. On the event loop.
    package func connected() {
        let step = self.core.withLock { $0.machine.connected() }
        self.write(self.configuration.command(for: step))
    }

    private func write(_ command: RESPCommand) {
        var buffer = self.channel.allocator.buffer(capacity: 128)
        command.write(into: &buffer)
        self.channel.writeAndFlush(buffer, promise: nil)
    }

    /// Gives each reply to its caller. On the event loop; the order is the server's.
    package func received(_ values: [RESPValue]) {
        let now = self.now
        var resumptions: [Resumption] = []
        var others: [Received] = []
        let (isDrained, isBroken) = self.core.withLock { core -> (Bool, Bool) in
            for value in values {
                switch core.machine.received(Self.reply(value), now: now) {
                case .deliver(let id, let isLast):
                    let index = Int(id - core.firstID)
                    guard core.requests.indices.contains(index) else { break }
                    guard isLast else {
                        core.requests[index].replies.append(value)
                        break
                    }
                    var replies: [RESPValue] = []
                    swap(&replies, &core.requests[index].replies)
                    replies.append(value)
                    if let resumption = Self.give(&core, id, .success(replies)) { resumptions.append(resumption) }
                    Self.finish(&core, id)
                case .discard(let id, let isLast):
                    if isLast { Self.finish(&core, id) }
                case .push: others.append(.push(value.elements ?? []))
                case .ask(let step): others.append(.command(self.configuration.command(for: step)))
                case .ready:
                    core.outcome = .some(nil)
                    if let startup = core.startup { others.append(.startup(startup, nil)) }
                    core.startup = nil
                case .handshakeRefused(let step):
                    var refusal = RESPError(
                        refusal: value.errorMessage ?? "",
                        command: self.configuration.command(for: step).name,
                        server: self.configuration.endpoint.description
                    )
                    refusal.message = self.configuration.withoutSecrets(refusal.message)
                    core.failure = core.failure ?? refusal
                    return (false, true)
                case .unexpected:
                    core.failure =
                        core.failure
                        ?? self.error(.protocolViolation, "a reply that nobody asked for", retry: .mayHaveRun)
                    return (false, true)
                case .ignore: break
                }
            }
            return (core.machine.isDrained, false)
        }
        for resumption in resumptions { resumption.waiter.resume(returning: resumption.answer) }
        for other in others {
            switch other {
            case .command(let command): self.write(command)
            case .push(let values): self.configuration.onPush?(values)
            case .startup(let waiter, let error): waiter.resume(returning: error)
            }
        }
        if isDrained || isBroken { self.channel.close(promise: nil) } else { self.flush() }
    }

    private static func reply(_ value: RESPValue) -> RESPConnectionMachine.Reply {
        if case .push = value { return .push }
        guard let message = value.errorMessage else { return .value }
        // Redis before 6 does not know HELLO; NOPROTO is a server without RESP3.
        let isUnknown = message.hasPrefix("ERR unknown") || message.hasPrefix("NOPROTO")
        return .refusal(unknownCommand: isUnknown)
    }

    /// Remembers why the channel is about to close: the first reason counts.
    package func failed(_ error: RESPError) {
        self.core.withLock { $0.failure = $0.failure ?? error }
    }

    /// The channel is closed: everybody gets an answer. On the event loop.
    package func disconnected() {
        var resumptions: [Resumption] = []
        let startup = self.core.withLock { core -> (CheckedContinuation<RESPError?, Never>, RESPError)? in
            let cause = core.failure ?? self.error(.connectionLost, "the server closed the connection")
            core.failure = cause
            core.isOpen = false
            let action = core.machine.closed()
            for id in action.mayHaveRun {
                let answer = Answer.failure(self.lost(cause, .mayHaveRun))
                if let resumption = Self.give(&core, id, answer) { resumptions.append(resumption) }
            }
            for id in action.notSent {
                let answer = Answer.failure(self.lost(cause, .notSent))
                if let resumption = Self.give(&core, id, answer) { resumptions.append(resumption) }
            }
            core.firstID &+= UInt64(core.requests.count)
            core.requests = []
            // A handshake carries nobody's command.
            var start = cause
            if start.retry == .mayHaveRun || start.code == .connectionLost { start.retry = .notSent }
            if start.code == .protocolViolation { start.retry = .permanent }
            if core.outcome == nil, start.code == .connectionLost, let tls = self.configuration.tls,
                tls.certificate == nil
            {
                // Its reason can be lost when it closes with our first command unread.
                start.message += "; a server that demands a client certificate may end it like this, too"
            }
            if core.outcome == nil { core.outcome = start }
            defer { core.startup = nil }
            return core.startup.map { ($0, start) }
        }
        for resumption in resumptions { resumption.waiter.resume(returning: resumption.answer) }
        startup.map { $0.0.resume(returning: $0.1) }
    }

    // MARK: Beginning and end

    /// Waits until the handshake is over.
    package func ready() async throws(RESPError) {
        let limit = self.configuration.connectTimeout
        let timer = self.channel.eventLoop.scheduleTask(in: .nanoseconds(Int64(clamping: limit.nanosecondsClamped))) {
            self.failed(self.error(.cannotConnect, "no answer to the handshake within \(limit)", retry: .notSent))
            self.channel.close(promise: nil)
        }
        defer { timer.cancel() }
        let error = await withTaskCancellationHandler {
            await withCheckedContinuation { (waiter: CheckedContinuation<RESPError?, Never>) in
                let outcome = self.core.withLock { core -> RESPError?? in
                    if core.outcome == nil { core.startup = waiter }
                    return core.outcome
                }
                if let outcome { waiter.resume(returning: outcome) }
            }
        } onCancel: {
            self.failed(self.cancelled(.notSent))
            self.channel.close(promise: nil)
        }
        if let error { throw error }
    }

    /// Takes no more commands, and closes when those that were taken have their replies.
    package func retire() {
        let isDrained = self.core.withLock { core in
            core.machine.drain()
            core.failure = core.failure ?? self.error(.closed, "the connection was closed on this side")
            return core.machine.isDrained
        }
        if isDrained { self.channel.close(promise: nil) }
    }

    /// Closes now; what is under way is answered as lost.
    package func abort() {
        self.failed(self.error(.closed, "the connection was closed on this side"))
        self.channel.close(promise: nil)
    }

    /// Returns once the socket is closed.
    package func waitUntilClosed() async { _ = try? await self.channel.closeFuture.get() }

    // MARK: Errors

    private func error(_ code: RESPError.Code, _ message: String, retry: RetrySafety = .permanent) -> RESPError {
        RESPError(code, server: self.configuration.endpoint.description, message, retry: retry)
    }

    private func lost(_ cause: RESPError, _ retry: RetrySafety) -> RESPError {
        var error = cause
        error.retry = retry
        if retry == .notSent {
            error.message += "; the command was not sent"
        } else {
            error.message += "; the command was sent and may have run"
        }
        return error
    }

    private func cancelled(_ retry: RetrySafety) -> RESPError {
        RESPError(
            .cancelled,
            server: self.configuration.endpoint.description,
            retry == .notSent ? "cancelled before the command was sent" : "cancelled while the reply was awaited",
            retry: retry,
            cause: CancellationError()
        )
    }

    private func deadlineExceeded(_ retry: RetrySafety) -> RESPError {
        self.error(
            .deadlineExceeded,
            retry == .notSent ? "the deadline passed before the command was sent" : "no reply within the deadline",
            retry: retry
        )
    }
}

/// Joins a task's cancellation with the id that its request gets, whichever comes first.
private final class Ticket: Sendable {
    private enum State {
        case fresh, cancelled
        case submitted(RESPConnectionMachine.ID)
    }

    private let state = Mutex(State.fresh)

    /// False when the task was cancelled before.
    func submitted(_ id: RESPConnectionMachine.ID) -> Bool {
        self.state.withLock { state in
            if case .cancelled = state { return false }
            state = .submitted(id)
            return true
        }
    }

    /// The id to cancel, if there is one already.
    func cancel() -> RESPConnectionMachine.ID? {
        self.state.withLock { state in
            defer { state = .cancelled }
            if case .submitted(let id) = state { return id }
            return nil
        }
    }
}
