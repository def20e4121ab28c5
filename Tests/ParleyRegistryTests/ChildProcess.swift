import Foundation
import HTTPTestSupport
import ParleyCore
import ProcessTestSupport
import Testing

@testable import ParleyRegistry

/// A registry in a process of its own, to be killed: this test program, started again with only ``ChildRole`` to do.
final class ChildProcess: Sendable {
    private static let variable = "PARLEY_REGISTRY_CHILD"
    private let log: String

    private init(log: String) { self.log = log }

    private var words: [String] {
        ((try? String(contentsOfFile: self.log, encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
    }

    /// Where it listens, as soon as it has said so: the last of its two lines.
    var endpoint: Endpoint? { self.words.count >= 2 ? Endpoint(self.words[1]) : nil }

    func kill() {
        guard let id = self.words.first.flatMap({ Int32($0) }) else { return }
        Foundation.kill(id, SIGKILL)
    }

    static func with<Value: Sendable>(
        _ path: String,
        log: String,
        _ body: @Sendable (ChildProcess) async throws -> Value
    ) async throws -> Value {
        let child = ChildProcess(log: log)
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        async let ended = Subprocess.run(
            program,
            ["--testing-library", "swift-testing", "--filter", "ParleyRegistryTests.ChildRole"],
            [Self.variable: "\(log) \(path)"]
        )
        let result: Result<Value, any Error>
        do { result = .success(try await body(child)) } catch { result = .failure(error) }
        child.kill()
        _ = try await ended
        return try result.get()
    }

    static var role: [String]? {
        ProcessInfo.processInfo.environment[Self.variable]?.split(separator: " ").map(String.init)
    }
}

@Suite(.enabled(if: ChildProcess.role != nil)) struct ChildRole {
    @Test func serve() async throws {
        let words = try #require(ChildProcess.role)
        var configuration = RegistryConfiguration(port: 0, path: words[1])
        configuration.nodeName = local
        let registry = try await Registry(configuration, logger: testLogger)
        try await withRunning(registry) { _ in
            let endpoint = try await registry.endpoint()
            // In one step, so that nobody reads half of it.
            let text = Data("\(getpid())\n\(endpoint)\n".utf8)
            try text.write(to: URL(fileURLWithPath: words[0]), options: .atomic)
            // Until it is killed, or whoever started it has gone.
            _ = try await isEventually(within: .seconds(120)) { getppid() == 1 }
        }
    }
}
