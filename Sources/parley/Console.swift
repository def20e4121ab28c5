internal import ArgumentParser
internal import Foundation
internal import Logging
internal import ParleyCore
internal import ParleyGateway
internal import ParleyOps
internal import Synchronization

/// What every command needs: writing, colours, and errors in one place.
enum Console {
    /// Why a command has not been able to print something; `errno` of the first time.
    private static let lost = Mutex<Int32?>(nil)

    /// Whether all that was printed has been taken. Who prints again and again stops when it has not.
    static var isHeard: Bool { Self.lost.withLock { $0 == nil } }

    /// Prints what the command is asked for. Where it cannot be written, the command fails at its end.
    static func out(_ text: String) {
        guard let error = Self.write(text, to: STDOUT_FILENO) else { return }
        Self.lost.withLock { $0 = $0 ?? error }
    }

    /// Prints what a server says on its way. Nobody may be able to read it (a full disk, a pipe without a reader):
    /// the server goes on.
    static func note(_ text: String) { _ = Self.write(text, to: STDOUT_FILENO) }

    /// Where it cannot be written, there is nobody left to tell.
    static func error(_ text: String) { _ = Self.write(text, to: STDERR_FILENO) }

    /// - Returns: `errno` of what went wrong.
    private static func write(_ text: String, to descriptor: Int32) -> Int32? {
        var rest = Array((text + "\n").utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                return errno
            }
        }
        return nil
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
                // Whoever has closed the pipe has seen enough.
                if error != EPIPE {
                    let words = String(cString: strerror(error))
                    Self.error("parley: cannot write to standard output: \(words); make room, or write elsewhere")
                }
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
