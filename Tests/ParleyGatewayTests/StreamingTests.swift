internal import AsyncHTTPClient
internal import HTTPTestSupport
internal import NIOCore
internal import NIOHTTP1
internal import ParleyCore
internal import ParleyGateway
internal import ParleyHTTPServer
internal import Synchronization
internal import Testing

@Suite(.timeLimit(.minutes(1))) struct StreamingTests {
    private static let chunk = 65_536
    private static let chunks = 320  // 20 MB

    @Test func twentyMegabytesComeDownWhole() async throws {
        try await withUpstream { upstream in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                let size = Self.chunk * Self.chunks
                let answer = try await request("GET", "/api/v1/users/zeros/\(size)", at: gateway)
                #expect(answer.status == 200 && answer.body.count == size)
                #expect(answer.header("content-length") == "\(size)")
            }
        }
    }

    /// Each chunk is sent only when the one before has come back: a gateway that waited for the end of either body
    /// would wait for ever.
    @Test func bothBodiesFlowAtOnce() async throws {
        try await withUpstream { upstream in
            try await withGateway(to: [users: [upstream]], configure: { $0.maxBodyBytes = 64 * 1_048_576 }) {
                gateway,
                _ in
                let echoed = Watermark()
                var request = HTTPClientRequest(url: "http://\(gateway)/api/v1/users/echo")
                request.method = .POST
                request.body = .stream(
                    PacedBody(chunks: Self.chunks, size: Self.chunk, echoed: echoed),
                    length: .unknown
                )
                let response = try await HTTPClient.shared.execute(request, timeout: .seconds(50))
                #expect(response.status == .ok)
                var count = 0
                for try await buffer in response.body {
                    count += buffer.readableBytes
                    echoed.raise(to: count)
                }
                #expect(count == Self.chunk * Self.chunks)
            }
        }
    }

    /// A service that reads nothing stops the client after what sockets and one buffer in the gateway hold.
    @Test func aServiceThatDoesNotReadSlowsTheClient() async throws {
        try await RawServer.with(.deaf) { upstream, server in
            try await withGateway(to: [users: [upstream]], configure: { $0.maxBodyBytes = 1 << 40 }) { gateway, _ in
                let sent = Watermark()
                var request = HTTPClientRequest(url: "http://\(gateway)/api/v1/users/echo")
                request.method = .POST
                request.body = .stream(EndlessBody(size: Self.chunk, sent: sent), length: .unknown)
                let stalledAt = await withTaskGroup(of: Void.self) { group in
                    group.addTask { [request] in
                        _ = try? await HTTPClient.shared.execute(request, timeout: .seconds(50))
                    }
                    // It has stalled when it stays where it is for half a second.
                    var (last, same) = (-1, 0)
                    while same < 10 {
                        try? await SystemTimeSource().sleep(for: .milliseconds(50))
                        let now = sent.value
                        same = now == last && now > 0 ? same + 1 : 0
                        last = now
                    }
                    // What a client that has been told to stop still takes out of its body is not the gateway's.
                    group.cancelAll()
                    return last
                }
                #expect(stalledAt < 40 * 1_048_576, "\(stalledAt)")
            }
        }
    }

    @Test func aBodyOfUnknownLengthAboveTheLimitIs413() async throws {
        try await RawServer.with(.collect) { upstream, server in
            try await withGateway(to: [users: [upstream]], configure: { $0.maxBodyBytes = 100_000 }) { gateway, _ in
                let text = try await RawConnection.with(gateway) { connection in
                    try await connection.send(
                        "POST /api/v1/users HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                    )
                    for _ in 0..<11 {
                        try await connection.send("2710\r\n" + String(repeating: "x", count: 10_000) + "\r\n")
                    }
                    return try await connection.read(until: "body_too_large")
                }
                #expect(text.hasPrefix("HTTP/1.1 413"))
                #expect(server.received.count < 120_000)
            }
        }
    }

    @Test func anUploadThatBreaksOffIsNeverPassedOnAsComplete() async throws {
        for head in ["Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "Content-Length: 100\r\n\r\nhello"] {
            try await RawServer.with(.collect) { upstream, server in
                try await withGateway(to: [users: [upstream]], configure: { $0.readTimeout = .milliseconds(300) }) {
                    gateway,
                    _ in
                    _ = try await RawConnection.with(gateway) { connection in
                        try await connection.send("POST /api/v1/users HTTP/1.1\r\nHost: a\r\n" + head)
                        try await server.wait { String(decoding: $0.received, as: UTF8.self).contains("hello") }
                        connection.finish()
                        return await connection.readToEnd()
                    }
                }
                // At the end only: the head of the second one has these bytes in it, "Content-Length: 100".
                #expect(!String(decoding: server.received, as: UTF8.self).hasSuffix("0\r\n\r\n"))
            }
        }
    }

    /// The service answers at the head of the request and does not read the rest; the gateway must survive having two
    /// ends that no longer agree, and the client must see the answer.
    @Test func aServiceThatAnswersEarlyIsHeard() async throws {
        try await RawServer.with(.answerAndClose("HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"))
        { upstream, _ in
            try await withGateway(
                to: [users: [upstream]],
                configure: { $0.listener.lingerTimeout = .milliseconds(200) }
            ) {
                gateway,
                _ in
                for _ in 0..<10 {
                    let text = try await RawConnection.with(gateway) { connection in
                        try await connection.send(
                            "POST /api/v1/users HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n"
                        )
                        try await connection.send(bytes: 65_536)
                        // The rest never comes: the gateway lets go of the connection.
                        return await connection.readToEnd()
                    }
                    #expect(text.hasPrefix("HTTP/1.1 401") || text.contains("upstream_broke"), "\(text)")
                }
            }
        }
    }

    @Test func expectContinueIsAnswered() async throws {
        try await withUpstream { upstream in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                let text = try await RawConnection.with(gateway) { connection in
                    try await connection.send(
                        "POST /api/v1/users/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
                            + "Expect: 100-continue\r\n\r\n"
                    )
                    try await connection.read(until: "100 Continue\r\n\r\n")
                    try await connection.send("hello")
                    return try await connection.read(until: "hello")
                }
                #expect(text.contains("HTTP/1.1 200 OK"))
            }
        }
    }

    @Test func manyRequestsOnOneConnection() async throws {
        try await withUpstream { upstream in
            try await withGateway(to: [users: [upstream]]) { gateway, _ in
                let text = try await RawConnection.with(gateway) { connection in
                    // Pipelined: the answers come in order.
                    for number in 0..<20 {
                        try await connection.send("GET /api/v1/users/u\(number) HTTP/1.1\r\nHost: a\r\n\r\n")
                    }
                    return try await connection.read(until: "u19")
                }
                let order = (0..<20).compactMap { text.firstRange(of: "\r\n\r\nu\($0)")?.lowerBound }
                #expect(order.count == 20 && order == order.sorted())
            }
        }
    }
}

