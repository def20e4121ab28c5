package import Logging
package import NIOCore
internal import NIOPosix
package import ParleyCore
internal import Synchronization

/// Writes the access logs of all event loops, on a thread of its own.
///
/// **A loop never waits.** ``write(_:lines:to:)`` takes a lock for as long as a pointer is stored. What waits to be
/// written is at most ``Limits/queueBytes`` for each file; more is dropped, and counted. A full disk drops lines,
/// counts them, and says so once a minute; writing goes on by itself when there is room again.
///
/// **End.** ``run()`` ends when its task is cancelled, and not with a graceful shutdown: requests under way are logged
/// while they drain. What has come until then is written first; lines that come later are dropped, and counted.
package final class AccessLogWriter: Sendable {
    package struct Limits: Sendable {
        /// Bytes that wait for each file.
        package var queueBytes: Int
        package var files: Int

        package init(queueBytes: Int = 4 << 20, files: Int = 64) {
            self.queueBytes = queueBytes
            self.files = files
        }
    }

    package struct Statistics: Sendable, Hashable, Codable {
        package var writtenLines: UInt64 = 0
        package var writtenBytes: UInt64 = 0
        /// Because the queue or the disk was full.
        package var droppedLines: UInt64 = 0
    }

    private struct Pending {
        var bytes: ByteBuffer
        var lines: Int
    }

    private struct Log {
        var path: String
        var file: any LogFile
        var queue: [Pending] = []
        var queuedBytes = 0
        var mustReopen = false
        /// A write stopped within a line: the next one begins on a line of its own.
        var isWithinLine = false
        var lastWarning: Moment?
        /// No configuration names it any more. Its file is closed, and opened again for late lines only.
        var isRetired = false
        var isClosed = false
    }

    private struct State {
        var logs: [Log] = []
        /// Files that another one has replaced: the thread that writes closes them.
        var replaced: [any LogFile] = []
        var statistics = Statistics()
        var isOver = false
    }

    /// Numbers are not given twice, for requests of an old configuration may still be logged: so many paths, in the
    /// life of a process.
    static let maxPaths = 4_096

    /// Between two warnings about one file.
    private static let warningInterval: Duration = .seconds(60)

    private let state = Mutex(State())
    private let signal = Signal()
    private let limits: Limits
    private let logger: Logger
    private let time: any TimeSource
    private let open: @Sendable (String) throws(LogFileError) -> any LogFile

    package convenience init(
        limits: Limits = Limits(),
        logger: Logger,
        time: any TimeSource = SystemTimeSource()
    ) {
        self.init(limits: limits, logger: logger, time: time) { (path: String) throws(LogFileError) in
            try SystemLogFile(path: path)
        }
    }

    init(
        limits: Limits,
        logger: Logger,
        time: any TimeSource,
        open: @escaping @Sendable (String) throws(LogFileError) -> any LogFile
    ) {
        self.limits = limits
        self.logger = logger
        self.time = time
        self.open = open
    }

    /// Opens a log, or finds the one that is open already; blocks, so not on a loop.
    ///
    /// - Returns: Its number for ``write(_:lines:to:)``.
    /// - Throws: ``AccessLogError``.
    package func log(at path: String) throws(AccessLogError) -> Int {
        if let number = self.number(of: path) { return number }
        let file: any LogFile
        do {
            file = try self.open(path)
        } catch {
            throw AccessLogError(message: "\(error)")
        }
        let (number, isTaken) = self.state.withLock { state -> (Int?, Bool) in
            if let number = state.logs.firstIndex(where: { $0.path == path }) {
                guard state.logs[number].isRetired else { return (number, false) }
                state.replaced.append(state.logs[number].file)
                state.logs[number].file = file
                state.logs[number].isRetired = false
                state.logs[number].isClosed = false
                return (number, true)
            }
            let open = state.logs.count { !$0.isRetired }
            guard open < self.limits.files, state.logs.count < Self.maxPaths else { return (nil, false) }
            state.logs.append(Log(path: path, file: file))
            return (state.logs.count - 1, true)
        }
        if !isTaken { file.close() }
        guard let number else {
            throw AccessLogError(
                message: "cannot open \(path): there are \(self.limits.files) access logs already, or there have been "
                    + "\(Self.maxPaths) since the start; use fewer files, or start anew"
            )
        }
        return number
    }

    private func number(of path: String) -> Int? {
        self.state.withLock { $0.logs.firstIndex { $0.path == path && !$0.isRetired } }
    }

    /// Closes the files of all others. Lines of requests that began before still get into theirs.
    package func keep(_ numbers: Set<Int>) {
        self.state.withLock { state in
            for number in state.logs.indices where !numbers.contains(number) { state.logs[number].isRetired = true }
        }
        self.signal.ring()
    }

    /// For one that never ran, and never will. Blocks.
    package func closeAll() {
        let files = self.state.withLock { state in
            state.isOver = true
            defer { state.replaced = [] }
            return state.logs.map(\.file) + state.replaced
        }
        for file in files { file.close() }
    }

    /// Hands over whole lines.
    package func write(_ bytes: ByteBuffer, lines: Int, to number: Int) {
        guard bytes.readableBytes > 0 else { return }
        let mustRing = self.state.withLock { state -> Bool in
            guard !state.isOver, number >= 0, number < state.logs.count,
                state.logs[number].queuedBytes + bytes.readableBytes <= self.limits.queueBytes
            else {
                state.statistics.droppedLines &+= UInt64(clamping: lines)
                return false
            }
            let wasEmpty = state.logs[number].queue.isEmpty
            state.logs[number].queue.append(Pending(bytes: bytes, lines: lines))
            state.logs[number].queuedBytes += bytes.readableBytes
            return wasEmpty
        }
        if mustRing { self.signal.ring() }
    }

    /// Every file is opened anew before the next line: after a rotation.
    package func reopen() {
        self.state.withLock { state in
            for index in state.logs.indices { state.logs[index].mustReopen = true }
        }
        self.signal.ring()
    }

    package var statistics: Statistics { self.state.withLock { $0.statistics } }

    package func run() async throws {
        let pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
        while !Task.isCancelled {
            let generation = self.signal.generation
            await self.drain(on: pool)
            await self.signal.wait(after: generation, until: nil, on: self.time)
        }
        self.state.withLock { $0.isOver = true }
        await self.drain(on: pool)
        self.closeAll()
        try await pool.shutdownGracefully()
    }

    /// Not cancelled with the task: the last lines are written when it is over.
    private func drain(on pool: NIOThreadPool) async {
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            pool.submit { _ in
                self.writeAll()
                continuation.resume()
            }
        }
    }

    // MARK: - On the thread

    private func writeAll() {
        let (count, replaced) = self.state.withLock { state in
            defer { state.replaced = [] }
            return (state.logs.count, state.replaced)
        }
        for file in replaced { file.close() }
        for number in 0..<count { self.writeLog(number) }
    }

    private func writeLog(_ number: Int) {
        let (log, mustReopen) = self.state.withLock { state -> (Log, Bool) in
            let log = state.logs[number]
            state.logs[number].queue = []
            state.logs[number].queuedBytes = 0
            state.logs[number].mustReopen = false
            return (log, log.isClosed ? !log.queue.isEmpty : log.mustReopen)
        }
        var isWithinLine = log.isWithinLine
        if mustReopen {
            do {
                try log.file.reopen()
                isWithinLine = false
            } catch {
                self.warn(number, error)
            }
        }
        var statistics = Statistics()
        var failure: LogFileError?
        for pending in log.queue {
            guard failure == nil else {
                statistics.droppedLines &+= UInt64(clamping: pending.lines)
                continue
            }
            var bytes = pending.bytes
            do {
                if isWithinLine {
                    var end = ByteBuffer(bytes: [UInt8(ascii: "\n")])
                    try log.file.append(&end)
                    isWithinLine = false
                }
                try log.file.append(&bytes)
                statistics.writtenLines &+= UInt64(clamping: pending.lines)
            } catch {
                failure = error
                let lost = bytes.readableBytesView.count { $0 == UInt8(ascii: "\n") }
                statistics.droppedLines &+= UInt64(lost)
                statistics.writtenLines &+= UInt64(clamping: pending.lines - lost)
                let last = bytes.readerIndex - 1
                let hasBegun = bytes.readerIndex > pending.bytes.readerIndex
                if hasBegun { isWithinLine = bytes.getInteger(at: last, as: UInt8.self) != UInt8(ascii: "\n") }
            }
            statistics.writtenBytes &+= UInt64(bytes.readerIndex - pending.bytes.readerIndex)
        }
        self.state.withLock { state in
            state.logs[number].isWithinLine = isWithinLine
            state.statistics.writtenLines &+= statistics.writtenLines
            state.statistics.writtenBytes &+= statistics.writtenBytes
            state.statistics.droppedLines &+= statistics.droppedLines
        }
        if let failure { self.warn(number, failure) }
        self.closeIfRetired(number)
    }

    private func closeIfRetired(_ number: Int) {
        let file: (any LogFile)? = self.state.withLock { state in
            guard state.logs[number].isRetired, state.logs[number].queue.isEmpty else { return nil }
            state.logs[number].isClosed = true
            return state.logs[number].file
        }
        file?.close()
    }

    private func warn(_ number: Int, _ error: LogFileError) {
        let now = self.time.moment
        let dropped = self.state.withLock { state -> UInt64? in
            let last = state.logs[number].lastWarning
            if let last, last.duration(to: now) < Self.warningInterval { return nil }
            state.logs[number].lastWarning = now
            return state.statistics.droppedLines
        }
        guard let dropped else { return }
        self.logger.warning(
            "access log cannot be written",
            metadata: ["error": "\(error)", "dropped.lines": "\(dropped)"]
        )
    }
}

