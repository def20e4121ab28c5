internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import ParleyCore
internal import ParleyHTTPClient

/// What the gateway itself asks: how an instance is, which keys an issuer has. Nothing that passes through it.
struct OwnQuestions: Sendable {
    private struct TooLate: Error, CustomStringConvertible {
        var description: String { "no answer in time" }
    }

    /// More than a health answer or a set of keys has.
    static let maxBytes = 1_048_576

    private let connections: HTTPConnections
    private let time: any TimeSource

    init(time: any TimeSource) {
        self.connections = HTTPConnections(connectTimeout: .seconds(5), maxConnectionsPerEndpoint: 8)
        self.time = time
    }

    func shutdown() async { await self.connections.shutdown() }

    /// The whole answer within the time: whoever sends a head and then nothing is late as well.
    ///
    /// - Throws: What went wrong, for people.
    func answer(
        to request: HTTPClientRequest,
        within limit: Duration
    ) async throws -> (status: UInt, body: ByteBuffer) {
        let client = self.connections.client
        let deadline = self.time.now.advanced(by: limit)
        return try await withThrowingTaskGroup(of: (status: UInt, body: ByteBuffer).self) { group in
            group.addTask {
                let answer = try await client.execute(request, deadline: .distantFuture)
                return (answer.status.code, try await answer.body.collect(upTo: Self.maxBytes))
            }
            group.addTask { [time = self.time] in
                try await time.sleep(until: deadline)
                throw TooLate()
            }
            defer { group.cancelAll() }
            guard let first = try await group.next() else { throw TooLate() }
            return first
        }
    }
}
