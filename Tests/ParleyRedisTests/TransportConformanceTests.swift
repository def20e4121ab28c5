import ParleyMessaging
import ParleyTestKit
import RedisTestSupport
import Testing

@testable import ParleyRedis

/// What every transport must hold, on real servers: each case has a stream of its own, each handle its own connections.
@Suite(.timeLimit(.minutes(2)))
struct TransportConformanceTests {
    static let capabilities = TransportCapabilities(
        isDurable: true,
        isSharedBetweenProcesses: true,
        maximumMessageBytes: StreamConfiguration.maximumMessageBytes
    )

    @Test(arguments: Engine.all, TransportConformance.cases(for: Self.capabilities, followsTime: false))
    func transport(_ engine: Engine, _ testCase: TransportConformance.Case) async throws {
        let server = try await SharedServers.server(engine)
        let stream = fresh()
        try await testCase.run(
            ConformanceFixture(followsTime: false) { _ in
                let running = RunningBackend(server, StreamConfiguration(stream: stream))
                #expect(running.transport.capabilities == Self.capabilities)
                return .init(port: running.transport) { await running.stop() }
            }
        )
    }
}