/// A number that only rises, and that can be waited for.
final class Watermark: Sendable {
    private let mark = Mutex(0)
    private let signal = Signal()

    var value: Int { self.mark.withLock { $0 } }

    func raise(to value: Int) {
        self.mark.withLock { $0 = max($0, value) }
        self.signal.ring()
    }

    func wait(for value: Int) async throws {
        while true {
            let generation = self.signal.generation
            if self.value >= value { return }
            await self.signal.wait(after: generation, until: nil, on: SystemTimeSource())
            try Task.checkCancellation()
        }
    }
}

/// Sends a chunk once all before it have been echoed.
struct PacedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let chunks: Int
    let size: Int
    let echoed: Watermark

    struct AsyncIterator: AsyncIteratorProtocol {
        let body: PacedBody
        var sent = 0

        mutating func next() async throws -> ByteBuffer? {
            guard self.sent < self.body.chunks else { return nil }
            try await self.body.echoed.wait(for: self.sent * self.body.size)
            self.sent += 1
            return ByteBuffer(repeating: UInt8(ascii: "x"), count: self.body.size)
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self) }
}

struct EndlessBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let size: Int
    let sent: Watermark

    struct AsyncIterator: AsyncIteratorProtocol {
        let body: EndlessBody
        var count = 0

        mutating func next() async throws -> ByteBuffer? {
            try Task.checkCancellation()
            self.count += self.body.size
            self.body.sent.raise(to: self.count)
            return ByteBuffer(repeating: UInt8(ascii: "x"), count: self.body.size)
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(body: self) }
}
