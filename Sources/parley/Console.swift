internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ParleyCore
internal import ParleyGateway
internal import ParleyOps

/// What every command needs: writing, colours, and errors in one place.
enum Console {
    static func out(_ text: String) { FileHandle.standardOutput.write(Data((text + "\n").utf8)) }
    static func error(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }

    static var isTerminal: Bool {
        isatty(STDOUT_FILENO) == 1 && ProcessInfo.processInfo.environment["TERM"] != "dumb"
    }

    static var style: Style {
        Style(isColoured: Self.isTerminal && ProcessInfo.processInfo.environment["NO_COLOR"]?.isEmpty != false)
    }

    static func json(_ value: some Encodable, isPretty: Bool = true) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        if isPretty { encoder.outputFormatting.insert(.prettyPrinted) }
        Self.out(String(decoding: try encoder.encode(value), as: UTF8.self))
    }

    /// Runs a command's body; what goes wrong becomes lines on standard error and the status 1.
    static func reporting(_ body: () async throws -> Void) async throws {
        do {
            try await body()
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
