import Foundation
import GRDB
import Logging
import ParleyCore
import ParleyMessaging
import ParleySQLite
import ParleySagas
import Synchronization

struct Bench: Sendable {
    let folder: String
    let duration: Swift.Duration
    let only: String?
    let logger: Logger

    func all(_ announce: (String) -> Void) async throws -> [Row] {
        announce("the disk's own syncs")
        let disk = try self.diskSyncs()
        var rows = [disk]
        func add(_ name: String, _ measure: () async throws -> Row) async throws {
            if let only, !name.contains(only) { return }
            announce(name)
            var row = try await measure()
            row.syncs = disk.perSecond
            rows.append(row)
        }
        try await add("bare SQLite commits") { try self.bareCommits() }
        for concurrency in [1, 64] {
            try await add("commits at \(concurrency)") { try await self.commits(concurrency) }
        }
        try await add("publish, 64 a call") { try await self.publish(batch: 64) }
        for concurrency in [1, 64] {
            try await add("publish to consume at \(concurrency)") { try await self.publishConsume(concurrency) }
        }
        for concurrency in [1, 64] {
            try await add("sagas at \(concurrency)") { try await self.sagas(concurrency) }
        }
        return rows
    }

    // MARK: What the disk can do

    /// Appends a page and syncs it, as a commit to a write-ahead log does.
    private func diskSyncs() throws -> Row {
        let descriptor = open("\(self.folder)/sync", O_CREAT | O_WRONLY, 0o600)
        defer { close(descriptor) }
        let page = [UInt8](repeating: 7, count: 4_096)
        return self.measure("disk: write and fdatasync") {
            _ = write(descriptor, page, page.count)
            fdatasync(descriptor)
        }
    }