/// An access log that cannot be opened.
package struct AccessLogError: Error, Sendable, Hashable, CustomStringConvertible {
    package var message: String
    package var description: String { "access log: \(self.message)" }
}

/// The lines of one event loop that have not been handed over yet. Confined to its loop.
///
/// A loop writes many lines into one buffer and hands it over when it is full; ``flush(to:)`` is called by a timer of
/// the loop, so that a quiet gateway's lines can be read soon.
package struct AccessLogBuffer {
    private struct Lines {
        var bytes: ByteBuffer
        var count = 0
    }

    private let size: Int
    private var logs: [Lines] = []

    package init(size: Int = 16_384) {
        self.size = max(1, size)
    }

    /// Whether there is anything to flush.
    package var isEmpty: Bool { !self.logs.contains { $0.count > 0 } }

    /// Adds a line, and hands over when the buffer is full.
    ///
    /// - Parameter body: writes one line with its end.
    package mutating func append(
        to number: Int,
        _ writer: AccessLogWriter,
        _ body: (inout ByteBuffer) -> Void
    ) {
        guard number >= 0, number < 4_096 else { return }
        while self.logs.count <= number { self.logs.append(Lines(bytes: ByteBuffer())) }
        if self.logs[number].bytes.capacity == 0 { self.logs[number].bytes.reserveCapacity(self.size + 1_024) }
        body(&self.logs[number].bytes)
        self.logs[number].count += 1
        if self.logs[number].bytes.readableBytes >= self.size { self.flush(number, writer) }
    }

    package mutating func flush(to writer: AccessLogWriter) {
        for number in self.logs.indices { self.flush(number, writer) }
    }

    private mutating func flush(_ number: Int, _ writer: AccessLogWriter) {
        guard self.logs[number].count > 0 else { return }
        writer.write(self.logs[number].bytes, lines: self.logs[number].count, to: number)
        self.logs[number] = Lines(bytes: ByteBuffer())
    }
}
