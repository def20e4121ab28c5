internal import NIOCore
internal import ParleyCore

extension ExchangeRecord.Candidate {
    /// - Parameters:
    ///   - now: Milliseconds of the clock of the balancer, at the same moment as `wall`.
    ///   - isTried: Whether the request has been there before.
    init(_ state: PeerState, isTried: Bool = false, now: Int64, wall: Timestamp) {
        let standing: State
        var end: Int64?
        switch state.standing {
        case .available: standing = isTried ? .tried : .available
        case .down: standing = .down
        case .failed:
            standing = .failed
            end = state.failedUntil
        case .unhealthy: standing = .unhealthy
        case .ejected:
            standing = .ejected
            end = state.ejectedUntil
        case .full: standing = .full
        }
        self.init(
            name: state.peer.name,
            weight: state.peer.weight,
            activeRequests: state.active,
            fails: state.fails,
            state: standing,
            until: end.map { Timestamp(microseconds: wall.microseconds &+ ($0 &- now) &* 1_000) }
        )
    }
}

extension Exchange {
    /// The instances as the balancer sees them, at most so many as a record keeps.
    ///
    /// - Parameter picked: Already counted for this request; it is told as it was before.
    func candidates(of upstream: Upstream, picked: PeerID?) -> [ExchangeRecord.Candidate] {
        let now = self.worker.milliseconds
        let wall = self.worker.shared.time.wallTime
        return upstream.group.states(now: now).prefix(ExchangeRecord.maxCandidates).map { state in
            let isPicked = state.id == picked
            var candidate = ExchangeRecord.Candidate(
                state,
                isTried: !isPicked && self.tried.contains(slot: Int(state.id.slot)),
                now: now,
                wall: wall
            )
            if isPicked {
                candidate.activeRequests = max(0, candidate.activeRequests - 1)
                // The request itself may have filled it up.
                if candidate.state == .full { candidate.state = .available }
            }
            return candidate
        }
    }

    /// Before the balancer is told of a failure: what it knew when it chose, as far as that can still be seen.
    func noteCandidates() {
        guard let upstream = self.upstream, let peer = self.peer, let last = self.attempts.indices.last,
            self.attempts[last].candidates.isEmpty
        else { return }
        self.attempts[last].candidates = self.candidates(of: upstream, picked: peer)
    }
}
