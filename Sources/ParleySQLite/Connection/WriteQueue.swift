internal import DequeModule

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// What one caller wants done inside a transaction. `run` is called on the writer's thread, more than once when the
/// transaction that it shared with others was lost; then `finish`, exactly once.
protocol WriteJob: AnyObject, Sendable {
    func run(_ transaction: SQLiteTransaction) throws
    func finish(_ failure: (any Error)?)
}

/// The writer's intake: many tasks put in, one thread takes out. A mutex and a condition of the operating system,
/// because the thread must be able to sleep on it; a lone write costs one wake-up, and a busy writer none.
final class WriteQueue: @unchecked Sendable {
    // @unchecked: everything below is touched only with `mutex` held.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let condition: UnsafeMutablePointer<pthread_cond_t>
    private var jobs = Deque<any WriteJob>()
    private var isSleeping = false
    private var isClosed = false
    private let limit: Int

    enum PushResult {
        case accepted
        case full
        case closed
    }

    enum TakeResult {
        case jobs
        case timeout
        /// Closed, and everything that was put in has been taken out.
        case closed
    }

    init(limit: Int) {
        self.limit = limit
        self.mutex = .allocate(capacity: 1)
        self.condition = .allocate(capacity: 1)
        pthread_mutex_init(self.mutex, nil)
        #if canImport(Glibc)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(self.condition, &attributes)
        pthread_condattr_destroy(&attributes)
        #else
        pthread_cond_init(self.condition, nil)
        #endif
    }

    deinit {
        pthread_cond_destroy(self.condition)
        pthread_mutex_destroy(self.mutex)
        self.condition.deallocate()
        self.mutex.deallocate()
    }

    /// An essential job goes in over the limit: it gives back what is held, so refusing it would make matters worse.
    func push(_ job: any WriteJob, isEssential: Bool) -> PushResult {
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        if self.isClosed { return .closed }
        if self.jobs.count >= self.limit, !isEssential { return .full }
        self.jobs.append(job)
        if self.isSleeping {
            self.isSleeping = false
            pthread_cond_signal(self.condition)
        }
        return .accepted
    }

    /// Moves up to `maximum` jobs into `batch`; sleeps until there is one, or until `deadline` (monotonic nanoseconds).
    func take(_ maximum: Int, into batch: inout [any WriteJob], until deadline: UInt64?) -> TakeResult {
        pthread_mutex_lock(self.mutex)
        defer { pthread_mutex_unlock(self.mutex) }
        while self.jobs.isEmpty {
            if self.isClosed { return .closed }
            self.isSleeping = true
            if let deadline {
                if monotonicNanoseconds() >= deadline { return .timeout }
                self.sleep(until: deadline)
            } else {
                pthread_cond_wait(self.condition, self.mutex)
            }
        }
        self.isSleeping = false
        let count = min(maximum, self.jobs.count)
        batch.append(contentsOf: self.jobs.prefix(count))
        self.jobs.removeFirst(count)
        return .jobs
    }

    func close() {
        pthread_mutex_lock(self.mutex)
        self.isClosed = true
        pthread_cond_signal(self.condition)
        pthread_mutex_unlock(self.mutex)
    }

    private func sleep(until deadline: UInt64) {
        var instant = timespec()
        #if canImport(Glibc)
        instant.tv_sec = numericCast(deadline / 1_000_000_000)
        instant.tv_nsec = numericCast(deadline % 1_000_000_000)
        pthread_cond_timedwait(self.condition, self.mutex, &instant)
        #else
        let now = monotonicNanoseconds()
        let wait = deadline > now ? deadline - now : 0
        instant.tv_sec = numericCast(wait / 1_000_000_000)
        instant.tv_nsec = numericCast(wait % 1_000_000_000)
        pthread_cond_timedwait_relative_np(self.condition, self.mutex, &instant)
        #endif
    }
}
