#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// Who writes next, among the processes that share one file: a fair lock in front of SQLite's own.
///
/// SQLite's lock is unfair: who has just committed begins again at once, and the others, which look every millisecond,
/// hardly ever find it free. Here a writer first takes its place (`gate`), then waits for its turn (`turn`) and gives
/// the place up. The one that has just written must pass the gate again and finds the next one standing there, so
/// writers take turns. The checkpointer takes its turn too; no commit of a Parley process falls into a checkpoint.
///
/// Two bytes of the file `<database>-lock`, locked as *open file descriptions*: two backends in one process exclude
/// each other as well, and the operating system frees both when a process dies, however it dies.
struct ProcessLock: ~Copyable {
    private let descriptor: CInt

    private static let gate: Int64 = 0
    private static let turn: Int64 = 1
    /// Between two looks. Short, because the lock stands free for as long; it is slept only while another process
    /// writes.
    private static let pause: Duration = .microseconds(100)

    #if canImport(Darwin)
    private static let setLock: CInt = 90  // F_OFD_SETLK
    #else
    private static let setLock: CInt = 37  // F_OFD_SETLK; glibc hides it behind _GNU_SOURCE
    #endif

    /// `nil` and `errno` when the file cannot be opened.
    init?(path: String) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return nil }
        self.descriptor = descriptor
    }

    deinit { close(self.descriptor) }

    /// `false` when it was not this process's turn within `limit`.
    func acquire(within limit: Duration) -> Bool {
        guard let waited = self.wait(for: Self.gate, limit: limit) else { return false }
        let hasTurn = self.wait(for: Self.turn, limit: limit - waited) != nil
        self.set(CInt(F_UNLCK), on: Self.gate)
        return hasTurn
    }

    func release() { self.set(CInt(F_UNLCK), on: Self.turn) }

    private func wait(for byte: Int64, limit: Duration) -> Duration? {
        var waited = Duration.zero
        while !self.set(CInt(F_WRLCK), on: byte) {
            if waited >= limit { return nil }
            pauseThread(Self.pause)
            waited += Self.pause
        }
        return waited
    }

    @discardableResult
    private func set(_ type: CInt, on byte: Int64) -> Bool {
        var region = flock()
        region.l_type = Int16(type)
        region.l_whence = Int16(SEEK_SET)
        region.l_start = off_t(byte)
        region.l_len = 1
        return fcntl(self.descriptor, Self.setLock, &region) == 0
    }
}

/// Lets the calling thread sleep. For the writer's own thread only: it waits for other processes, which no clock of a
/// test can stand in for.
func pauseThread(_ duration: Duration) {
    var wait = timespec()
    wait.tv_sec = 0
    wait.tv_nsec = numericCast(min(999_999_999, max(0, duration.components.attoseconds / 1_000_000_000)))
    nanosleep(&wait, nil)
}

/// Nanoseconds on the operating system's monotonic clock, for the writer's own thread (see ``pauseThread(_:)``).
func monotonicNanoseconds() -> UInt64 {
    var reading = timespec()
    clock_gettime(CLOCK_MONOTONIC, &reading)
    return UInt64(reading.tv_sec) &* 1_000_000_000 &+ UInt64(reading.tv_nsec)
}
