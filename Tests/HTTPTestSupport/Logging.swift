public import Logging

/// A logger for tests: silent unless something breaks.
public let testLogger: Logger = {
    var logger = Logger(label: "test")
    logger.logLevel = .critical
    return logger
}()
