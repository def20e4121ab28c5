internal import NIOCore

/// The connections of one event loop to the instances of one upstream. Bound to its loop: a request never changes
/// threads.
///
/// Idle connections are kept as nginx keeps them: the one used last is taken first, and above the cap the one that has
/// rested longest is closed.
final class UpstreamPool {
    let eventLoop: any EventLoop
    private let keepalive: UpstreamKeepalive
    private var idle: [HTTP1UpstreamHandler] = []
    private var all: [ObjectIdentifier: HTTP1UpstreamHandler] = [:]
    private var isClosed = false
    private var countedIdle = 0
    private let counters: UpstreamCounters

    let upstream: Upstream

    init(eventLoop: any EventLoop, keepalive: UpstreamKeepalive, upstream: Upstream, counters: UpstreamCounters) {
        self.upstream = upstream
        self.counters = counters
        self.eventLoop = eventLoop
        self.keepalive = keepalive
    }

    /// A connection that rests, if there is one to this peer.
    func takeIdle(_ peer: PeerID) -> HTTP1UpstreamHandler? {
        var index = self.idle.count - 1
        while index >= 0 {
            if self.idle[index].peer == peer {
                let handler = self.idle.remove(at: index)
                self.countIdle()
                if handler.isOpen {
                    self.counters.reused()
                    return handler
                }
            }
            index -= 1
        }
        return nil
    }

    func add(_ handler: HTTP1UpstreamHandler) {
        self.all[ObjectIdentifier(handler)] = handler
        self.counters.opened()
    }

    private func countIdle() {
        self.counters.restingChanged(by: self.idle.count - self.countedIdle)
        self.countedIdle = self.idle.count
    }

    func giveBack(_ handler: HTTP1UpstreamHandler) {
        let now = NIODeadline.now()
        guard self.keepalive.connections > 0, !self.isClosed, handler.requests < self.keepalive.requests,
            now - handler.opened < .milliseconds(Int64(self.keepalive.time))
        else {
            handler.close()
            return
        }
        self.idle.append(handler)
        handler.rest(until: now + .milliseconds(Int64(self.keepalive.timeout)))
        if self.idle.count > self.keepalive.connections { self.idle.removeFirst().close() }
        self.countIdle()
    }

    func closed(_ handler: HTTP1UpstreamHandler) {
        if let index = self.idle.lastIndex(where: { $0 === handler }) { self.idle.remove(at: index) }
        // One whose handshake failed was never added.
        if self.all.removeValue(forKey: ObjectIdentifier(handler)) != nil { self.counters.closed() }
        self.countIdle()
    }

    /// Idle connections are closed, those at work when they are done.
    func close() {
        self.isClosed = true
        let idle = self.idle
        self.idle = []
        self.countIdle()
        for handler in idle { handler.close() }
    }

    /// A peer that left: its idle connections go.
    func closeIdle(where isGone: (PeerID) -> Bool) {
        for handler in self.idle where isGone(handler.peer) { handler.close() }
    }
}
