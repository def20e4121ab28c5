#if canImport(Darwin)
internal import Darwin
#elseif canImport(Musl)
internal import Musl
#else
internal import Glibc
#endif

/// Where the bytes of configurations come from.
package protocol NginxFiles: Sendable {
    /// The bytes of a file, at most `limit`.
    func contents(of path: String, limit: Int) throws(NginxFileError) -> [UInt8]
    /// The files that a pattern of the shell (`*`, `?`, `[…]`) stands for, sorted; none is no error.
    func matches(of pattern: String, limit: Int) throws(NginxFileError) -> [String]
}

/// Why a file of a configuration could not be read.
package struct NginxFileError: Error, Sendable, Hashable {
    package var message: String
    package var hint: String?

    package init(_ message: String, hint: String? = nil) {
        self.message = message
        self.hint = hint
    }
}

/// The files of the machine.
package struct NginxDiskFiles: NginxFiles {
    package init() {}

    package func contents(of path: String, limit: Int) throws(NginxFileError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Self.error("open()", path) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        let piece = 65_536
        while true {
            var count = 0
            let more = [UInt8](unsafeUninitializedCapacity: piece) { buffer, initialized in
                count = read(descriptor, buffer.baseAddress, piece)
                initialized = max(0, count)
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw Self.error("read()", path)
            }
            if count == 0 { return bytes }
            guard bytes.count + count <= limit else {
                throw NginxFileError("\"\(path)\" has more than \(limit) bytes", hint: "split it")
            }
            bytes += more
        }
    }

    package func matches(of pattern: String, limit: Int) throws(NginxFileError) -> [String] {
        var result = glob_t()
        defer { globfree(&result) }
        switch glob(pattern, 0, nil, &result) {
        case 0: break
        case GLOB_NOMATCH: return []
        default: throw Self.error("glob()", pattern)
        }
        guard result.gl_pathc <= limit else {
            throw NginxFileError("\"\(pattern)\" stands for more than \(limit) files")
        }
        return (0..<Int(result.gl_pathc)).compactMap { index in
            result.gl_pathv[index].map { String(cString: $0) }
        }
    }

    private static func error(_ call: String, _ path: String) -> NginxFileError {
        let code = errno
        return NginxFileError("\(call) \"\(path)\" failed (\(code): \(String(cString: strerror(code))))")
    }
}
