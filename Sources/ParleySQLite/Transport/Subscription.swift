internal import DequeModule
internal import Logging
internal import ParleyCore
internal import ParleyMessaging
internal import Synchronization

/// One `withSubscription`: what it has claimed, what it has handed out, and its lease.
///
/// An idle subscription writes nothing: the row of its lease is made with the first claim that finds something, and is
/// renewed only while it holds deliveries.
final class Subscription: Sendable {
    private struct State {
        /// Claimed, and not received by anybody yet.
        var buffer = Deque<Delivery>()
        /// Received and not settled.
        var received: Set<Delivery.ID> = []
        var owner: Int64?
        /// When the lease was last written.
        var renewedAt: ContinuousClock.Instant?
        var lease: Duration
        var isOver = false
    }

    private enum Step {
        case deliver(Delivery)
        /// The lease may have run out while these lay here; somebody else may have them by now.
        case giveBack(Deque<Delivery>, owner: Int64)
        case waitForSettlement
        case claim(Claim.Request)
        case end
    }

    let signal = Signal()
    private let core: SQLiteCore
    private let group: GroupCache.Entry
    private let prefetch: Int
    private let state: Mutex<State>

    init(core: SQLiteCore, group: GroupCache.Entry, prefetch: Int) {
        self.core = core
        self.group = group
        self.prefetch = prefetch
        self.state = Mutex(State(lease: group.group.lease))
    }

    /// The next delivery; `nil` when the backend or the subscription is over.
    ///
    /// Cancellation loses nothing: a claim that is under way ends up in the buffer.
    func next() async throws -> Delivery? {
        while true {
            try Task.checkCancellation()
            let generation = self.signal.generation
            switch self.nextStep() {
            case .deliver(let delivery):
                return delivery
            case .end:
                return nil
            case .waitForSettlement:
                _ = await self.core.bells.wait(
                    for: self.signal,
                    after: generation,
                    until: nil,
                    on: self.core.time
                )
            case .giveBack(let unseen, let owner):
                guard try await !self.giveBackStale(unseen, owner: owner) else { continue }
                _ = await self.core.bells.wait(
                    for: self.signal,
                    after: generation,
                    until: nil,
                    on: self.core.time
                )
            case .claim(let request):
                let wake = try await self.claim(request)
                guard let wake else { continue }
                _ = await self.core.bells.wait(
                    for: self.signal,
                    after: generation,
                    until: wake.instant,
                    on: self.core.time
                )
            }
        }
    }

    private struct Wake {
        var instant: ContinuousClock.Instant?
    }

    private func nextStep() -> Step {
        let now = self.core.time.now
        return self.state.withLock { state -> Step in
            if state.isOver || self.core.isClosed { return .end }
            if !state.buffer.isEmpty, let owner = state.owner, let renewedAt = state.renewedAt,
                now >= renewedAt.advanced(by: state.lease)
            {
                defer { state.buffer.removeAll() }
                return .giveBack(state.buffer, owner: owner)
            }
            if let delivery = state.buffer.popFirst() {
                state.received.insert(delivery.id)
                return .deliver(delivery)
            }
            let room = self.prefetch - state.received.count
            if room <= 0 { return .waitForSettlement }
            let needsRenewal = state.renewedAt.map { now >= $0.advanced(by: state.lease / 3) } ?? true
            return .claim(
                Claim.Request(
                    group: self.group.id,
                    groupName: self.group.group.name,
                    owner: state.owner,
                    limit: room,
                    needsRenewal: needsRenewal
                )
            )
        }
    }

    /// `false` when the store refuses for now; they stay in the buffer then, for they may still be held in its rows.
    private func giveBackStale(_ unseen: Deque<Delivery>, owner: Int64) async throws -> Bool {
        let ids = unseen.map(\.id)
        let group = self.group.id
        let isDone = try await self.reporting {
            try await self.core.write(isEssential: true) {
                try Settling.giveBack(unseen: ids, owner: owner, group: group, isEnd: false, $0)
            }
            return true
        }
        if isDone == nil { self.state.withLock { if !$0.isOver { $0.buffer.prepend(contentsOf: unseen) } } }
        return isDone != nil
    }

