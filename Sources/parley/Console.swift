internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ParleyCore
internal import ParleyGateway
internal import ParleyOps
internal import Synchronization

/// What every command needs: writing, colours, and errors in one place.
enum Console {
    /// What a command has not been able to print. The first is enough.
    private static let lost = Mutex<(any Error)?>(nil)

    /// Prints what the command is asked for. Where it cannot be written, the command fails at its end.
    static func out(_ text: String) {
        do {
            try FileHandle.standardOutput.write(contentsOf: Data((text + "\n").utf8))
        } catch {
            Self.lost.withLock { $0 = $0 ?? error }
        }
    }

    /// Prints what a server says on its way. Nobody may be able to read it (a full disk, a pipe without a reader):
    /// the server goes on.
    static func note(_ text: String) {
        try? FileHandle.standardOutput.write(contentsOf: Data((text + "\n").utf8))
    }

    /// Where it cannot be written, there is nobody left to tell.
    static func error(_ text: String) {
        try? FileHandle.standardError.write(contentsOf: Data((text + "\n").utf8))
    }

    static var isTerminal: Bool {
        isatty(STDOUT_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb"
    }

    static var style: Style {
        Style(isColoured: Self.isTerminal && ProcessInfo.processInfo.environment["NO_COLOR"]?.isEmpty != false)
    }

    static func json(_ value: some Encodable, isPretty: Bool = true) throws {
        Self.out(try Self.encoded(value, isPretty: isPretty))
    }

    static func encoded(_ value: some Encodable, isPretty: Bool) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if isPretty { encoder.outputFormatting.insert(.prettyPrinted) }
        return String(decoding: try encoder.encode(value), as: UTF8.self)
    }

    /// Runs a command's body; what goes wrong becomes lines on standard error and the status 1.
    static func reporting(_ body: () async throws -> Void) async throws {
        do {
            try await body()
            if let error = Self.lost.withLock({ $0 }) {
                Self.error("parley: cannot write to standard output: \(error); make room, or write elsewhere")
                throw ExitCode.failure
            }
        } catch let code as ExitCode {
            throw code
        } catch let error as ValidationError {
            throw error
        } catch let error as ConfigurationError {
            // `file:line:column:` comes first, so that editors jump to it.
            Self.error("\(error)")
            throw ExitCode.failure
        } catch let error as NginxErrors {
            Self.error("\(error)")
            throw ExitCode.failure
        } catch is CancellationError {
            throw ExitCode.failure
        } catch {
            Self.error("parley: \(error)")
            throw ExitCode.failure
        }
    }

    /// Warnings of the parts would only repeat what the command's own error says.
    static var logger: Logger {
        var logger = Logger(label: "parley") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .error
        return logger
    }
}
