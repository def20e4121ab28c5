import ParleyMessaging
import ParleyRabbitMQ
import ParleyTestKit
import Testing

/// What every transport must hold, on a real broker: each case has a virtual host, each handle its own connections.
@Suite("RabbitMQ conforms", .timeLimit(.minutes(2)))
struct ConformanceTests {
    private static let capabilities = TransportCapabilities(
        isDurable: true,
        isSharedBetweenProcesses: true,
        maximumMessageBytes: RabbitMQConfiguration.maximumMessageBytes
    )

    @Test(arguments: TransportConformance.cases(for: Self.capabilities, followsTime: false))
    func transport(_ testCase: TransportConformance.Case) async throws {
        let host = try await Host()
        try await testCase.run(
            ConformanceFixture(followsTime: false) { _ in
                let transport = host.transport()
                #expect(transport.capabilities == Self.capabilities)
                let running = Task { try await transport.run() }
                return .init(port: transport) {
                    running.cancel()
                    _ = await running.result
                }
            }
        )
    }
}
