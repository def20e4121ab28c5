/// What an answer says about the peer that gave it, for outlier detection. What happened before an answer counts as a
/// gateway's failure, as in Envoy unless it is told to keep the two apart.
package enum AnswerClass: Sendable, Hashable {
    case good
    /// 500 to 599 except those of gateways.
    case serverError
    /// 502, 503, 504, or no answer at all.
    case gatewayFailure

    package init(status: UInt16) {
        switch status {
        case 502, 503, 504: self = .gatewayFailure
        case 500...599: self = .serverError
        default: self = .good
        }
    }
}

/// Envoy's outlier detection for one peer: how many failures came in a row, and until when it is out.
struct OutlierState: Sendable, BitwiseCopyable {
    private(set) var ejectedUntil = Peer.longAgo
    /// Ejections in a row; each makes the next one longer.
    private(set) var ejections: Int64 = 0
    private var serverErrors = 0
    private var gatewayFailures = 0
    private var requests: Int64 = 0
    private var successes: Int64 = 0

    /// Counts an answer; whether the peer is to be ejected for it.
    mutating func record(_ answer: AnswerClass, _ rules: OutlierRules) -> Bool {
        self.requests &+= 1
        switch answer {
        case .good:
            self.successes &+= 1
            self.serverErrors = 0
            self.gatewayFailures = 0
        case .serverError:
            self.serverErrors &+= 1
            self.gatewayFailures = 0
        case .gatewayFailure:
            self.serverErrors &+= 1
            self.gatewayFailures &+= 1
        }
        return rules.consecutive5xx > 0 && self.serverErrors >= rules.consecutive5xx
            || rules.consecutiveGatewayFailures > 0 && self.gatewayFailures >= rules.consecutiveGatewayFailures
    }

    mutating func eject(_ rules: OutlierRules, now: Int64) {
        self.ejections &+= 1
        let base = Int64(min(max(rules.baseEjection, 0), 1 << 40))
        let longest = max(Int64(min(max(rules.maxEjection, 0), 1 << 40)), base)
        let (time, overflow) = base.multipliedReportingOverflow(by: self.ejections)
        self.ejectedUntil = now &+ (overflow ? longest : min(time, longest))
        self.serverErrors = 0
        self.gatewayFailures = 0
    }

    mutating func readmit() {
        self.ejectedUntil = Peer.longAgo
        self.serverErrors = 0
        self.gatewayFailures = 0
    }

    /// Thousandths of the requests of the interval that went well; `nil` when there were too few to say.
    func successRate(_ rules: SuccessRateRules) -> Double? {
        self.requests > 0 && self.requests >= Int64(rules.minRequests)
            ? 1_000 * Double(self.successes) / Double(self.requests) : nil
    }

    /// An interval has ended. One spent in the group makes the next ejection shorter.
    mutating func endInterval(now: Int64) {
        if self.ejectedUntil <= now, self.ejections > 0 { self.ejections &-= 1 }
        self.requests = 0
        self.successes = 0
    }
}