    /// The peer: SQLite through GRDB with the same settings and nothing around it.
    private func bareCommits() throws -> Row {
        let pool = try DatabasePool(path: "\(self.folder)/bare.db")
        return try pool.writeWithoutTransaction { database in
            // GRDB has set NORMAL, which does not sync.
            try database.execute(sql: "PRAGMA synchronous = FULL")
            try database.execute(sql: "CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
            let insert = try database.makeStatement(sql: "INSERT INTO t (b) VALUES ('a row of some twenty bytes')")
            return self.measure("bare SQLite, one commit at a time") {
                try? database.inTransaction(.immediate) {
                    try insert.execute()
                    return .commit
                }
            }
        }
    }

    private func measure(_ name: String, _ once: () -> Void) -> Row {
        let start = ContinuousClock.now
        var samples = Samples()
        while ContinuousClock.now < start.advanced(by: self.duration) {
            let begin = ContinuousClock.now
            once()
            samples.add(begin.duration(to: .now))
        }
        return self.row(name, samples, since: start)
    }

    // MARK: What Parley makes of it

    private func commits(_ concurrency: Int) async throws -> Row {
        try await self.withBackend("commits-\(concurrency)") { backend in
            _ = try await backend.migrate("bench/1", ["CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)"])
            return try await self.measure("transactions at \(concurrency)", concurrency) { _, _ in
                try await backend.withTransaction { transaction in
                    _ = try transaction.execute("INSERT INTO t (b) VALUES ('a row of some twenty bytes')")
                }
            }
        }
    }

    private func publish(batch: Int) async throws -> Row {
        try await self.withBackend("publish") { backend in
            try await backend.transport.declare(ConsumerGroup("bench", bindings: ["bench.#"]))
            var row = try await self.measure("messages published, \(batch) a call", 1) { _, number in
                try await backend.transport.publish((0..<batch).map { Self.message("\(number)-\($0)") })
            }
            row.perSecond *= Double(batch)
            return row
        }
    }

    /// From before the publish to inside the handler; each of `concurrency` publishers waits for its message.
    private func publishConsume(_ concurrency: Int) async throws -> Row {
        try await self.withBackend("consume-\(concurrency)") { backend in
            let arrivals = Arrivals()
            var router = MessageRouter(transport: backend.transport, logger: self.logger)
            router.consume(try ConsumerGroup("bench", bindings: ["bench.#"]), concurrency: 256) { delivery in
                arrivals.arrived(delivery.message.id)
            }
            try await router.declareGroups()
            return try await self.whileRunning(router) {
                try await self.measure("messages published and consumed at \(concurrency)", concurrency) { worker, number in
                    let id = "\(worker)-\(number)"
                    try await arrivals.wait(for: id) { try await backend.transport.publish([Self.message(id)]) }
                }
            }
        }
    }

    /// Two remote steps whose participants answer at once and a local one: four commits a saga, and the engine around them.
    private func sagas(_ concurrency: Int) async throws -> Row {
        try await self.withBackend("sagas-\(concurrency)") { backend in
            let arrivals = Arrivals()
            let step = SagaAction.remote { _ in .success(output: #"{"ok":true}"#) }
            let last = SagaAction.local { _, _ in .success(output: nil) }
            let definition = SagaDefinition(
                name: "bench", initial: "A",
                states: [
                    "A": .init(action: "reserve_a", onSuccess: "B", onFailure: "SAGA_FAILED"),
                    "B": .init(action: "charge_b", onSuccess: "C", onFailure: "SAGA_FAILED"),
                    "C": .init(action: "confirm_c", onSuccess: "SAGA_COMPLETED", onFailure: "SAGA_FAILED"),
                ])
            let store = ObservedStore(store: backend.sagas) { arrivals.arrived($0.businessKey) }
            let coordinator = SagaCoordinator(
                store: store, transactions: backend,
                sagas: [
                    try SagaRegistration(
                        definition, actions: ["reserve_a": step, "charge_b": step, "confirm_c": last],
                        acceptsFindings: true)
                ], logger: self.logger)
            return try await self.whileRunning(coordinator) {
                try await self.measure("three-step sagas at \(concurrency)", concurrency) { worker, number in
                    let key = "\(worker)-\(number)"
                    try await arrivals.wait(for: key) {
                        try await coordinator.start("bench", businessKey: key, input: #"{"order":"\#(key)"}"#)
                    }
                }
            }
        }
    }

    // MARK: Measuring

    private static func message(_ id: String) -> Message {
        Message(
            id: id, source: "bench", type: "bench.message",
            data: Array(#"{"orderId":"123","userId":"456","amount":99.99}"#.utf8))
    }

    private func measure(
        _ name: String, _ concurrency: Int, _ once: @escaping @Sendable (_ worker: Int, _ number: Int) async throws -> Void
    ) async throws -> Row {
        let start = ContinuousClock.now
        let end = start.advanced(by: self.duration)
        let samples = try await withThrowingTaskGroup(of: Samples.self) { group in
            for worker in 0..<concurrency {
                group.addTask {
                    var samples = Samples()
                    var number = 0
                    while ContinuousClock.now < end {
                        let begin = ContinuousClock.now
                        try await once(worker, number)
                        samples.add(begin.duration(to: .now))
                        number += 1
                    }
                    return samples
                }
            }
            return try await group.reduce(into: Samples()) { $0.add($1) }
        }
        return self.row(name, samples, since: start)
    }

    private func row(_ name: String, _ samples: Samples, since start: ContinuousClock.Instant) -> Row {
        Row(
            name: name, perSecond: Double(samples.durations.count) / start.duration(to: .now).seconds,
            p50: samples.quantile(0.5), p99: samples.quantile(0.99), syncs: .infinity)
    }

    private func withBackend<Value: Sendable>(
        _ name: String, _ body: (SQLiteBackend) async throws -> Value
    ) async throws -> Value {
        let backend = try await SQLiteBackend(path: "\(self.folder)/\(name).db", logger: self.logger)
        do {
            let value = try await body(backend)
            await backend.close()
            return value
        } catch {
            await backend.close()
            throw error
        }
    }

    private func whileRunning<Value: Sendable>(
        _ service: some Runnable, _ body: () async throws -> Value
    ) async throws -> Value {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await service.run() }
            let value = try await body()
            group.cancelAll()
            return value
        }
    }
}

protocol Runnable: Sendable {
    func run() async throws
}

extension MessageRouter: Runnable {}
extension SagaCoordinator: Runnable {}

/// Lets a publisher wait until its message, or its saga, has come through.
final class Arrivals: Sendable {
    private let waiters = Mutex<[String: CheckedContinuation<Void, Never>]>([:])

    func arrived(_ id: String) { self.waiters.withLock { $0.removeValue(forKey: id) }?.resume() }

    func wait(for id: String, after send: @escaping @Sendable () async throws -> Void) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                await withCheckedContinuation { continuation in
                    self.waiters.withLock { $0[id] = continuation }
                }
            }
            // The waiter must be in its place before the message can come through.
            while self.waiters.withLock({ $0[id] == nil }) { await Task.yield() }
            try await send()
            try await group.waitForAll()
        }
    }
}

/// A saga store that says when a saga has ended: after its commit.
struct ObservedStore: SagaStore {
    let store: any SagaStore
    let onEnd: @Sendable (SagaInstance) -> Void

    func create(
        _ instance: SagaInstance, definition: String, events: [SagaEvent], in transaction: any Transaction
    ) throws -> SagaInstance? {
        try self.store.create(instance, definition: definition, events: events, in: transaction)
    }

    func commit(
        _ expected: SagaInstance, _ body: @escaping @Sendable (any Transaction) throws -> SagaTransition
    ) async throws -> SagaCommit {
        let result = try await self.store.commit(expected, body)
        if case .written(let instance) = result, instance.status.isTerminal { self.onEnd(instance) }
        return result
    }

    func claim(owner: String, lease: Swift.Duration?, limit: Int) async throws -> SagaClaim {
        try await self.store.claim(owner: owner, lease: lease, limit: limit)
    }

    func renew(owner: String, lease: Swift.Duration) async throws {
        try await self.store.renew(owner: owner, lease: lease)
    }

    func instances(matching query: SagaQuery) async throws -> [SagaInstance] {
        try await self.store.instances(matching: query)
    }

    func history(of id: String) async throws -> [SagaEvent] { try await self.store.history(of: id) }

    func definition(_ fingerprint: String) async throws -> String? { try await self.store.definition(fingerprint) }

    func waitForWork(after generation: UInt64, until instant: ContinuousClock.Instant?) async -> UInt64 {
        await self.store.waitForWork(after: generation, until: instant)
    }
}
