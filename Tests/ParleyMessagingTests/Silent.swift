import Logging

extension Logger {
    /// For tests that provoke what would be logged.
    static var silent: Logger { Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }) }
}
