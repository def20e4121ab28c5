import ParleyCore
import ParleyRESP
import RedisTestSupport
import Synchronization
import Testing

/// One case of a suite on one engine. The suites are `.serialized`: each case has a server of its own, and a hundred
/// that start at once are slower than any case that lives by real time can bear.
struct OnEngine<Case: Sendable & CustomStringConvertible>: Sendable, CustomTestStringConvertible {
    var engine: Engine
    var testCase: Case

    static func all(_ cases: [Case]) -> [OnEngine] {
        Engine.all.flatMap { engine in cases.map { OnEngine(engine: engine, testCase: $0) } }
    }

    var testDescription: String { "\(self.engine): \(self.testCase)" }
}

/// Clients that are there until the test ends, each as a process of its own would have it.
///
/// A conformance suite opens and closes handles in any order; a task group that owns the runs of all clients is what
/// fits.
final class Clients: Sendable {
    private struct Order {
        let client: RESPClient
        let end: Signal
    }

    private let orders = AsyncStream<Order>.makeStream(bufferingPolicy: .unbounded)
    private let configuration: RESPConfiguration

    private init(_ configuration: RESPConfiguration) { self.configuration = configuration }

    /// A new client that runs, and how to end it.
    func open(
        _ configure: (inout RESPConfiguration) -> Void = { _ in }
    ) -> (client: RESPClient, close: @Sendable () async -> Void) {
        var configuration = self.configuration
        configure(&configuration)
        let order = Order(client: RESPClient(configuration, logger: quiet), end: Signal())
        self.orders.continuation.yield(order)
        return (order.client, { order.end.ring() })
    }

    static func with<Value: Sendable>(
        _ server: RedisServer,
        _ body: (Clients) async throws -> Value
    ) async throws -> Value {
        let clients = Clients(server.configuration)
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                await withDiscardingTaskGroup { runs in
                    for await order in clients.orders.stream {
                        runs.addTask {
                            await withTaskGroup(of: Void.self) { run in
                                run.addTask { try? await order.client.run() }
                                run.addTask { await order.end.wait(after: 0, until: nil, on: SystemTimeSource()) }
                                await run.next()
                                run.cancelAll()
                            }
                        }
                    }
                    runs.cancelAll()
                }
            }
            let result: Result<Value, any Error>
            do { result = .success(try await body(clients)) } catch { result = .failure(error) }
            clients.orders.continuation.finish()
            group.cancelAll()
            while (try? await group.next()) != nil {}
            return try result.get()
        }
    }
}

extension RedisServer {
    /// A server with clients on it.
    static func withClients<Value: Sendable>(
        _ engine: Engine = .redis,
        options: [String] = [],
        _ body: (RedisServer, Clients) async throws -> Value
    ) async throws -> Value {
        try await RedisServer.with(engine, options: options) { server in
            try await Clients.with(server) { try await body(server, $0) }
        }
    }
}
