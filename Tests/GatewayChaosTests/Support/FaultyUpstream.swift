internal import Foundation
internal import ProcessTestSupport
internal import Synchronization

/// A service that breaks in the way that it is told to, on threads of its own.
final class FaultyUpstream: Sendable {
    enum Fault: String, CaseIterable, Sendable {
        case none
        /// A reset as soon as the connection is there.
        case resetAtOnce
        case resetAfterHead
        case closeAfterHead
        /// Ends its side before it has answered, and leaves the other one open.
        case halfClose
        case resetInStatusLine
        case resetInHead
        case closeInHead
        case garbage
        /// A head that is none of HTTP, and does not end.
        case endlessHead
        case twoLengths
        /// Says nothing until the gateway gives up.
        case silence
        // From here on the answer has begun: it can only be cut.
        case closeInBody
        case resetInBody
        case brokenChunk

        var hasBegun: Bool { [.closeInBody, .resetInBody, .brokenChunk].contains(self) }
    }

    let port: Int
    private let descriptor: Int32
    private let name: String
    private let fault: Mutex<Fault>
    private let requests = Atomic(0)

    init(name: String = "faulty", _ fault: Fault = .none) throws {
        (self.descriptor, self.port) = try Listener.open()
        self.name = name
        self.fault = Mutex(fault)
        Thread.detachNewThread { [self] in
            while true {
                let client = accept(self.descriptor, nil, nil)
                guard client >= 0 else { return }
                Thread.detachNewThread { [self] in
                    self.serve(client)
                    close(client)
                }
            }
        }
    }

    /// No more connections; those that are open end by themselves.
    func stop() { Listener.close(self.descriptor) }

    func set(_ fault: Fault) { self.fault.withLock { $0 = fault } }

    var requestCount: Int { self.requests.load(ordering: .relaxed) }

    private func serve(_ client: Int32) {
        var time = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        if self.fault.withLock({ $0 }) == .resetAtOnce { return self.reset(client) }
        var received: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = recv(client, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            received += buffer[..<count]
            // Requests without bodies, one at a time.
            guard received.suffix(4).elementsEqual("\r\n\r\n".utf8) else { continue }
            received = []
            self.requests.add(1, ordering: .relaxed)
            guard self.answer(client, self.fault.withLock { $0 }) else { return }
        }
    }

    /// - Returns: Whether the connection goes on.
    private func answer(_ client: Int32, _ fault: Fault) -> Bool {
        let body = self.name
        switch fault {
        case .none:
            return self.send(client, "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
        case .resetAtOnce, .resetAfterHead: self.reset(client)
        case .closeAfterHead: break
        case .halfClose:
            shutdown(client, Int32(SHUT_WR))
            self.waitForEnd(client)
        case .resetInStatusLine:
            _ = self.send(client, "HTTP/1.1 20")
            self.reset(client)
        case .resetInHead:
            _ = self.send(client, "HTTP/1.1 200 OK\r\nContent-Le")
            self.reset(client)
        case .closeInHead: _ = self.send(client, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n")
        case .garbage: _ = self.send(client, "\u{16}\u{3}\u{1}\0garbage that is no HTTP\r\n\r\n")
        case .endlessHead:
            _ = self.send(client, "HTTP/1.1 200 OK\r\n")
            while self.send(client, "X-Field: " + String(repeating: "a", count: 1_000) + "\r\n") {}
        case .twoLengths: _ = self.send(client, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na")
        case .silence: self.waitForEnd(client)
        case .closeInBody: _ = self.send(client, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
        case .resetInBody:
            _ = self.send(client, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
            self.reset(client)
        case .brokenChunk:
            _ = self.send(client, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n")
        }
        return false
    }

    private func send(_ client: Int32, _ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return Foundation.send(client, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
    }

    /// The next close tells the other side that something broke.
    private func reset(_ client: Int32) {
        var how = linger(l_onoff: 1, l_linger: 0)
        setsockopt(client, SOL_SOCKET, SO_LINGER, &how, socklen_t(MemoryLayout<linger>.size))
    }

    private func waitForEnd(_ client: Int32) {
        var byte: UInt8 = 0
        while recv(client, &byte, 1, 0) > 0 {}
    }
}
