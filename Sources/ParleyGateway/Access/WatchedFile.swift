internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// Which version of a file there is: when any of these differs, it has been changed.
struct FileStamp: Sendable, Hashable {
    var seconds: Int64
    var nanoseconds: Int64
    var size: Int64
    var inode: UInt64
}

/// Why a file could not be read.
struct FileProblem: Error, Sendable, Hashable, CustomStringConvertible {
    enum Kind: Sendable, Hashable { case notFound, unreadable, tooLarge }

    var kind: Kind
    var path: String
    /// What the system said.
    var detail: String

    var description: String { "\(self.path): \(self.detail)" }
}

/// Reading whole files of a configuration, which may block.
enum FileReading {
    static func stamp(of path: String) throws(FileProblem) -> FileStamp {
        var status = stat()
        guard stat(path, &status) == 0 else { throw self.problem(path, errno) }
        return self.stamp(status)
    }

    /// The stamp is of what was read: a change while it is read shows in the next look.
    static func read(_ path: String, limit: Int) throws(FileProblem) -> (stamp: FileStamp, bytes: [UInt8]) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw self.problem(path, errno) }
        defer { _ = close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw self.problem(path, errno) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = chunk.withUnsafeMutableBytes { systemRead(descriptor, $0) }
            if count < 0 {
                if errno == EINTR { continue }
                throw self.problem(path, errno)
            }
            if count == 0 { return (self.stamp(status), bytes) }
            guard bytes.count + count <= limit else {
                throw FileProblem(kind: .tooLarge, path: path, detail: "larger than \(limit) bytes")
            }
            bytes += chunk.prefix(count)
        }
    }

    private static func systemRead(_ descriptor: Int32, _ buffer: UnsafeMutableRawBufferPointer) -> Int {
        #if canImport(Darwin)
        Darwin.read(descriptor, buffer.baseAddress, buffer.count)
        #else
        Glibc.read(descriptor, buffer.baseAddress, buffer.count)
        #endif
    }

    private static func problem(_ path: String, _ code: Int32) -> FileProblem {
        FileProblem(
            kind: code == ENOENT ? .notFound : .unreadable,
            path: path,
            detail: String(cString: strerror(code))
        )
    }

    private static func stamp(_ status: stat) -> FileStamp {
        #if canImport(Darwin)
        let modified = status.st_mtimespec
        #else
        let modified = status.st_mtim
        #endif
        return FileStamp(
            seconds: Int64(modified.tv_sec),
            nanoseconds: Int64(modified.tv_nsec),
            size: Int64(status.st_size),
            inode: UInt64(status.st_ino)
        )
    }
}

/// A file that may change while the gateway runs, and what its present version means.
///
/// It is looked at no more often than once a second, and never from an event loop.
final class WatchedFile<Content: Sendable>: Sendable {
    struct Version: Sendable {
        var content: Result<Content, FileProblem>
        /// Another number for each version that was seen.
        var generation: UInt64
    }

    private struct State {
        var version: Version?
        var stamp: FileStamp?
        var looked: ContinuousClock.Instant?
        var generation: UInt64 = 0
    }

    let path: String
    private let limit: Int
    private let interval: Duration
    private let parse: @Sendable ([UInt8]) -> Content
    private let state = Mutex(State())

    init(
        path: String,
        limit: Int,
        interval: Duration = .seconds(1),
        parse: @escaping @Sendable ([UInt8]) -> Content
    ) {
        self.path = path
        self.limit = limit
        self.interval = interval
        self.parse = parse
    }

    /// The version that was last seen, unless it is time to look again.
    func current(_ now: ContinuousClock.Instant) -> Version? {
        self.state.withLock { state in
            guard let looked = state.looked, now < looked.advanced(by: self.interval) else { return nil }
            return state.version
        }
    }

    /// Looks again when it is time. Blocks.
    func look(_ now: ContinuousClock.Instant) -> Version {
        if let version = self.current(now) { return version }
        let known = self.state.withLock { state in
            state.version.flatMap { (try? $0.content.get()) != nil ? state.stamp : nil }
        }
        if let known, (try? FileReading.stamp(of: self.path)) == known {
            let unchanged = self.state.withLock { state -> Version? in
                guard state.stamp == known else { return nil }
                state.looked = now
                return state.version
            }
            if let unchanged { return unchanged }
        }
        do throws(FileProblem) {
            let read = try FileReading.read(self.path, limit: self.limit)
            return self.keep(.success(self.parse(read.bytes)), read.stamp, now)
        } catch {
            return self.keep(.failure(error), nil, now)
        }
    }

    private func keep(
        _ content: Result<Content, FileProblem>,
        _ stamp: FileStamp?,
        _ now: ContinuousClock.Instant
    ) -> Version {
        self.state.withLock { state in
            state.generation &+= 1
            let version = Version(content: content, generation: state.generation)
            state.version = version
            state.stamp = stamp
            state.looked = now
            return version
        }
    }
}
