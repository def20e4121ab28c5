internal import NIOCore
internal import NIOPosix
internal import ParleyCore
internal import Synchronization

#if canImport(Glibc)
internal import Glibc
#elseif canImport(Darwin)
internal import Darwin
#endif

/// The system's resolver.
enum HostLookup {
    private final class Answer: Sendable {
        let value = Mutex<[String]?>(nil)
        let came = Signal()
    }

    /// Looked up on a thread of the pool. The system cannot be told to stop, so one that takes too long is left behind.
    ///
    /// - Throws: ``GatewayError`` (`unknownHost`) after `limit`, or when the task is cancelled.
    static func addresses(
        of host: String,
        port: Int,
        within limit: Duration,
        on time: any TimeSource
    ) async throws -> [String] {
        let answer = Answer()
        let end = time.now.advanced(by: limit)
        NIOThreadPool.singleton.submit { state in
            let found = state == .active ? (try? Self.addresses(of: host, port: port)) ?? [] : []
            answer.value.withLock { $0 = found }
            answer.came.ring()
        }
        while true {
            let generation = answer.came.generation
            if let found = answer.value.withLock({ $0 }) { return found }
            guard time.now < end, !Task.isCancelled else {
                throw GatewayError(.unknownHost, "the name \(host) was not answered for in time; does DNS answer?")
            }
            await answer.came.wait(after: generation, until: end, on: time)
        }
    }

    /// Blocks.
    ///
    /// As texts, without duplicates, in the resolver's order; empty when the name is not known.
    static func addresses(of host: String, port: Int) throws -> [String] {
        var hints = addrinfo()
        #if canImport(Darwin)
        hints.ai_socktype = SOCK_STREAM
        #else
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        #endif
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(port)", &hints, &list) == 0 else { return [] }
        defer { freeaddrinfo(list) }
        var texts: [String] = []
        var next = list
        while let entry = next {
            var buffer = [CChar](repeating: 0, count: Int(NI_MAXHOST))
            let outcome = getnameinfo(
                entry.pointee.ai_addr,
                entry.pointee.ai_addrlen,
                &buffer,
                socklen_t(buffer.count),
                nil,
                0,
                NI_NUMERICHOST
            )
            if outcome == 0 {
                let text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                if !texts.contains(text) { texts.append(text) }
            }
            next = entry.pointee.ai_next
        }
        return texts
    }
}

/// What the machine calls itself and the process.
enum ProcessFacts {
    static let hostname: String = {
        var buffer = [CChar](repeating: 0, count: 256)
        guard gethostname(&buffer, buffer.count - 1) == 0 else { return "localhost" }
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }()

    static var pid: Int32 { getpid() }
}
