/// When to send a heartbeat, and when the other side counts as dead. Pure; driven by a timer at half the interval.
///
/// Anything that comes counts as a sign of life, and anything that is sent saves a heartbeat. The other side is dead
/// after two whole intervals without a sign: a timer that fires at half intervals sees it at most half of one late.
struct HeartbeatMachine {
    /// Nanoseconds between heartbeats as agreed with the broker.
    let interval: Int64
    private var lastReceived: Int64
    private var lastSent: Int64

    init(interval: Int64, now: Int64) {
        self.interval = interval
        self.lastReceived = now
        self.lastSent = now
    }

    enum TickAction: Equatable { case send, wait, dead }

    /// `listening`: false while reading is stopped because consumers are full; silence then says nothing.
    mutating func tick(now: Int64, listening: Bool) -> TickAction {
        if !listening { self.lastReceived = now }
        if now - self.lastReceived >= 2 * self.interval { return .dead }
        // A timer may come a little early: half an interval is reached with a tenth to spare.
        if now - self.lastSent >= self.interval * 2 / 5 {
            self.lastSent = now
            return .send
        }
        return .wait
    }

    mutating func received(now: Int64) { self.lastReceived = now }
    mutating func sent(now: Int64) { self.lastSent = now }
}
