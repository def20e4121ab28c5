internal import Foundation

/// A program that did not end well.
public struct CommandFailure: Error, CustomStringConvertible {
    public var description: String
}

/// Runs a program to its end and gives what it printed, on a thread of its own: Swift has as many for all tests as the
/// machine has cores.
///
/// - Throws: ``CommandFailure`` when its status is not 0.
@discardableResult
public func run(
    _ executable: String,
    _ arguments: [String],
    environment: [String: String] = [:]
) async throws -> String {
    let (status, text) = try await outcome(executable, arguments, environment: environment)
    guard status == 0 else {
        throw CommandFailure(
            description: "\(executable) \(arguments.joined(separator: " ")): status \(status)\n\(text)"
        )
    }
    return text.trimmingCharacters(in: .whitespacesAndNewlines)
}

/// As ``run(_:_:environment:)``, for a program whose status is of interest.
public func outcome(
    _ executable: String,
    _ arguments: [String],
    environment: [String: String] = [:]
) async throws -> (status: Int32, output: String) {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: executable)
            process.arguments = arguments
            process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
            let output = Pipe()
            process.standardInput = FileHandle.nullDevice
            process.standardOutput = output
            process.standardError = output
            do {
                try process.run()
                let data = output.fileHandleForReading.readDataToEndOfFile()
                process.waitUntilExit()
                continuation.resume(returning: (process.terminationStatus, String(decoding: data, as: UTF8.self)))
            } catch {
                continuation.resume(throwing: error)
            }
        }
    }
}
