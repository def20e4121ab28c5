import AsyncHTTPClient
import Foundation
import NIOCore
import Synchronization
import Testing

/// The built `order-system` binary, run as its users run it: as a process, driven over HTTP and signals only.
final class OrderSystemProcess: Sendable {
    struct Refusal: Error, CustomStringConvertible {
        var status: Int32
        var standardError: String
        var description: String { "exit \(self.status): \(self.standardError)" }
    }

    private let process: Process
    private let output: Output
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
        let (process, output) = try self.launch(
            arguments + ["--json", "--data", data.path, "--log-level", "error"],
            environment
        )
        let line = await output.firstLine()
        guard let line, let addresses = try? JSONDecoder().decode([String: String].self, from: Data(line.utf8)) else {
            process.terminate()
            let status = await output.exit()
            throw Refusal(status: status, standardError: output.standardError)
        }
        return OrderSystemProcess(process: process, output: output, addresses: addresses)
    }

    /// Runs a command that ends by itself.
    static func run(
        _ arguments: [String],
        environment: [String: String] = [:]
    ) async throws -> (status: Int32, output: String, error: String) {
        let (_, output) = try self.launch(arguments, environment)
        let status = await output.exit()
        return (status, output.standardOutput, output.standardError)
    }

    /// Runs the operators' command, which SwiftPM puts beside the system.
    static func parley(_ arguments: [String]) async throws -> (status: Int32, output: String, error: String) {
        let beside = URL(fileURLWithPath: self.binary).deletingLastPathComponent().appendingPathComponent("parley").path
        let binary = ProcessInfo.processInfo.environment["PARLEY_BINARY"] ?? beside
        let (_, output) = try self.launch(arguments, [:], binary: binary)
        let status = await output.exit()
        return (status, output.standardOutput, output.standardError)
    }

    private init(process: Process, output: Output, addresses: [String: String]) {
        self.process = process
        self.output = output
        self.addresses = addresses
    }

    deinit {
        if self.process.isRunning { kill(self.process.processIdentifier, SIGKILL) }
    }

    var residentMemoryKilobytes: Int? {
        let status = try? String(contentsOfFile: "/proc/\(self.process.processIdentifier)/status", encoding: .utf8)
        let line = status?.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return line?.split(separator: " ").dropFirst().first.flatMap { Int($0) }
    }

    func signal(_ number: Int32) { kill(self.process.processIdentifier, number) }

    /// As a power cut for the process: nothing of it runs any more when this returns.
    func killNow() async {
        self.signal(SIGKILL)
        _ = await self.output.exit()
    }

    /// Ctrl-C; says how it ended and how long that took.
    @discardableResult
    func interrupt() async -> (status: Int32, took: Duration) {
        let start = ContinuousClock.now
        self.signal(SIGINT)
        let status = await self.output.exit()
        return (status, start.duration(to: .now))
    }

    private static func launch(
        _ arguments: [String],
        _ environment: [String: String],
        binary: String = binary
    ) throws -> (Process, Output) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: binary)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let output = Output()
        let (standardOutput, standardError) = (Pipe(), Pipe())
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = standardOutput
        process.standardError = standardError
        process.terminationHandler = { output.ended($0.terminationStatus) }
        try process.run()
        // Threads that read to the end, for a readability handler is at times not told of it.
        for (pipe, isError) in [(standardOutput, false), (standardError, true)] {
            let handle = pipe.fileHandleForReading
            Thread.detachNewThread {
                while true {
                    let data = handle.availableData
                    output.append(data, isError: isError)
                    if data.isEmpty { return }
                }
            }
        }
        return (process, output)
    }
}

/// What a process prints and how it ends, for those who wait for it.
private final class Output: Sendable {
    private struct State {
        var output = Data()
        var error = Data()
        var openPipes = 2
        var status: Int32?
        var lineWaiters: [CheckedContinuation<String?, Never>] = []
        var exitWaiters: [CheckedContinuation<Int32, Never>] = []

        var line: String? {
            self.output.firstIndex(of: 10).map { String(decoding: self.output[..<$0], as: UTF8.self) }
        }

        /// The status, once everything that was printed has been read.
        var finalStatus: Int32? { self.openPipes == 0 ? self.status : nil }
    }

    private let state = Mutex(State())

    var standardOutput: String { self.state.withLock { String(decoding: $0.output, as: UTF8.self) } }
    var standardError: String { self.state.withLock { String(decoding: $0.error, as: UTF8.self) } }

    /// - Parameter data: Empty at the end of the stream.
    func append(_ data: Data, isError: Bool) {
        self.change { state in
            if data.isEmpty {
                state.openPipes -= 1
            } else if isError {
                state.error += data
            } else {
                state.output += data
            }
        }
    }

    func ended(_ status: Int32) { self.change { $0.status = status } }

    private func change(_ body: (inout State) -> Void) {
        let (lines, line, exits, status) = self.state.withLock { state in
            body(&state)
            let isOver = state.finalStatus != nil
            let lines = state.line != nil || isOver ? state.lineWaiters : []
            let exits = isOver ? state.exitWaiters : []
            if !lines.isEmpty { state.lineWaiters = [] }
            if isOver { state.exitWaiters = [] }
            return (lines, state.line, exits, state.finalStatus)
        }
        for waiter in lines { waiter.resume(returning: line) }
        for waiter in exits { waiter.resume(returning: status ?? -1) }
    }

    func firstLine() async -> String? {
        await withCheckedContinuation { continuation in
            let now: String?? = self.state.withLock { state in
                if let line = state.line { return .some(line) }
                if state.finalStatus != nil { return .some(nil) }
                state.lineWaiters.append(continuation)
                return nil
            }
            if let now { continuation.resume(returning: now) }
        }
    }

    func exit() async -> Int32 {
        await withCheckedContinuation { continuation in
            let now: Int32? = self.state.withLock { state in
                if let status = state.finalStatus { return status }
                state.exitWaiters.append(continuation)
                return nil
            }
            if let now { continuation.resume(returning: now) }
        }
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
