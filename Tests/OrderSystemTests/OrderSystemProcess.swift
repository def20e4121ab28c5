import AsyncHTTPClient
import Foundation
import NIOCore
import ProcessTestSupport
import Testing

/// The built `order-system` binary, run as its users run it: as a process, driven over HTTP and signals only.
final class OrderSystemProcess: Sendable {
    struct Refusal: Error, CustomStringConvertible {
        var status: Int32
        var standardError: String
        var description: String { "exit \(self.status): \(self.standardError)" }
    }

    private let process: RunningProcess
    let addresses: [String: String]

    var gateway: String { self.addresses["gateway"] ?? "" }

    /// Where SwiftPM put the binary: beside the tests.
    static var binary: String {
        if let path = ProcessInfo.processInfo.environment["ORDER_SYSTEM_BINARY"] { return path }
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        return root.appendingPathComponent(".build/debug/order-system").path
    }

    /// Starts it and waits until it has printed its addresses.
    ///
    /// - Throws: ``Refusal`` when it ends instead.
    static func start(
        _ arguments: [String] = ["up", "--ephemeral-ports"],
        data: TemporaryFolder,
        environment: [String: String] = [:]
    ) async throws -> OrderSystemProcess {
        let words = arguments + ["--json", "--data", data.path, "--log-level", "error"]
        let process = try RunningProcess(self.binary, words, environment)
        let line = try await process.firstLine()
        guard let line, let addresses = try? JSONDecoder().decode([String: String].self, from: Data(line.utf8)) else {
            process.signal(SIGTERM)
            let status = await process.exit()
            throw Refusal(status: status, standardError: process.error)
        }
        return OrderSystemProcess(process: process, addresses: addresses)
    }

    /// Runs a command that ends by itself.
    static func run(_ arguments: [String], environment: [String: String] = [:]) async throws -> Subprocess.Answer {
        try await Subprocess.run(self.binary, arguments, environment)
    }

    /// Runs the operators' command, which SwiftPM puts beside the system.
    static func parley(_ arguments: [String]) async throws -> Subprocess.Answer {
        let beside = URL(fileURLWithPath: self.binary).deletingLastPathComponent().appendingPathComponent("parley").path
        return try await Subprocess.run(ProcessInfo.processInfo.environment["PARLEY_BINARY"] ?? beside, arguments)
    }

    private init(process: RunningProcess, addresses: [String: String]) {
        self.process = process
        self.addresses = addresses
    }

    var residentMemoryKilobytes: Int? {
        let status = try? String(contentsOfFile: "/proc/\(self.process.id)/status", encoding: .utf8)
        let line = status?.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }

    func signal(_ number: Int32) { self.process.signal(number) }

    /// As a power cut for the process: nothing of it runs any more when this returns.
    func killNow() async { await self.process.killNow() }

    /// Ctrl-C; says how it ended and how long that took.
    @discardableResult
    func interrupt() async -> (status: Int32, took: Duration) {
        let start = ContinuousClock.now
        self.signal(SIGINT)
        let status = await self.process.exit()
        return (status, start.duration(to: .now))
    }
}

/// A folder of a test's own, gone when the test is over.
final class TemporaryFolder: Sendable {
    let path: String

    init() throws {
        self.path = NSTemporaryDirectory() + "order-system-\(ProcessInfo.processInfo.globallyUniqueString)"
        try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }
}
