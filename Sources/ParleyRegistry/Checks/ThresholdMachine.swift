internal import ParleyCore

/// Lets a status change only after so many results of one kind in a row.
///
/// The first result of all decides at once: both counters begin as if the number had been reached.
struct ThresholdMachine: Sendable, Equatable {
    private let successBeforePassing: Int
    private let failuresBeforeWarning: Int
    private let failuresBeforeCritical: Int
    private var successes: Int
    private var failures: Int

    init(_ plan: CheckPlan) {
        self.successBeforePassing = max(0, plan.successBeforePassing)
        self.failuresBeforeCritical = max(0, plan.failuresBeforeCritical)
        self.failuresBeforeWarning =
            plan.failuresBeforeWarning > 0
            ? min(plan.failuresBeforeWarning, self.failuresBeforeCritical) : self.failuresBeforeCritical
        self.successes = self.successBeforePassing
        self.failures = self.failuresBeforeCritical
    }

    /// The status to note; `nil` when it stays as it is for now.
    mutating func result(_ status: CheckStatus) -> CheckStatus? {
        guard status == .critical else {
            self.failures = 0
            self.successes = min(self.successes + 1, Int(Int32.max))
            return self.successes >= self.successBeforePassing ? status : nil
        }
        self.successes = 0
        self.failures = min(self.failures + 1, Int(Int32.max))
        if self.failures >= self.failuresBeforeCritical { return .critical }
        return self.failures >= self.failuresBeforeWarning ? .warning : nil
    }
}
