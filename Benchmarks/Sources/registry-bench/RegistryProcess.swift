import ArgumentParser
import Foundation
import Logging
import ParleyCore
import ParleyRegistry
import PeerBench

/// The registry in a process of its own: what `parley registry` runs, without its words.
struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "A registry, until the standard input ends.")

    @Option(help: "Its file; none keeps everything in memory.") var path: String?

    func run() async throws {
        // Whoever started it has gone.
        Thread.detachNewThread {
            while getchar() != EOF {}
            Foundation.exit(0)
        }
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let registry = try await Registry(RegistryConfiguration(port: 0, path: self.path), logger: logger)
        var names = DNSServer.Configuration(nodeName: "parley")
        names.port = 0
        // All questions come from one address here.
        names.udpQueriesPerSecond = 10_000_000
        let dns = try DNSServer(configuration: names, source: registry.names, logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await registry.run() }
            group.addTask { try await dns.run() }
            let ports = [try await registry.endpoint().port, try await dns.endpoint().port]
            FileHandle.standardOutput.write(Data("\(ports[0]) \(ports[1])\n".utf8))
            try await group.waitForAll()
        }
    }
}

/// That process, as its starter sees it.
final class RegistryProcess: Sendable {
    let httpPort: Int
    let dnsPort: Int
    private let id: Int32

    private init(id: Int32, httpPort: Int, dnsPort: Int) {
        (self.id, self.httpPort, self.dnsPort) = (id, httpPort, dnsPort)
    }

    /// Starts one for the length of `body`.
    static func with<Value>(
        path: String? = nil,
        _ body: (RegistryProcess) async throws -> Value
    ) async throws -> Value {
        let process = Process()
        let (input, output) = (Pipe(), Pipe())
        process.executableURL = URL(fileURLWithPath: Bundle.main.executablePath ?? CommandLine.arguments[0])
        process.arguments = ["serve"] + (path.map { ["--path", $0] } ?? [])
        process.standardInput = input
        process.standardOutput = output
        try process.run()
        defer {
            process.terminate()
            process.waitUntilExit()
        }
        let line = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
        let ports = line.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
        guard ports.count == 2 else { throw PeerBench.Failure("the registry has not begun: \(line)") }
        return try await body(
            RegistryProcess(id: process.processIdentifier, httpPort: ports[0], dnsPort: ports[1])
        )
    }

    /// What it holds in memory now, in megabytes.
    var memory: Double { self.status("VmRSS:") }

    /// The most that it ever held.
    var peakMemory: Double { self.status("VmHWM:") }

    private func status(_ name: String) -> Double {
        let text = (try? String(contentsOfFile: "/proc/\(self.id)/status", encoding: .utf8)) ?? ""
        let line = text.split(separator: "\n").first { $0.hasPrefix(name) } ?? ""
        return line.split(whereSeparator: \.isWhitespace).compactMap { Double($0) }.first.map { $0 / 1_024 } ?? .nan
    }

    /// The processor time that it has used, in seconds, to a hundredth.
    var processorTime: Double {
        let text = (try? String(contentsOfFile: "/proc/\(self.id)/stat", encoding: .utf8)) ?? ""
        // The name, in parentheses, may hold spaces.
        let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return .nan }
        return (user + system) / Double(sysconf(Int32(_SC_CLK_TCK)))
    }

    /// Returns when it has nothing to do: all that was sent has been read, and waits.
    func untilIdle() async throws {
        var (last, quiet) = (-1.0, 0)
        while quiet < 6 {
            try await Task.sleep(for: .milliseconds(50))
            let now = self.processorTime
            quiet = now == last ? quiet + 1 : 0
            last = now
        }
    }
}
