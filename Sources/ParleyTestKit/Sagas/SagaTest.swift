internal import Logging
public import ParleyCore
internal import ParleyMessaging
public import ParleySagas

/// Runs a saga through everything that a network and a crashing process do to it, and lets you check the world at each
/// end: what was promised happened, or all of it was undone.
///
/// ```swift
/// let test = SagaTest { clock in
///     let shop = Shop()                                       // a fresh world for each run
///     return SagaTest.Stage(try shop.registration(), input: order, time: clock) { saga in
///         #expect(shop.reserved == (saga.status == .completed ? 1 : 0))
///     }
/// }
/// try await test.everyStepTwice()
/// try await test.failEveryStep()
/// try await test.unknownEveryStep()
/// try await test.crashEverywhere()
/// ```
/// The idea is that of Oxide's saga test helpers: repeat every step, fail every step, and look at what is left. Time is
/// a ``ManualClock`` that jumps from retry to retry, so that hours of backing off take milliseconds.
public struct SagaTest: Sendable {
    /// One fresh world with the saga in it.
    public struct Stage: Sendable {
        let registration: SagaRegistration
        let businessKey: String
        let input: String
        let store: any SagaStore
        let transactions: any TransactionRunner
        let check: @Sendable (SagaInstance) async throws -> Void

        /// With a store of your own: needed when actions write to its database (`SagaAction.local`).
        ///
        /// - Parameter check: Called when the saga has ended; throws, or records an issue, when the world is not right.
        public init(
            _ registration: SagaRegistration,
            businessKey: String = "saga-test",
            input: String,
            store: any SagaStore,
            transactions: any TransactionRunner,
            check: @escaping @Sendable (SagaInstance) async throws -> Void
        ) {
            self.registration = registration
            self.businessKey = businessKey
            self.input = input
            self.store = store
            self.transactions = transactions
            self.check = check
        }

        /// With a store in memory.
        public init(
            _ registration: SagaRegistration,
            businessKey: String = "saga-test",
            input: String,
            time: any TimeSource,
            check: @escaping @Sendable (SagaInstance) async throws -> Void
        ) {
            self.init(
                registration,
                businessKey: businessKey,
                input: input,
                store: InMemorySagaStore(time: time),
                transactions: InMemoryBackend(time: time),
                check: check
            )
        }
    }

    private let makeStage: @Sendable (any TimeSource) async throws -> Stage

    /// - Parameter makeStage: Makes a world; called for each run. What it makes lives by the clock that it is given.
    public init(_ makeStage: @escaping @Sendable (any TimeSource) async throws -> Stage) {
        self.makeStage = makeStage
    }

    // MARK: The tests

    /// Every remote action is done twice under the same idempotency key: when all goes well, and when each of the steps
    /// is refused, so that undoing is done twice as well. Both times must give the same answer.
    public func everyStepTwice() async throws {
        for refused in try await self.refusals() {
            try await self.run("every step twice, \(Self.words(refused))") { $0 == refused ? .refuse : .twice }
        }
    }

    /// Each forward step is refused once, without being done.
    public func failEveryStep() async throws {
        for refused in try await self.refusals() {
            try await self.run(Self.words(refused)) { $0 == refused ? .refuse : .none }
        }
    }

    /// At each action, forward or undoing: its answer is lost once; its answer is always lost; its request is always
    /// lost. "Always" ends when the saga is stuck, and then it must get out of there by itself.
    public func unknownEveryStep() async throws {
        for refused in try await self.refusals() {
            for lost in try await self.calls(whenRefused: refused) where lost != refused {
                let words = Self.words(refused)
                try await self.run("one answer of \(lost) lost, \(words)", faults: 1) {
                    $0 == lost ? .loseAnswer : $0 == refused ? .refuse : .none
                }
                try await self.run("every answer of \(lost) lost, \(words)") {
                    $0 == lost ? .loseAnswer : $0 == refused ? .refuse : .none
                }
                try await self.run("every request of \(lost) lost, \(words)") {
                    $0 == lost ? .loseRequest : $0 == refused ? .refuse : .none
                }
            }
        }
    }

    /// The coordinator dies before each action, between each action and its commit, and after each commit; another one
    /// takes over when the lease has run out. When all goes well, and when each of the steps is refused.
    public func crashEverywhere() async throws {
        for refused in try await self.refusals() {
            for side in SagaCrash.Side.allCases {
                for number in 1...SagaCrash.mostPoints {
                    let crash = SagaCrash(side: side, number: number)
                    let name = "a crash \(crash), \(Self.words(refused))"
                    let hasCrashed = try await self.run(name, crash: crash) { $0 == refused ? .refuse : .none }
                    if !hasCrashed { break }
                }
            }
        }
    }

    // MARK: Scenarios

    /// No refusal, and then each of the forward steps of the way without one.
    private func refusals() async throws -> [SagaCall?] {
        [nil] + (try await self.calls(whenRefused: nil)).filter { $0.operation == .action }
    }

    private static func words(_ refused: SagaCall?) -> String {
        refused.map { "\($0) refused" } ?? "nothing refused"
    }

    /// What is called, in the order of the first times.
    private func calls(whenRefused refused: SagaCall?) async throws -> [SagaCall] {
        let calls = Guarded<[SagaCall]>([])
        try await self.run("looking which steps there are, \(Self.words(refused))") { call in
            calls.withLock { if !$0.contains(call) { $0.append(call) } }
            return call == refused ? .refuse : .none
        }
        return calls.current
    }

    /// - Parameters:
    ///   - faults: How many times losses happen; after the saga has been stuck there are none in any case.
    ///   - fault: What goes wrong with a call.
    /// - Returns: Whether the coordinator crashed.
    @discardableResult
    private func run(
        _ name: String,
        faults: Int = .max,
        crash: SagaCrash? = nil,
        _ fault: @escaping @Sendable (SagaCall) -> SagaFault
    ) async throws -> Bool {
        do {
            let clock = ManualClock()
            let stage = try await self.makeStage(clock)
            let run = SagaTestRun(stage: stage, clock: clock, crash: crash, losses: faults, fault: fault)
            let saga = try await run.play()
            try await stage.check(saga)
            return run.hasCrashed
        } catch var failure as ConformanceFailure {
            failure.caseName = name
            throw failure
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            throw SagaTestFailure(scenario: name, cause: error)
        }
    }
}

/// What your own check threw, with the scenario in which it did.
public struct SagaTestFailure: Error, CustomStringConvertible {
    public let scenario: String
    public let cause: any Error

    public var description: String { "in the scenario '\(self.scenario)': \(self.cause)" }
}

/// An action of the saga, forward or undoing.
struct SagaCall: Sendable, Hashable, CustomStringConvertible {
    let action: String
    let operation: SagaCommand.Operation

    var description: String { "'\(self.action)'" }
}

/// What goes wrong with one call.
enum SagaFault: Sendable {
    case none
    /// Done twice.
    case twice
    /// Not done, and refused.
    case refuse
    /// Done, and nobody learns of it.
    case loseAnswer
    /// Not done, and nobody knows that.
    case loseRequest
}

/// Where the coordinator dies.
struct SagaCrash: Sendable, CustomStringConvertible {
    enum Side: String, CaseIterable {
        case beforeAction = "before action"
        case beforeCommit = "before commit"
        case afterCommit = "after commit"
    }

    /// A saga that has more is cut off here; it would take too long.
    static let mostPoints = 200

    let side: Side
    /// 1 for the first.
    let number: Int

    var description: String { "\(self.side.rawValue) \(self.number)" }
}
