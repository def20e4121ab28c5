internal import Foundation
internal import ParleyCore
internal import Synchronization

/// A process that was started and not yet waited for. It is killed with its last reference.
///
/// By `posix_spawn` and not by Foundation's `Process`, which at times misses the end of a child when several start at
/// once, and whose pipes end the program when a signal interrupts a read.
public final class RunningProcess: Sendable {
    private struct State {
        var status: Int32?
        var waiters: [CheckedContinuation<Int32, Never>] = []
    }

    public let id: Int32
    private let place: String
    private let input: Int32
    private let state = Mutex(State())

    /// - Parameters:
    ///   - environment: what it gets beyond this process's own.
    ///   - hasInput: whether ``write(_:)`` can be used; otherwise its standard input is empty.
    public init(
        _ executable: String,
        _ arguments: [String],
        _ environment: [String: String] = [:],
        hasInput: Bool = false
    ) throws {
        // Files, not pipes: a command that prints much must not wait for us, nor we for who inherited its pipe.
        self.place = NSTemporaryDirectory() + "parley-output-\(UUID().uuidString)"
        for suffix in ["-out", "-err"] {
            _ = FileManager.default.createFile(atPath: self.place + suffix, contents: nil)
        }
        var pipe: [Int32] = [-1, -1]
        if hasInput, Foundation.pipe(&pipe) != 0 { throw TestSupportError("pipe: \(errno)") }
        self.input = pipe[1]
        defer { if hasInput { close(pipe[0]) } }
        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }
        self.id = try Self.spawn([executable] + arguments, variables, place: self.place, input: pipe[0])
        // On a thread of its own: Swift's few must not wait.
        let id = self.id
        Thread.detachNewThread { [weak self] in
            var status: Int32 = 0
            while waitpid(id, &status, 0) == -1, errno == EINTR {}
            self?.ended(status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F))
        }
    }

    deinit {
        // The thread that waits holds no reference; the id is free for another process only after its waitpid.
        if self.isRunning { kill(self.id, SIGKILL) }
        if self.input >= 0 { close(self.input) }
        for suffix in ["-out", "-err"] { try? FileManager.default.removeItem(atPath: self.place + suffix) }
    }

    public var isRunning: Bool { self.state.withLock { $0.status == nil } }
    /// What it has printed so far.
    public var output: String { (try? String(contentsOfFile: self.place + "-out", encoding: .utf8)) ?? "" }
    public var error: String { (try? String(contentsOfFile: self.place + "-err", encoding: .utf8)) ?? "" }

    public func signal(_ number: Int32) {
        self.state.withLock { if $0.status == nil { kill(self.id, number) } }
    }

    public func write(_ text: String) {
        let bytes = Array(text.utf8)
        _ = Foundation.write(self.input, bytes, bytes.count)
    }

    /// Nothing of it runs any more when this returns.
    public func killNow() async {
        self.signal(SIGKILL)
        _ = await self.exit()
    }

    /// - Returns: What it ended with; 128 and the signal's number when it was killed.
    public func exit() async -> Int32 {
        await withCheckedContinuation { continuation in
            let status: Int32? = self.state.withLock { state in
                if state.status == nil { state.waiters.append(continuation) }
                return state.status
            }
            if let status { continuation.resume(returning: status) }
        }
    }

    /// The first line that it prints, or `nil` when it ends without one.
    public func firstLine() async throws -> String? {
        let time = SystemTimeSource()
        while true {
            let isOver = !self.isRunning
            let text = self.output
            if let end = text.firstIndex(of: "\n") { return String(text[..<end]) }
            if isOver { return nil }
            try await time.sleep(for: .milliseconds(10))
        }
    }

    private func ended(_ status: Int32) {
        let waiters = self.state.withLock { state in
            state.status = status
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.resume(returning: status) }
    }

    /// Otherwise a command would hold other tests' sockets open. glibc has it since 2.34 and shows it to C alone.
    private static func closeTheRest(_ actions: inout posix_spawn_file_actions_t) {
        typealias CloseFrom = @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32
        guard let symbol = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np") else { return }
        _ = unsafeBitCast(symbol, to: CloseFrom.self)(&actions, 3)
    }

    private static func spawn(_ words: [String], _ variables: [String], place: String, input: Int32) throws -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if input >= 0 {
            posix_spawn_file_actions_adddup2(&actions, input, 0)
        } else {
            posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        }
        posix_spawn_file_actions_addopen(&actions, 1, place + "-out", O_WRONLY | O_APPEND, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, place + "-err", O_WRONLY | O_APPEND, 0o600)
        Self.closeTheRest(&actions)
        // A process inherits the signals that its parent's thread does not take.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        let arguments = words.map { strdup($0) } + [nil]
        let settings = variables.map { strdup($0) } + [nil]
        defer { for text in arguments + settings { free(text) } }
        var child = pid_t()
        let result = posix_spawnp(&child, words[0], &actions, &attributes, arguments, settings)
        guard result == 0 else {
            throw TestSupportError("\(words[0]) cannot be started: \(String(cString: strerror(result)))")
        }
        return child
    }
}
