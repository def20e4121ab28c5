import NIOCore
import Synchronization
import Testing

@testable import ParleyAMQP

@Suite struct ManyConsumersTests {
    @Test(.timeLimit(.minutes(2))) func aThousandConsumersOnOneConnectionAndAllAreBackAfterALoss() async throws {
        let queues = (0..<20).map { "q\($0)" }
        let each = 50
        try await onBroker { connection in
            let publisher = try await connection.openChannel()
            let received = Received()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for queue in queues {
                    try await publisher.declareQueue(queue)
                    let channel = try await connection.openChannel(.init(confirms: false, prefetch: 2))
                    for _ in 0..<each {
                        let consumer = try await channel.consume(queue)
                        group.addTask {
                            for try await delivery in consumer {
                                received.note(delivery)
                                try delivery.ack()
                            }
                        }
                    }
                }
                for round in 0..<2 {
                    let messages = (0..<3_000).map { number in
                        AMQPMessage(text("\(round)-\(number)"), routingKey: queues[number % queues.count])
                    }
                    try await publisher.publish(messages)
                    try await eventually("every message came") { received.count == (round + 1) * 3_000 }
                    // The broker spreads them: nobody starves behind the others.
                    #expect(received.consumers(ofRound: round) > 900)
                    guard round == 0 else { break }
                    try await eventually("every acknowledgement has gone out") {
                        connection.core.with { $0.channels.values.allSatisfy { $0.ledger.unsettled == 0 } }
                    }
                    let events = connection.events()
                    let host = connection.core.configuration.virtualHost
                    try await Broker.shared.value.control("close_all_connections", "--vhost", host, "test")
                    for await event in events where event.kind == .recovered { break }
                    for queue in queues {
                        #expect(try await publisher.inspectQueue(queue).consumers == each)
                    }
                }
                group.cancelAll()
                while let result = await group.nextResult() {
                    if case .failure(let error) = result { #expect(error is CancellationError, "\(error)") }
                }
            }
        }
    }

    private final class Received: Sendable {
        private let state = Mutex([String: Set<String>]())
        func note(_ delivery: AMQPDelivery) {
            self.state.withLock { state in
                _ = state[String(buffer: delivery.body), default: []].insert(delivery.consumerTag)
            }
        }
        var count: Int { self.state.withLock { $0.count } }
        func consumers(ofRound round: Int) -> Int {
            self.state.withLock { state in
                Set(state.filter { $0.key.hasPrefix("\(round)-") }.flatMap(\.value)).count
            }
        }
    }
}
