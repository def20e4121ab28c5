internal import Foundation
internal import ProcessTestSupport

/// Sockets that listen on a free port of the machine itself.
enum Listener {
    static func open() throws -> (descriptor: Int32, port: Int) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = Client.loopback(0)
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                let isBound = bind(descriptor, $0, size) == 0 && listen(descriptor, 512) == 0
                return isBound ? getsockname(descriptor, $0, &size) : -1
            }
        }
        guard descriptor >= 0, result == 0 else { throw TestSupportError("listen: \(errno)") }
        return (descriptor, Int(UInt16(bigEndian: address.sin_port)))
    }

    /// Whoever waits in `accept` is told.
    static func close(_ descriptor: Int32) {
        shutdown(descriptor, Int32(SHUT_RDWR))
        Foundation.close(descriptor)
    }

    /// A port that nobody has at the moment.
    static func freePort() throws -> Int {
        let (descriptor, port) = try Self.open()
        Self.close(descriptor)
        return port
    }
}
