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
        let process = Process()
        process.executableURL = URL(fileURLWithPath: executable)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        if let folder { process.currentDirectoryURL = URL(fileURLWithPath: folder) }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle(forWritingAtPath: place + "-out")
        process.standardError = FileHandle(forWritingAtPath: place + "-err")
        let status: Int32 = try await withCheckedThrowingContinuation { continuation in
            // On a thread of its own, because a process inherits the signals that its parent's thread does not take: on
            // one of Swift's it would never hear that it is to end.
            Thread.detachNewThread {
                var none = sigset_t()
                sigemptyset(&none)
                pthread_sigmask(SIG_SETMASK, &none, nil)
                do {
                    try process.run()
                    process.waitUntilExit()
                    continuation.resume(returning: process.terminationStatus)
                } catch {
                    continuation.resume(throwing: error)
                }
            }
        }
        return Answer(
            status: status,
            output: try String(contentsOfFile: place + "-out", encoding: .utf8),
            error: try String(contentsOfFile: place + "-err", encoding: .utf8)
        )
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
