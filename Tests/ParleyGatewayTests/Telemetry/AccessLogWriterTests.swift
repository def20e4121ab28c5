import Foundation
import Logging
import NIOCore
import ParleyCore
import Synchronization
import Testing

@testable import ParleyGateway

/// A log in memory that can be full.
private final class MemoryFile: LogFile {
    struct State {
        var bytes: [UInt8] = []
        var room = Int.max
        var opened = 1
        var isClosed = false
    }

    let state = Mutex(State())

    func append(_ bytes: inout ByteBuffer) throws(LogFileError) {
        let count = bytes.readableBytes
        let fits = self.state.withLock { state in
            let fits = min(count, state.room)
            state.bytes += bytes.readBytes(length: fits) ?? []
            state.room -= fits
            return fits
        }
        if fits < count { throw LogFileError(operation: "cannot write to", path: "memory", number: ENOSPC) }
    }

    func reopen() throws(LogFileError) { self.state.withLock { $0.opened += 1 } }
    func close() { self.state.withLock { $0.isClosed = true } }
    var text: String { self.state.withLock { String(decoding: $0.bytes, as: UTF8.self) } }
}

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

private func writer(_ file: MemoryFile, queueBytes: Int = 1 << 20) -> AccessLogWriter {
    AccessLogWriter(limits: .init(queueBytes: queueBytes), logger: quiet, time: SystemTimeSource()) {
        (_: String) throws(LogFileError) in file
    }
}

/// Waits until it is so; a test that waits for ever is ended by its time limit.
private func eventually(_ condition: () -> Bool) async {
    while !condition() { await Task.yield() }
}

