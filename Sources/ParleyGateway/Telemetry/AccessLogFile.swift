internal import NIOCore
internal import Synchronization

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// Why lines could not be written, by the system's number.
struct LogFileError: Error, Sendable, Hashable, CustomStringConvertible {
    var operation: String
    var path: String
    var number: Int32

    var description: String {
        let hint =
            switch self.number {
            case ENOSPC, EDQUOT: "; make room, the log goes on by itself"
            case EFBIG: "; move the file away and send SIGUSR1, or raise the limit (ulimit -f)"
            case EACCES, EPERM, EROFS: "; let the gateway's user write there"
            case ENOENT: "; make the folder"
            default: ""
            }
        return "\(self.operation) \(self.path): \(String(cString: strerror(self.number)))\(hint)"
    }
}

/// Where the lines of one log go. Its calls block, so they are made on a thread that serves nothing else.
protocol LogFile: Sendable {
    /// Writes from the front of `bytes` and takes off what was written, also when it throws.
    func append(_ bytes: inout ByteBuffer) throws(LogFileError)
    /// Opens the path anew: after the file has been renamed. The old one stays when that fails.
    func reopen() throws(LogFileError)
    func close()
}

/// A file of the system, opened for appending; `/dev/stdout` and `/dev/stderr` are the process's own.
final class SystemLogFile: LogFile {
    private let path: String
    /// Only the writer's thread uses it after the initializer.
    private let descriptor: Atomic<Int32>

    init(path: String) throws(LogFileError) {
        self.path = path
        self.descriptor = Atomic(try Self.open(path))
    }

    private static func open(_ path: String) throws(LogFileError) -> Int32 {
        while true {
            let descriptor: Int32 =
                switch path {
                case "/dev/stdout": dup(STDOUT_FILENO)
                case "/dev/stderr": dup(STDERR_FILENO)
                // Others may read it, as they may read nginx's.
                default: systemOpen(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
                }
            if descriptor >= 0 { return descriptor }
            if errno != EINTR { throw LogFileError(operation: "cannot open", path: path, number: errno) }
        }
    }

    func append(_ bytes: inout ByteBuffer) throws(LogFileError) {
        let descriptor = self.descriptor.load(ordering: .relaxed)
        while bytes.readableBytes > 0 {
            let written = bytes.withUnsafeReadableBytes { write(descriptor, $0.baseAddress, $0.count) }
            if written > 0 {
                bytes.moveReaderIndex(forwardBy: written)
            } else if written < 0, errno == EINTR {
                continue
            } else {
                throw LogFileError(operation: "cannot write to", path: self.path, number: written < 0 ? errno : ENOSPC)
            }
        }
    }

    func reopen() throws(LogFileError) {
        let old = self.descriptor.exchange(try Self.open(self.path), ordering: .relaxed)
        if old >= 0 { _ = systemClose(old) }
    }

    func close() {
        let old = self.descriptor.exchange(-1, ordering: .relaxed)
        if old >= 0 { _ = systemClose(old) }
    }
}

private func systemOpen(_ path: String, _ flags: Int32, _ mode: mode_t) -> Int32 { open(path, flags, mode) }
private func systemClose(_ descriptor: Int32) -> Int32 { close(descriptor) }
