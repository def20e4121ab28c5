public import ParleyCore
public import ParleyRESP

/// Transactions on Redis or Valkey, optimistic: the body runs against what has been read, and one script commits.
///
/// Redis cannot answer while a synchronous body waits, so the body runs several times: when it reads what nobody has
/// asked for yet, the run ends there, the server is asked, and it runs again. At the end one script looks whether
/// everything that was read is unchanged, and then makes all writes; otherwise it all begins anew. `body` must
/// therefore have no effects but on the transaction, and read the same keys when it runs again on the same state.
///
/// What a body has read together was true together when it committed, also when it wrote nothing or threw.
///
/// Errors: what `body` throws; ``RedisTransactionError``; `RESPError` for the server, whose `retry` says whether the
/// transaction may have been made.
public final class RedisTransactionRunner: TransactionRunner {
    /// How the script ended.
    enum Outcome: Sendable {
        case applied
        /// The saga that a step was meant for has moved on.
        case fenced
        /// Its hash was changed by hand; the saga is parked now.
        case edited(key: String)
    }

    private enum Answer {
        case outcome(Outcome)
        case conflict
    }

    /// How often a transaction begins anew because of others before it gives up with
    /// ``RedisTransactionError/Code/conflict``.
    public let maximumConflicts: Int
    private let client: RESPClient
    private let time: any TimeSource
    private let random: any RandomSource

    /// - Parameter client: Its `run()` must be active.
    public init(
        client: RESPClient,
        maximumConflicts: Int = 100,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) {
        self.client = client
        self.maximumConflicts = max(0, maximumConflicts)
        self.time = time
        self.random = random
    }

    public func withTransaction<Value: Sendable>(
        _ body: @escaping @Sendable (any Transaction) throws -> Value
    ) async throws -> Value {
        try await self.perform(body) { _ in ScriptArguments() }.value
    }

    /// - Parameters:
    ///   - fence: What must hold for the body's own errors to count; the script's first step.
    ///   - isRepeatable: Whether the leading step recognises that it was made: then a lost reply is asked for again.
    ///   - leading: The script's first step for a body that has returned.
    func perform<Value: Sendable>(
        fence: ScriptArguments = ScriptArguments(),
        isRepeatable: Bool = false,
        _ body: @Sendable (any Transaction) throws -> Value,
        leading: (Value) -> ScriptArguments
    ) async throws -> (value: Value, outcome: Outcome) {
        var found: [RedisTransaction.Read: RedisTransaction.Found] = [:]
        var conflicts = 0
        while true {
            let transaction = RedisTransaction(found: found)
            let result = Result { try body(transaction) }
            transaction.end()
            if !transaction.missing.isEmpty {
                guard found.count + transaction.missing.count <= RedisTransaction.maximumSteps else {
                    throw RedisTransactionError(.tooLarge, "the transaction reads too much; divide it")
                }
                found.merge(try await self.read(transaction.missing)) { $1 }
                continue
            }
            let plan: ScriptArguments
            switch result {
            case .success(let value): plan = transaction.plan(leading: leading(value), writes: true)
            // What it has read may never have been true together, and the error a mistake.
            case .failure: plan = transaction.plan(leading: fence, writes: false)
            }
            switch plan.isEmpty ? .outcome(.applied) : try await self.run(plan, isRepeatable: isRepeatable) {
            case .outcome(let outcome):
                if case .failure = result, case .fenced = outcome { throw Fenced() }
                let value = try result.get()
                if case .applied = outcome { transaction.didCommit() }
                return (value, outcome)
            case .conflict:
                conflicts += 1
                guard conflicts <= self.maximumConflicts else {
                    throw RedisTransactionError(
                        .conflict,
                        "what the transaction reads was changed by others \(conflicts) times; try again later",
                        retry: .notSent
                    )
                }
                found = [:]
                let backoff = Backoff(initial: .milliseconds(1), cap: .milliseconds(50), jitter: 1)
                try await self.time.sleep(for: backoff.delay(afterFailures: conflicts, random: self.random))
            }
        }
    }

    /// A body has failed on a saga that has moved on: whatever it says is about the past.
    struct Fenced: Error {}

    private func read(
        _ reads: Set<RedisTransaction.Read>
    ) async throws -> [RedisTransaction.Read: RedisTransaction.Found] {
        let reads = Array(reads)
        let commands = reads.map { read -> RESPCommand in
            switch read {
            case .string(let key): ["GET", RESPArgument(key)]
            case .hash(let key): ["HGETALL", RESPArgument(key)]
            }
        }
        var found: [RedisTransaction.Read: RedisTransaction.Found] = [:]
        for (read, reply) in zip(reads, try await self.client.pipeline(commands)) {
            switch read {
            case .string: found[read] = .string(try reply.get().bytes)
            case .hash(let key):
                var fields: [String: [UInt8]] = [:]
                for pair in try reply.get().pairs ?? [] {
                    guard let name = pair.key.string, let value = pair.value.bytes else {
                        throw RedisTransactionError(.unreadable, "the field names of '\(key)' are not UTF-8")
                    }
                    fields[name] = value
                }
                found[read] = .hash(fields)
            }
        }
        return found
    }

    private func run(_ plan: ScriptArguments, isRepeatable: Bool) async throws -> Answer {
        var failures = 0
        while true {
            do {
                let reply = try await self.client.eval(TransactionScript.apply, arguments: plan.words)
                return try self.answer(reply)
            } catch var error as RESPError {
                guard isRepeatable, failures > 0 ? error.retry != .permanent : error.retry == .mayHaveRun,
                    error.code != .cancelled, error.code != .closed,
                    RequestContext.current?.deadline?.hasPassed(at: self.time.now) != true
                else {
                    // What is true of the last try is not of those before it.
                    if failures > 0 { error.retry = .mayHaveRun }
                    throw error
                }
                // It may have been made, and then nobody else would ever say so: until that is known, the caller cannot
                // go on, however long the server stays away.
                failures += 1
                let backoff = Backoff(initial: .milliseconds(20), cap: .seconds(1), jitter: 0.5)
                try await self.time.sleep(for: backoff.delay(afterFailures: failures, random: self.random))
            }
        }
    }

    private func answer(_ reply: RESPValue) throws -> Answer {
        let words = reply.elements ?? []
        let detail = words.dropFirst().first?.string ?? "?"
        switch words.first?.string {
        case "applied": return .outcome(.applied)
        case "fenced": return .outcome(.fenced)
        case "edited": return .outcome(.edited(key: detail))
        case "conflict": return .conflict
        case "type":
            throw RedisTransactionError(.wrongType, "'\(detail)' holds no hash; nothing was written")
        case "taken": throw SagaHashes.taken(detail)
        case "exists": throw SagaHashes.exists(detail)
        default:
            throw RESPError(
                .unexpectedReply,
                "the answer of the transaction's script is not one of this version of Parley",
                retry: .mayHaveRun
            )
        }
    }
}