@Suite(.timeLimit(.minutes(1))) struct AccessLogWriterTests {
    @Test func linesOfSeveralTasksAllArrive() async throws {
        let file = MemoryFile()
        let writer = writer(file)
        let log = try writer.log(at: "memory")
        #expect(try writer.log(at: "memory") == log)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await writer.run() }
            await withTaskGroup(of: Void.self) { writers in
                for number in 0..<8 {
                    writers.addTask {
                        for line in 0..<200 {
                            writer.write(ByteBuffer(string: "\(number)-\(line)\n"), lines: 1, to: log)
                        }
                    }
                }
            }
            group.cancelAll()
            try await group.waitForAll()
        }
        let lines = file.text.split(separator: "\n")
        #expect(lines.count == 1_600)
        #expect(Set(lines).count == 1_600)
        #expect(writer.statistics.writtenLines == 1_600)
        #expect(writer.statistics.droppedLines == 0)
        #expect(file.state.withLock { $0.isClosed })
        writer.write(ByteBuffer(string: "late\n"), lines: 1, to: log)
        #expect(writer.statistics.droppedLines == 1)
    }

    @Test func aFullQueueDropsAndCounts() throws {
        let writer = writer(MemoryFile(), queueBytes: 10)
        let log = try writer.log(at: "memory")
        writer.write(ByteBuffer(string: "0123456789"), lines: 1, to: log)
        writer.write(ByteBuffer(string: "\n"), lines: 3, to: log)
        writer.write(ByteBuffer(string: "x"), lines: 1, to: 99)
        #expect(writer.statistics.droppedLines == 4)
    }

    @Test func aFullDiskDropsCountsAndRecovers() async throws {
        let file = MemoryFile()
        file.state.withLock { $0.room = 6 }
        let writer = writer(file)
        let log = try writer.log(at: "memory")
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await writer.run() }
            writer.write(ByteBuffer(string: "one\ntwo\nthree\n"), lines: 3, to: log)
            await eventually { writer.statistics.droppedLines == 2 }
            #expect(writer.statistics.writtenLines == 1)
            file.state.withLock { $0.room = .max }
            writer.write(ByteBuffer(string: "four\n"), lines: 1, to: log)
            await eventually { writer.statistics.writtenLines == 2 }
            group.cancelAll()
            try await group.waitForAll()
        }
        // The line that was cut is not the beginning of another.
        #expect(file.text == "one\ntw\nfour\n")
    }

    @Test func aFullDeviceOfTheSystemIsSaid() throws {
        let file = try SystemLogFile(path: "/dev/full")
        var bytes = ByteBuffer(string: "x\n")
        let error = #expect(throws: LogFileError.self) { try file.append(&bytes) }
        #expect(error?.description.contains("make room") == true)
        #expect(bytes.readableBytes == 2)
        file.close()
    }

    @Test func aRotatedFileIsOpenedAnew() async throws {
        let path = NSTemporaryDirectory() + "access-\(UUID().uuidString).log"
        defer { for name in [path, path + ".1"] { try? FileManager.default.removeItem(atPath: name) } }
        let writer = AccessLogWriter(logger: quiet)
        let log = try writer.log(at: path)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await writer.run() }
            writer.write(ByteBuffer(string: "before\n"), lines: 1, to: log)
            await eventually { writer.statistics.writtenLines == 1 }
            try FileManager.default.moveItem(atPath: path, toPath: path + ".1")
            writer.reopen()
            writer.write(ByteBuffer(string: "after\n"), lines: 1, to: log)
            await eventually { writer.statistics.writtenLines == 2 }
            group.cancelAll()
            try await group.waitForAll()
        }
        #expect(try String(contentsOfFile: path + ".1", encoding: .utf8) == "before\n")
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "after\n")
    }

    @Test func aFileThatCannotBeOpenedIsSaid() {
        let writer = AccessLogWriter(logger: quiet)
        let error = #expect(throws: AccessLogError.self) { try writer.log(at: "/nowhere/at/all.log") }
        #expect(error?.description.contains("/nowhere/at/all.log") == true)
    }

    @Test func aBufferHandsOverWhenItIsFull() throws {
        let writer = writer(MemoryFile(), queueBytes: 1)
        _ = try writer.log(at: "memory")
        var buffer = AccessLogBuffer(size: 10)
        #expect(buffer.isEmpty)
        buffer.append(to: 0, writer) { $0.writeString("12345\n") }
        #expect(!buffer.isEmpty)
        #expect(writer.statistics.droppedLines == 0)
        // The queue holds one byte: what is handed over is dropped, and so counted.
        buffer.append(to: 0, writer) { $0.writeString("12345\n") }
        #expect(buffer.isEmpty)
        #expect(writer.statistics.droppedLines == 2)
        buffer.append(to: 0, writer) { $0.writeString("1\n") }
        buffer.flush(to: writer)
        #expect(writer.statistics.droppedLines == 3)
    }

    /// A log that no configuration names any more is closed; a late line still gets there, and naming it again opens it.
    @Test func whatIsNotNamedIsClosed() async throws {
        let files = Mutex<[String: [MemoryFile]]>([:])
        let writer = AccessLogWriter(limits: .init(files: 2), logger: quiet, time: SystemTimeSource()) {
            (path: String) throws(LogFileError) in
            let file = MemoryFile()
            files.withLock { $0[path, default: []].append(file) }
            return file
        }
        let (one, two) = (try writer.log(at: "one"), try writer.log(at: "two"))
        #expect(throws: AccessLogError.self) { try writer.log(at: "three") }
        let first = try #require(files.withLock { $0["one"]?.first })
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await writer.run() }
            writer.write(ByteBuffer(string: "a\n"), lines: 1, to: one)
            writer.keep([two])
            await eventually { first.state.withLock { $0.isClosed } }
            #expect(first.text == "a\n")
            writer.write(ByteBuffer(string: "late\n"), lines: 1, to: one)
            await eventually { first.text == "a\nlate\n" }
            #expect(first.state.withLock { $0.opened } == 2)
            // There is room for another one now, and its number is not that of the first.
            #expect(try writer.log(at: "three") == 2)
            writer.keep([two])
            let again = try writer.log(at: "one")
            #expect(again == one)
            writer.write(ByteBuffer(string: "b\n"), lines: 1, to: again)
            await eventually { files.withLock { $0["one"]?.last?.text } == "b\n" }
            group.cancelAll()
            try await group.waitForAll()
        }
        #expect(files.withLock { $0.values.joined().allSatisfy { $0.state.withLock { $0.isClosed } } })
        #expect(writer.statistics.writtenLines == 3)
    }
}
