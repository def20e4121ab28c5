public import ParleyCore

/// How often a ``ConsulWatch`` asks.
public struct ConsulWatchConfiguration: Sendable, Hashable {
    /// How long one question waits for a change; Consul allows at most 10 minutes. Shorter waits cost more requests and
    /// find out sooner that a connection is dead.
    public var wait: Duration = .seconds(55)
    /// The same for the first question after a failure, and for all while more want to wait than
    /// ``ConsulConfiguration/maximumWaitingQuestions``: they take turns, and what has changed is known when it is the
    /// turn of its question.
    public var shortWait: Duration = .seconds(2)
    /// How long it waits after failures; the wait is drawn from the upper half.
    public var backoff = Backoff(initial: .milliseconds(500), cap: .seconds(30), jitter: 0.5)
    /// What changes more often is seen once in this time: two questions may follow each other at once, then one an
    /// interval.
    public var minimumInterval: Duration = .seconds(1)
    /// An answer of a server that has not heard of its leader for longer does not count.
    public var maximumLag: Duration = .seconds(30)

    public init() {}

    var rules: BlockingQueryMachine.Rules {
        BlockingQueryMachine.Rules(
            wait: min(max(self.wait, .seconds(1)), .seconds(600)),
            shortWait: max(self.shortWait, .seconds(1)),
            backoff: self.backoff,
            interval: self.minimumInterval,
            maximumLag: self.maximumLag
        )
    }
}

/// What a ``ConsulWatch`` has to say.
public enum ConsulWatchEvent<Value: Sendable>: Sendable {
    /// What there is now: at first, after each change, and after failures.
    case answer(Consul.Answer<Value>)
    /// It could not be asked. What was known before is the best that is known; the watch goes on asking.
    case failure(ConsulError)
}

/// Follows the answer to one question.
///
/// ```swift
/// for await event in client.watch(.instances(of: "user-service")) {
///     switch event {
///     case .answer(let answer): show(answer.value)
///     case .failure(let error): logger.warning("…", metadata: ["error": "\(error)"])
///     }
/// }
/// ```
/// **What it gives.** The present answer at once, then each newer one; of changes that come quickly, only the last is
/// certain to be seen. An answer may be the same as the one before.
///
/// **When it fails.** An event says so, once for each try, and it goes on trying, with growing waits. An error is never
/// an empty answer. An agent that has lost its memory does answer, with what it knows.
///
/// **When it ends.** When the task is cancelled, or the client is shut down. It asks only while somebody waits for the
/// next event, so nothing piles up. Each iterator asks for itself.
public struct ConsulWatch<Value: Sendable>: AsyncSequence, Sendable {
    public typealias Element = ConsulWatchEvent<Value>
    public typealias Failure = Never

    let client: ConsulClient
    let question: ConsulQuestion<Value>
    let configuration: ConsulWatchConfiguration

    public func makeAsyncIterator() -> Iterator {
        Iterator(
            client: self.client,
            question: self.question,
            machine: BlockingQueryMachine(self.configuration.rules)
        )
    }

    public struct Iterator: AsyncIteratorProtocol, Sendable {
        let client: ConsulClient
        let question: ConsulQuestion<Value>
        var machine: BlockingQueryMachine
        private var isOver = false

        init(client: ConsulClient, question: ConsulQuestion<Value>, machine: BlockingQueryMachine) {
            self.client = client
            self.question = question
            self.machine = machine
        }

        public mutating func next(isolation actor: isolated (any Actor)? = #isolation) async -> Element? {
            let (time, random) = (self.client.time, self.client.random)
            while !self.isOver {
                do {
                    switch self.machine.next(now: time.now, isCrowded: self.client.isCrowded) {
                    case .wait(let instant): try await time.sleep(until: instant)
                    case .ask(let question):
                        let answer = try await self.ask(question)
                        let action = self.machine.answered(
                            index: answer.index,
                            hasLeader: answer.hasLeader,
                            lag: answer.lastContact,
                            now: time.now,
                            chance: random.unitInterval()
                        )
                        switch action {
                        case .report: return .answer(answer)
                        case .ignore: break
                        case .distrust: return .failure(self.distrusted(answer))
                        }
                    }
                } catch let error as ConsulError {
                    self.machine.failed(now: time.now, chance: random.unitInterval())
                    self.isOver = error.code == .closed
                    return .failure(error)
                } catch {
                    self.isOver = true  // cancelled
                }
            }
            return nil
        }

        private func ask(_ question: BlockingQueryMachine.Question) async throws -> Consul.Answer<Value> {
            try await self.client.ask(
                self.question,
                index: question.index,
                wait: question.wait,
                consistency: self.question.query.consistency == .stale && !question.allowsStale ? .leader : nil
            )
        }

        private func distrusted(_ answer: Consul.Answer<Value>) -> ConsulError {
            ConsulError(
                .unavailable,
                "\(self.client.what("GET", self.question.path)): the server that answered "
                    + (answer.hasLeader
                        ? "has not heard of its leader for \(answer.lastContact)" : "knows no cluster leader")
                    + ", so its answer may be old; it is asked again",
                retry: .notSent
            )
        }
    }
}

extension ConsulClient {
    /// Follows the answer to `question`; it is asked as soon as somebody waits for the first event.
    public func watch<Value: Sendable>(
        _ question: ConsulQuestion<Value>,
        _ configuration: ConsulWatchConfiguration = ConsulWatchConfiguration()
    ) -> ConsulWatch<Value> {
        ConsulWatch(client: self, question: question, configuration: configuration)
    }
}
