internal import Foundation
internal import ProcessTestSupport

/// A client of HTTP/1 on a blocking socket: for threads of their own, and for tests that ask one thing at a time.
final class Client {
    struct Answer {
        var status: Int
        var head: String
        var body: [UInt8]
        /// Whether the body is as long as its head said.
        var isWhole: Bool

        var text: String { String(decoding: self.body, as: UTF8.self) }
    }

    let descriptor: Int32
    private var received: [UInt8] = []

    init(_ port: Int, patience: Int = 30, receiveBuffer: Int32? = nil) throws {
        self.descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard self.descriptor >= 0 else { throw TestSupportError("socket: \(errno)") }
        var time = timeval(tv_sec: patience, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(self.descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, size)
        setsockopt(self.descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, size)
        if var buffer = receiveBuffer { setsockopt(self.descriptor, SOL_SOCKET, SO_RCVBUF, &buffer, 4) }
        var address = Self.loopback(port)
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(self.descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 else { throw TestSupportError("connect to \(port): \(errno)") }
    }

    deinit { close(self.descriptor) }

    static func loopback(_ port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return address
    }

    static func get(_ path: String, at port: Int) throws -> Answer {
        try Client(port).get(path, closing: true)
    }

    func get(_ path: String, closing: Bool = false) throws -> Answer {
        try self.send("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\n" + (closing ? "Connection: close\r\n\r\n" : "\r\n"))
        return try self.answer()
    }

    func send(_ text: String) throws { try self.send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) throws {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Foundation.send(self.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { throw TestSupportError("send: \(errno)") }
            sent += count
        }
    }

    /// - Returns: How many bytes came; 0 at the end.
    /// - Throws: On a reset, and when nothing comes for too long.
    func receive(atMost limit: Int = 65_536) throws -> Int {
        var buffer = [UInt8](repeating: 0, count: limit)
        let count = recv(self.descriptor, &buffer, limit, 0)
        guard count >= 0 else { throw TestSupportError("receive: \(errno)") }
        self.received += buffer[..<count]
        return count
    }

    /// Whether something can be read within the time, be it the end.
    func hasInput(within milliseconds: Int32) -> Bool {
        var question = pollfd(fd: self.descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&question, 1, milliseconds) > 0
    }

    func answer() throws -> Answer {
        let marker = Array("\r\n\r\n".utf8)
        var end = 0
        while end == 0 {
            for index in self.received.indices.dropLast(3) where self.received[index...].starts(with: marker) {
                end = index + 4
                break
            }
            if end == 0, try self.receive() == 0 {
                throw TestSupportError("the connection ended before an answer, after \(self.received.count) bytes")
            }
        }
        let head = String(decoding: self.received[..<end], as: UTF8.self)
        self.received.removeFirst(end)
        let status = head.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        if status == 100 { return try self.answer() }
        let (body, isWhole) = try self.body(head.lowercased(), status)
        return Answer(status: status, head: head, body: body, isWhole: isWhole)
    }

    private func body(_ head: String, _ status: Int) throws -> ([UInt8], Bool) {
        if status == 204 || status == 304 { return ([], true) }
        if head.contains("transfer-encoding: chunked") { return try self.chunks() }
        guard let field = head.range(of: "content-length: ") else {
            while try self.receive() > 0 {}
            defer { self.received = [] }
            return (self.received, true)
        }
        return try self.take(Int(head[field.upperBound...].prefix { $0.isNumber }) ?? 0)
    }

    private func take(_ count: Int) throws -> ([UInt8], Bool) {
        while self.received.count < count {
            guard try self.receive() > 0 else { return (self.received, false) }
        }
        let taken = Array(self.received.prefix(count))
        self.received.removeFirst(count)
        return (taken, true)
    }

    private func chunks() throws -> ([UInt8], Bool) {
        var body: [UInt8] = []
        while true {
            var line: [UInt8] = []
            while line.last != 0x0A {
                let (byte, isThere) = try self.take(1)
                guard isThere else { return (body, false) }
                line += byte
            }
            let size = Int(String(decoding: line.dropLast(2), as: UTF8.self), radix: 16) ?? 0
            let (chunk, isWhole) = try self.take(size + 2)
            guard isWhole else { return (body, false) }
            if size == 0 { return (body, true) }
            body += chunk.dropLast(2)
        }
    }
}
