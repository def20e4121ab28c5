import Foundation
import Logging
import ParleyCore
import ParleyMessaging
import ParleySQLite
import ParleySagas
import ProcessTestSupport
import Synchronization
import Testing

/// A folder of one test; it goes with the test.
final class Folder: Sendable {
    let path: String

    init() throws {
        let name = "parley-sqlite-\(getpid())-\(UUIDv7Generator.shared.next())"
        self.path = NSTemporaryDirectory() + name
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    var database: String { self.path + "/test.db" }

    func file(_ name: String) -> String { self.path + "/" + name }

    func backend(
        _ configure: (inout SQLiteConfiguration) -> Void = { _ in },
        time: any TimeSource = SystemTimeSource(),
        logger: Logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    ) async throws -> SQLiteBackend {
        var configuration = SQLiteConfiguration()
        configure(&configuration)
        return try await SQLiteBackend(path: self.database, configuration: configuration, time: time, logger: logger)
    }
}

/// A clock that stands still until the test moves it.
final class HandClock: TimeSource {
    private struct Sleeper {
        let until: ContinuousClock.Instant
        let continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var now = ContinuousClock.now
        var wall = Timestamp(microseconds: 1_700_000_000_000_000)
        var nextID = 0
        var sleepers: [Int: Sleeper] = [:]
        var cancelled: Set<Int> = []
    }

    private let state = Mutex(State())

    var now: ContinuousClock.Instant { self.state.withLock { $0.now } }
    var wallTime: Timestamp { self.state.withLock { $0.wall } }

    func advance(by duration: Duration) {
        let due = self.state.withLock { state in
            state.now = state.now.advanced(by: duration)
            state.wall = state.wall + duration
            let due = state.sleepers.filter { $0.value.until <= state.now }
            for id in due.keys { state.sleepers[id] = nil }
            return due
        }
        for sleeper in due.values { sleeper.continuation.resume() }
    }

    /// The calendar is set; the monotonic clock does not move.
    func setBack(by duration: Duration) { self.state.withLock { $0.wall = $0.wall + .zero - duration } }

    func sleep(until instant: ContinuousClock.Instant) async throws {
        let id = self.state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                let result: Result<Void, any Error>? = self.state.withLock { state in
                    if state.cancelled.remove(id) != nil { return .failure(CancellationError()) }
                    if state.now >= instant { return .success(()) }
                    state.sleepers[id] = Sleeper(until: instant, continuation: continuation)
                    return nil
                }
                if let result { continuation.resume(with: result) }
            }
        } onCancel: {
            let sleeper = self.state.withLock { state in
                let sleeper = state.sleepers.removeValue(forKey: id)
                if sleeper == nil { state.cancelled.insert(id) }
                return sleeper
            }
            sleeper?.continuation.resume(throwing: CancellationError())
        }
    }
}

extension Timestamp {
    fileprivate static func - (lhs: Timestamp, rhs: Duration) -> Timestamp { lhs + (.zero - rhs) }
}

/// Runs a program to its end and gives what it printed.
@discardableResult
func run(_ program: String, _ arguments: [String]) async throws -> String {
    let answer = try await Subprocess.run(program, arguments)
    return answer.output + answer.error
}

/// The error that `body` throws, as what the test expects it to be.
func sqliteError(_ body: () async throws -> Void) async -> SQLiteError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? SQLiteError
    }
}

func message(_ type: String = "order.created", key: String? = nil, data: String = "{}") -> Message {
    Message(source: "test", type: type, data: Array(data.utf8), key: key)
}

func saga(_ key: String, at now: Timestamp, owner: String? = nil, due: Timestamp?) -> SagaInstance {
    SagaInstance(
        id: "saga-\(key)",
        type: "order",
        businessKey: key,
        definition: "v1",
        state: "A",
        owner: owner,
        enteredAt: now,
        dueAt: due,
        input: "{}",
        createdAt: now,
        updatedAt: now
    )
}

func started(_ saga: SagaInstance) -> SagaEvent {
    SagaEvent(
        version: saga.version,
        at: saga.createdAt,
        kind: .started,
        state: saga.state,
        nextState: saga.state,
        action: nil,
        attempt: 0,
        detail: nil
    )
}

extension SQLiteBackend {
    func scalar(_ sql: String, _ arguments: [SQLValue] = []) async throws -> Int64? {
        try await self.read { try $0.query(sql, arguments).first?.first?.integer }
    }

    /// A group that has everything, and `count` messages in it.
    func fill(_ group: String, count: Int, maximumDeliveries: Int = 10, lease: Duration = .seconds(4)) async throws {
        try await self.transport.declare(
            ConsumerGroup(group, bindings: ["#"], maximumDeliveries: maximumDeliveries, lease: lease)
        )
        try await self.transport.publish((0..<count).map { message(data: "\($0)") })
    }
}
