public import Logging
public import ParleyCore
public import ServiceLifecycle

/// Keeps an ``Inbox`` from growing for ever: purges it from time to time, by the rule of
/// ``Inbox/purge(consumer:window:keep:)``.
public struct InboxJanitor: Service {
    private let inbox: any Inbox
    private let consumers: [String]
    private let window: Duration
    private let keep: Int
    private let interval: Duration
    private let time: any TimeSource
    private let logger: Logger

    /// - Parameters:
    ///   - window: For how long, in the consumer's own progress, a duplicate is recognised; it must be longer than the
    ///     transport may take to deliver again.
    ///   - keep: How many of the newest ids are kept however old they are.
    public init(
        inbox: any Inbox,
        consumers: [String],
        window: Duration = .seconds(7 * 86_400),
        keep: Int = 100_000,
        interval: Duration = .seconds(600),
        time: any TimeSource = SystemTimeSource(),
        logger: Logger
    ) {
        self.inbox = inbox
        self.consumers = consumers
        self.window = window
        self.keep = keep
        self.interval = interval
        self.time = time
        self.logger = logger
    }

    /// Purges until graceful shutdown or cancellation; a purge that fails is logged, and made up for by the next.
    public func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                for consumer in self.consumers { await self.purge(consumer) }
                try? await self.time.sleep(for: self.interval)
            }
        }
    }

    private func purge(_ consumer: String) async {
        do {
            let count = try await self.inbox.purge(consumer: consumer, window: self.window, keep: self.keep)
            if count > 0 {
                self.logger.debug(
                    "Purged the inbox",
                    metadata: ["inbox.consumer": "\(consumer)", "inbox.purged": "\(count)"]
                )
            }
        } catch {
            self.logger.warning(
                "The inbox could not be purged",
                metadata: ["inbox.consumer": "\(consumer)", "error": "\(error)"]
            )
        }
    }
}
