internal import Foundation
internal import Synchronization

struct SocketFailure: Error, CustomStringConvertible {
    var description: String

    init(_ call: String) { self.description = "\(call): \(String(cString: strerror(errno)))" }
}

/// The system's sockets as they are: a test of a proxy needs half closes, resets and bytes that no library would send.
enum Socket {
    enum Reading: Equatable {
        case bytes(Bytes)
        case end
        case reset
        case nothing
    }

    static let canRead = Int32(POLLIN)
    static let canWrite = Int32(POLLOUT)

    /// Above what the system hands out to connections by itself, nobody else of this machine is likely to listen.
    static let ports = 61_100..<65_500

    private static let taken = Mutex<Set<Int>>([])

    /// Closed in every process that is started meanwhile.
    private static func make() throws -> Int32 {
        #if canImport(Glibc)
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
        let descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        guard descriptor >= 0 else { throw SocketFailure("socket") }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        #if canImport(Darwin)
        Self.set(descriptor, SOL_SOCKET, SO_NOSIGPIPE, 1)
        #endif
        return descriptor
    }

    private static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
        var value = value
        setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func with<Value>(
        _ address: String,
        _ port: Int,
        _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value
    ) -> Value {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
        inet_pton(AF_INET, address, &name.sin_addr)
        return withUnsafePointer(to: &name) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    /// A socket bound to a port that nobody has; it refuses connections until ``startListening(_:backlog:)``.
    static func bound() throws -> (descriptor: Int32, port: Int) {
        for _ in 0..<1_000 {
            let port = Int.random(in: Self.ports)
            guard Self.taken.withLock({ $0.insert(port).inserted }) else { continue }
            let descriptor = try Self.make()
            if Self.with("127.0.0.1", port, { bind(descriptor, $0, $1) }) == 0 { return (descriptor, port) }
            close(descriptor)
        }
        throw SocketFailure("bind")
    }

    static func startListening(_ descriptor: Int32, backlog: Int32 = 256) throws {
        guard listen(descriptor, backlog) == 0 else { throw SocketFailure("listen") }
        Self.becomesNonBlocking(descriptor)
    }

    static func accepted(by descriptor: Int32) -> Int32? {
        let connection = accept(descriptor, nil, nil)
        guard connection >= 0 else { return nil }
        _ = fcntl(connection, F_SETFD, FD_CLOEXEC)
        Self.becomesNonBlocking(connection)
        Self.set(connection, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        return connection
    }

    /// - Parameter waits: without it, the connection may still be on its way when this returns.
    static func opened(to port: Int, from source: String? = nil, waits: Bool = true) throws -> Int32 {
        let descriptor = try Self.make()
        if let source { _ = Self.with(source, 0) { bind(descriptor, $0, $1) } }
        if !waits { Self.becomesNonBlocking(descriptor) }
        let failed = Self.with("127.0.0.1", port) { connect(descriptor, $0, $1) } != 0
        guard !failed || (!waits && errno == EINPROGRESS) else {
            defer { close(descriptor) }
            throw SocketFailure("connect")
        }
        Self.becomesNonBlocking(descriptor)
        Self.set(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
        return descriptor
    }

    private static func becomesNonBlocking(_ descriptor: Int32) {
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    /// What is there now.
    static func read(_ descriptor: Int32) -> Reading {
        var buffer = Bytes(repeating: 0, count: 65_536)
        let count = recv(descriptor, &buffer, buffer.count, 0)
        if count > 0 { return .bytes(Bytes(buffer[..<count])) }
        if count == 0 { return .end }
        return errno == EAGAIN || errno == EINTR ? .nothing : .reset
    }

    /// - Returns: How many bytes the system took, or `nil` when the peer has gone.
    static func write(_ descriptor: Int32, _ bytes: ArraySlice<UInt8>) -> Int? {
        #if canImport(Glibc)
        let flags = Int32(MSG_NOSIGNAL)
        #else
        let flags: Int32 = 0
        #endif
        let count = bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, flags) }
        if count >= 0 { return count }
        return errno == EAGAIN || errno == EINTR ? 0 : nil
    }

    static func closeWriting(_ descriptor: Int32) { shutdown(descriptor, Int32(SHUT_WR)) }

    /// The peer gets a reset and not an end.
    static func reset(_ descriptor: Int32) {
        var now = linger(l_onoff: 1, l_linger: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
        close(descriptor)
    }

    static func end(_ descriptor: Int32) { close(descriptor) }

    /// - Returns: Whether something came to pass within `milliseconds`.
    @discardableResult
    static func wait(_ descriptors: inout [pollfd], _ milliseconds: Int32) -> Bool {
        poll(&descriptors, nfds_t(descriptors.count), milliseconds) > 0
    }

    static func isReady(_ descriptor: Int32, for event: Int32, within milliseconds: Int32) -> Bool {
        var one = [pollfd(fd: descriptor, events: Int16(event), revents: 0)]
        return Self.wait(&one, milliseconds)
    }
}
