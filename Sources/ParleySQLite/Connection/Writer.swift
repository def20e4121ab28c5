internal import Foundation
internal import ParleyCore
internal import Synchronization

/// The one writer of this process: a thread that owns the write connection and commits in groups.
///
/// What arrives while a commit is being synced to disk forms the next group: each caller's closure runs in a savepoint
/// of its own, all of them share one `BEGIN IMMEDIATE … COMMIT` and one sync. A closure that throws takes back only its
/// own savepoint.
///
/// It is a thread, not a task: SQLite blocks, and a blocked thread of Swift's pool is one core less for everybody.
final class Writer: Sendable {
    private let queue: WriteQueue
    private let state = Mutex(State.running([]))

    private enum State {
        /// Who waits for the end.
        case running([CheckedContinuation<Void, Never>])
        case ended
    }

    init(configuration: SQLiteConfiguration) {
        self.queue = WriteQueue(limit: configuration.maximumQueuedWrites)
    }

    /// Opens the file on the new thread and serves until ``close()``; returns when the file is open.
    func start<Opened: Sendable>(
        _ open: @escaping @Sendable () throws -> (loop: WriterLoop, opened: Opened)
    ) async throws -> Opened {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Opened, any Error>) in
            let thread = Thread {
                do {
                    let (loop, opened) = try open()
                    continuation.resume(returning: opened)
                    loop.run(self.queue)
                } catch {
                    continuation.resume(throwing: error)
                }
                self.ended()
            }
            thread.name = "parley-sqlite"
            thread.start()
        }
    }

    /// Runs `body` in a transaction and returns after the commit.
    ///
    /// Cancelling the waiting task changes nothing: what is in the queue is done, and the caller learns the outcome.
    func perform<Value: Sendable>(
        path: String,
        isEssential: Bool = false,
        _ body: @escaping @Sendable (SQLiteTransaction) throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            let job = ValueJob(body, continuation)
            switch self.queue.push(job, isEssential: isEssential) {
            case .accepted: break
            case .full:
                job.finish(
                    SQLiteError(
                        .overloaded,
                        path: path,
                        "too many writes wait for the disk; send less, or try again later",
                        retry: .notSent
                    )
                )
            case .closed:
                job.finish(SQLiteError(.closed, path: path, "the backend has been shut down", retry: .notSent))
            }
        }
    }

    /// Refuses new writes; the thread ends after those that wait already.
    func close() { self.queue.close() }

    /// Returns when everything is done and the file is closed.
    func waitUntilEnded() async {
        await withCheckedContinuation { continuation in
            let hasEnded = self.state.withLock { state in
                guard case .running(var waiters) = state else { return true }
                waiters.append(continuation)
                state = .running(waiters)
                return false
            }
            if hasEnded { continuation.resume() }
        }
    }

    private func ended() {
        let waiters = self.state.withLock { state -> [CheckedContinuation<Void, Never>] in
            defer { state = .ended }
            guard case .running(let waiters) = state else { return [] }
            return waiters
        }
        for waiter in waiters { waiter.resume() }
    }
}

private final class ValueJob<Value: Sendable>: WriteJob, @unchecked Sendable {
    // @unchecked: `value` is touched by the writer's thread only.
    private let body: @Sendable (SQLiteTransaction) throws -> Value
    private let continuation: CheckedContinuation<Value, any Error>
    private var value: Value?

    init(
        _ body: @escaping @Sendable (SQLiteTransaction) throws -> Value,
        _ continuation: CheckedContinuation<Value, any Error>
    ) {
        self.body = body
        self.continuation = continuation
    }

    func run(_ transaction: SQLiteTransaction) throws { self.value = try self.body(transaction) }

    func finish(_ failure: (any Error)?) {
        if let failure {
            self.continuation.resume(throwing: failure)
        } else if let value = self.value {
            self.continuation.resume(returning: value)
        } else {
            // Not reached: a job without a value has thrown, and then there is a failure.
            self.continuation.resume(throwing: CancellationError())
        }
    }
}