    /// `nil` when something was claimed, else until when to wait.
    private func claim(_ request: Claim.Request) async throws -> Wake? {
        let startedAt = self.core.time.now
        let time = self.core.time
        let claim = try await self.reporting {
            try await self.core.write { try Claim.take(request, at: time.wallTime, $0) }
        }
        guard let claim else { return Wake(instant: nil) }
        let isOver = self.state.withLock { state in
            state.lease = claim.lease
            if let owner = claim.owner { state.owner = owner }
            // From before the write: the lease that others see is then never longer than the one assumed here.
            if claim.isRenewed { state.renewedAt = startedAt }
            if !state.isOver { state.buffer.append(contentsOf: claim.deliveries) }
            return state.isOver
        }
        if isOver {
            await self.giveBack(claim.deliveries.map(\.id), owner: claim.owner)
            return nil
        }
        guard claim.deliveries.isEmpty else { return nil }
        return Wake(instant: claim.nextWake.map { self.core.time.instant(of: $0) })
    }

    /// A store that refuses for the moment is no reason to end a consumer: `nil`, and the caller tries again later.
    private func reporting<Value>(_ body: () async throws -> Value) async throws -> Value? {
        do {
            return try await body()
        } catch let error as SQLiteError where error.code == .closed {
            return nil
        } catch let error as SQLiteError where error.retry == .notSent {
            self.core.logger.info(
                "A consumer group waits for the database.",
                metadata: ["messaging.group": "\(self.group.group.name)", "error": "\(error)"]
            )
            return nil
        }
    }

    /// A delivery was settled, or found lost: there is room for another one.
    func settled(_ id: Delivery.ID) {
        self.state.withLock { _ = $0.received.remove(id) }
        self.signal.ring()
    }

    /// Renews the lease until the task is cancelled.
    func keepLease() async {
        while true {
            let lease = self.state.withLock { $0.lease }
            do { try await self.core.time.sleep(for: lease / 3) } catch { return }
            await self.renew()
        }
    }

    private func renew() async {
        let (owner, lease) = self.state.withLock { state in
            (state.buffer.isEmpty && state.received.isEmpty ? nil : state.owner, state.lease)
        }
        guard let owner else { return }
        let startedAt = self.core.time.now
        let time = self.core.time
        let isMine: Bool?
        do {
            isMine = try await self.reporting {
                try await self.core.write(isEssential: true) {
                    try Claim.renew(owner, at: time.wallTime, lease: lease, try $0.connection)
                }
            }
        } catch {
            self.core.logger.warning(
                "A consumer's lease could not be renewed; its messages go to others if this goes on.",
                metadata: ["messaging.group": "\(self.group.group.name)", "error": "\(error)"]
            )
            return
        }
        guard let isMine else { return }
        self.state.withLock { state in
            guard state.owner == owner else { return }
            if isMine {
                state.renewedAt = startedAt
            } else {
                // Taken over: what lies here is somebody else's. What was received finds out when it is settled.
                state.buffer.removeAll()
                state.owner = nil
                state.renewedAt = nil
            }
        }
    }

    /// Ends the subscription and gives back what it holds; also when the task has been cancelled.
    func end() async -> [Delivery.ID] {
        let (unseen, received, owner) = self.state.withLock { state in
            state.isOver = true
            defer {
                state.buffer.removeAll()
                state.received.removeAll()
            }
            return (state.buffer.map(\.id), Array(state.received), state.owner)
        }
        await self.giveBack(unseen, owner: owner)
        return received
    }

    private func giveBack(_ unseen: [Delivery.ID], owner: Int64?) async {
        guard let owner else { return }
        let group = self.group.id
        do {
            try await self.core.write(isEssential: true) {
                try Settling.giveBack(unseen: unseen, owner: owner, group: group, isEnd: true, $0)
            }
        } catch {
            // The lease does it, a little later.
            self.core.logger.debug(
                "A consumer could not give back its messages; its lease will run out.",
                metadata: ["messaging.group": "\(self.group.group.name)", "error": "\(error)"]
            )
        }
    }
}
