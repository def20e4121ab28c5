public import ParleyCore

/// What happens when a handler throws: first again at once, then again later, then the dead letters.
///
/// The tiers end with ``ConsumerGroup/maximumDeliveries``, which the transport counts before the handler runs. An error
/// whose ``RetrySafety`` is `permanent` skips the rest and goes to the dead letters.
public struct RetryTiers: Sendable, Hashable {
    /// How often a handler is run again within the same delivery; 0 to 10.
    public var immediate: Int
    /// The waits between deliveries.
    public var delayed: Backoff

    public init(
        immediate: Int = 1,
        delayed: Backoff = Backoff(initial: .seconds(1), factor: 3, cap: .seconds(300), jitter: 0.3)
    ) {
        self.immediate = min(10, max(0, immediate))
        self.delayed = delayed
    }

    /// What to do after `error`, in the `tryInDelivery`th try (1 for the first) of `delivery`.
    func decide(
        after error: any Error,
        delivery: Delivery,
        tryInDelivery: Int,
        random: any RandomSource
    ) -> RetryDecision {
        if error.retrySafety == .permanent { return .settle(.deadLetter(reason: "\(error)")) }
        if tryInDelivery <= self.immediate { return .runAgain }
        if delivery.isLastAttempt {
            return .settle(.deadLetter(reason: "failed in delivery \(delivery.attempt), the last one: \(error)"))
        }
        return .settle(.retry(after: self.delayed.delay(afterFailures: delivery.attempt, random: random)))
    }
}

enum RetryDecision: Equatable {
    case runAgain
    case settle(Settlement)
}
