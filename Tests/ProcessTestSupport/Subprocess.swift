internal import Foundation
internal import ParleyCore

public struct TestSupportError: Error, CustomStringConvertible {
    public var description: String

    public init(_ description: String) {
        self.description = description
    }
}

/// A command that ends by itself.
public enum Subprocess {
    public struct Answer: Sendable {
        public var status: Int32
        public var output: String
        public var error: String
    }

    public static func run(
        _ executable: String,
        _ arguments: [String],
        _ environment: [String: String] = [:],
        folder: String? = nil
    ) async throws -> Answer {
        // Files, not pipes: a command that prints much must not wait for us, nor we for who inherited its pipe.
        let place = NSTemporaryDirectory() + "parley-output-\(UUID().uuidString)"
        defer {
            for suffix in ["-out", "-err"] { try? FileManager.default.removeItem(atPath: place + suffix) }
        }
        for suffix in ["-out", "-err"] { _ = FileManager.default.createFile(atPath: place + suffix, contents: nil) }
        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }.map { "\($0)=\($1)" }
        let status: Int32 = await withCheckedContinuation { continuation in
            // On a thread of its own: Swift's few must not wait. And not by Foundation's Process, which at times misses
            // the end of a child when several start at once.
            Thread.detachNewThread {
                let words = [executable] + arguments
                let there = folder.map { ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", $0] + words }
                continuation.resume(returning: Self.spawnAndWait(there ?? words, variables, place: place))
            }
        }
        return Answer(
            status: status,
            output: try String(contentsOfFile: place + "-out", encoding: .utf8),
            error: try String(contentsOfFile: place + "-err", encoding: .utf8)
        )
    }

    /// Otherwise a command would hold other tests' sockets open. glibc has it since 2.34 and shows it to C alone.
    private static func closeTheRest(_ actions: inout posix_spawn_file_actions_t) {
        typealias CloseFrom = @convention(c) (UnsafeMutablePointer<posix_spawn_file_actions_t>, Int32) -> Int32
        guard let symbol = dlsym(nil, "posix_spawn_file_actions_addclosefrom_np") else { return }
        _ = unsafeBitCast(symbol, to: CloseFrom.self)(&actions, 3)
    }

    /// - Returns: What the command ended with; 128 and the signal's number when it was killed, 127 when there is none.
    private static func spawnAndWait(
        _ words: [String],
        _ variables: [String],
        place: String
    ) -> Int32 {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, place + "-out", O_WRONLY | O_TRUNC, 0o600)
        posix_spawn_file_actions_addopen(&actions, 2, place + "-err", O_WRONLY | O_TRUNC, 0o600)
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
        guard posix_spawn(&child, words[0], &actions, &attributes, arguments, settings) == 0 else { return 127 }
        var status: Int32 = 0
        while waitpid(child, &status, 0) == -1, errno == EINTR {}
        return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128 + (status & 0x7F)
    }
}

/// Asks until it is so; says whether it ever was, within `limit`.
public func isEventually(
    within limit: Duration = .seconds(30),
    _ condition: () async throws -> Bool
) async throws -> Bool {
    let time = SystemTimeSource()
    let end = time.now.advanced(by: limit)
    while try await !condition() {
        guard time.now < end else { return false }
        try await time.sleep(for: .milliseconds(50))
    }
    return true
}
