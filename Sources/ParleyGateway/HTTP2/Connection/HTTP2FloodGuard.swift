internal import NIOCore

/// Notices a peer that makes work without use: frames that cost little to send and something to handle (CVE-2019-9511
/// to 9518), and requests that are taken back at once (CVE-2023-44487) or made to fail (CVE-2025-8671).
struct HTTP2FloodGuard: Sendable {
    private let budget: Int
    private let perUse: Int
    private let period: Int64
    private let resetBudget: Int
    private let resetPeriod: Int64

    private var left: Int
    private var periodStart = NIODeadline.uptimeNanoseconds(0)
    private var requests = 0
    private var resets = 0
    private var resetStart = NIODeadline.uptimeNanoseconds(0)

    init(_ configuration: HTTP2Configuration) {
        self.budget = configuration.overheadBudget
        self.perUse = configuration.overheadPerUse
        self.period = configuration.overheadPeriod.nanoseconds
        self.resetBudget = configuration.resetBudget
        self.resetPeriod = configuration.resetPeriod.nanoseconds
        self.left = configuration.overheadBudget
    }

    /// A frame that carries a body or a head, either way.
    mutating func useful() { self.left = min(self.budget, self.left &+ self.perUse) }

    /// A frame of which somebody could send endlessly many. False: it is one too many.
    mutating func overhead(_ cost: Int = 1, now: NIODeadline) -> Bool {
        if (now - self.periodStart).nanoseconds >= self.period {
            self.periodStart = now
            self.left = self.budget
        }
        self.left &-= cost
        return self.left >= 0
    }

    mutating func request(now: NIODeadline) {
        if (now - self.resetStart).nanoseconds >= self.resetPeriod {
            self.resetStart = now
            self.requests = 0
            self.resets = 0
        }
        self.requests &+= 1
    }

    /// A request ended early, or by the peer's fault. False: it is one too many.
    mutating func reset() -> Bool {
        self.resets &+= 1
        return self.resets <= self.resetBudget || self.resets &* 2 <= self.requests
    }
}
