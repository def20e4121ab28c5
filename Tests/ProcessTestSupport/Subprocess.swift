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
        let words = [executable] + arguments
        let there = folder.map { ["/bin/sh", "-c", "cd \"$0\" && exec \"$@\"", $0] + words } ?? words
        let child = try RunningProcess(there[0], Array(there.dropFirst()), environment)
        let status = await child.exit()
        return Answer(status: status, output: child.output, error: child.error)
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
