import NIOCore
import ParleyCore
import Synchronization
import Testing

@testable import ParleyAMQP

/// The connection breaks anywhere: inside a frame, between method and body, in the handshake.
@Suite struct CutTests {
    /// Does it until it succeeds; what fails must say that trying again is allowed.
    private func insisting<Value: Sendable>(
        _ what: String,
        _ body: () async throws -> Value
    ) async throws -> Value {
        let end = time.now.advanced(by: .seconds(30))
        while true {
            do {
                return try await body()
            } catch let error as AMQPError {
                #expect(error.retry != .permanent, "\(what): \(error)")
                guard error.retry != .permanent, time.now < end else { throw error }
            }
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: 0..<24)
    func everyMessageArrivesWhateverByteTheConnectionIsCutAfter(seed: UInt64) async throws {
        var dice = Dice(seed)
        // The handshake alone is about 500 bytes each way; the whole of it about 60,000 there and 65,000 back.
        let cuts = (0..<3).map { _ in
            let range = [1...600, 1...3_000, 1...50_000].randomElement(using: &dice) ?? 1...600
            let direction = CuttingProxy.Direction.allCases.randomElement(using: &dice) ?? .toClient
            return CuttingProxy.Cut(direction: direction, after: .random(in: range, using: &dice))
        }
        let sizes = (0..<40).map { _ in Int.random(in: 0...3_000, using: &dice) }
        let proxy = CuttingProxy(cuts)
        let configuration = try await Broker.shared.value.freshHost()
        try await proxy.run(configuration) { configuration in
            try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                let settings = AMQPChannelSettings(window: 10, resendsUnconfirmed: true)
                let channel = try await self.insisting("open") { try await connection.openChannel(settings) }
                try await self.insisting("declare") { _ = try await channel.declareQueue("q") }
                let consumer = try await self.insisting("consume") { try await channel.consume("q", tag: nil) }
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        for (number, size) in sizes.enumerated() {
                            let body = ByteBuffer(repeating: UInt8(number), count: size)
                            let properties = AMQPProperties(persistent: true, messageID: "\(number)")
                            // Sent again by the channel: no outcome is ever unknown.
                            try await channel.publish(AMQPMessage(body, routingKey: "q", properties: properties))
                        }
                    }
                    group.addTask {
                        var missing = Set(sizes.indices)
                        for try await delivery in consumer {
                            let number = delivery.properties.messageID.flatMap { Int($0) } ?? -1
                            let whole = ByteBuffer(repeating: UInt8(number), count: sizes[number])
                            #expect(delivery.body == whole)
                            missing.remove(number)
                            do throws(AMQPError) {
                                try delivery.ack()
                            } catch {
                                #expect(error.code == .staleDelivery)
                            }
                            if missing.isEmpty { break }
                        }
                    }
                    try await group.waitForAll()
                }
            }
        }
        // A late position of a late connection may never be reached.
        #expect(proxy.cutsMade > 0 && proxy.connections == proxy.cutsMade + 1)
    }

    @Test(.timeLimit(.minutes(1))) func aCutInTheHandshakeIsNoWrongPassword() async throws {
        // All positions around the credentials: after connection.start has come, before connection.tune has.
        let configuration = try await Broker.shared.value.freshHost()
        let recorder = CuttingProxy()
        try await recorder.run(configuration) { configuration in
            try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
        }
        let start = Int(recorder.fromBroker.getInteger(at: 3, as: UInt32.self) ?? 0) + AMQPFrame.overhead
        for after in [1, start / 2, start - 1, start, start + 1, start + 19] {
            let proxy = CuttingProxy([.init(direction: .toClient, after: after)])
            try await proxy.run(configuration) { configuration in
                var configuration = configuration
                configuration.recovers = false
                // Which loss it is depends on who hears of it first; that it is none of the credentials' does not.
                let error = await #expect(throws: AMQPError.self) {
                    try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
                }
                #expect([.cannotConnect, .connectionLost, .timedOut].contains(error?.code), "\(error as Any)")
                #expect(error?.retry != .permanent, "after \(after)")
            }
        }
    }
}
