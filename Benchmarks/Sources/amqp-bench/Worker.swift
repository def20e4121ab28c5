import Foundation
import Logging
import NIOCore
import ParleyAMQP
import PeerBench

/// One measurement in a process of its own, as the peers are. Prints "RATE CPU": messages a second, and microseconds of
/// processor time (user and system) a message.
struct Worker {
    let port: Int
    let count: Int
    let window: Int
    let bytes: Int

    func run(_ mode: String) async throws {
        var configuration = AMQPConfiguration(endpoints: [.init(host: "127.0.0.1", port: self.port)])
        configuration.heartbeat = .zero
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        try await AMQPConnection.withConnection(configuration, logger: logger) { connection in
            let channel = try await connection.openChannel(.init(window: self.window))
            try await channel.declareQueue("bench")
            if mode == "publish" {
                try await channel.purgeQueue("bench")
                try await PeerBench.measure(self.count) { try await self.publish(channel) }
            } else {
                try await PeerBench.measure(self.count) { try await self.consume(channel) }
            }
        }
    }

    private func publish(_ channel: AMQPChannel) async throws {
        let message = AMQPMessage(ByteBuffer(repeating: 0, count: self.bytes), routingKey: "bench")
        guard self.window > 1 else {
            for _ in 0..<self.count { try await channel.publish(message) }
            return
        }
        // As many as the window holds are under way; each is waited for.
        var confirms: [PublisherConfirm] = []
        confirms.reserveCapacity(self.window)
        for number in 0..<self.count {
            if number < self.window {
                confirms.append(try await channel.send(message))
            } else {
                try await confirms[number % self.window].wait()
                confirms[number % self.window] = try await channel.send(message)
            }
        }
        for confirm in confirms { try await confirm.wait() }
    }

    private func consume(_ channel: AMQPChannel) async throws {
        let consumer = try await channel.consume("bench", prefetch: UInt16(self.window))
        var taken = 0
        for try await delivery in consumer {
            try delivery.ack()
            taken += 1
            if taken == self.count { break }
        }
    }
}
