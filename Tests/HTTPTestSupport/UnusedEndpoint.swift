public import ParleyCore

#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// A port of this machine on which nobody listens, now or later.
///
/// The port is bound and stays so until the process ends: a port that was merely free a moment ago may be given to the
/// server of another test, which then answers.
public func unusedEndpoint() async throws -> Endpoint {
    #if canImport(Glibc)
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    #else
    let descriptor = socket(AF_INET, SOCK_STREAM, 0)
    #endif
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let failed = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
            bind(descriptor, pointer, length) != 0 || getsockname(descriptor, pointer, &length) != 0
        }
    }
    struct NoPort: Error {}
    if failed { throw NoPort() }
    return Endpoint(host: "127.0.0.1", port: Int(UInt16(bigEndian: address.sin_port)))
}
