import Logging
import ParleyCore
import ParleyMessaging
import ParleyRESP
import ParleyRedis
import PeerBench

/// One measurement in a process of its own, as the peers are.
struct Worker {
    let port: Int
    let count: Int
    let pipeline: Int
    let connections: Int
    let bytes: Int

    static let stream = "bench"
    static let group = "g"

    private var server: RESPConfiguration { RESPConfiguration(endpoint: .host("127.0.0.1", port: self.port)) }
    private var logger: Logger { Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() } }

    func run(_ mode: String) async throws {
        switch mode {
        case "fill": try await self.fill()
        case "xadd": try await self.add()
        case "read": try await self.read(acknowledges: false)
        case "readack": try await self.read(acknowledges: true)
        case "publish": try await self.publish()
        case "consume": try await self.consume()
        default: throw PeerBench.Failure("no such measurement: \(mode)")
        }
    }

    /// A stream of `count` entries with a group that has read none of them.
    private func fill() async throws {
        try await RESPConnection.withConnection(self.server) { connection in
            try await connection.del(Self.stream)
            try await connection.xgroupCreate(Self.stream, Self.group, from: .after(.zero))
            let command = self.command
            for _ in 0..<(self.count / 100) {
                _ = try await connection.execute(Array(repeating: command, count: 100), deadline: nil)
            }
        }
    }

    private var command: RESPCommand {
        ["XADD", RESPArgument(Self.stream), "*", "data", RESPArgument([UInt8](repeating: 0x78, count: self.bytes))]
    }

    private func add() async throws {
        let each = self.count / self.connections / self.pipeline
        try await PeerBench.measure(each * self.connections * self.pipeline) {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<self.connections {
                    group.addTask {
                        try await RESPConnection.withConnection(self.server) { connection in
                            let commands = Array(repeating: self.command, count: self.pipeline)
                            for _ in 0..<each { _ = try await connection.execute(commands, deadline: nil) }
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    private func read(acknowledges: Bool) async throws {
        try await RESPConnection.withConnection(self.server) { connection in
            try await PeerBench.measure(self.count) {
                var read = 0
                while read < self.count {
                    let entries =
                        try await connection.xreadGroup(
                            Self.group,
                            consumer: "c",
                            [(Self.stream, .new)],
                            count: self.pipeline,
                            withoutAcknowledgement: !acknowledges
                        )[Self.stream] ?? []
                    guard !entries.isEmpty else { throw PeerBench.Failure("the stream ended after \(read)") }
                    if acknowledges { try await connection.xack(Self.stream, Self.group, entries.map(\.id)) }
                    read += entries.count
                }
            }
        }
    }

    // MARK: The bus

    private func message(_ number: Int) -> Message {
        Message(
            source: "bench",
            type: "bench.event",
            dataContentType: "application/octet-stream",
            data: [UInt8](repeating: 0x78, count: self.bytes),
            key: number % 2 == 0 ? nil : "k\(number % 1_000)"
        )
    }

    private func publish() async throws {
        try await RedisBackend.withBackend(
            self.server,
            stream: StreamConfiguration(stream: "bus", addsReadableFields: false),
            logger: self.logger
        ) { backend in
            _ = try await backend.client.del("bus")
            try await backend.transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(60)))
            let each = self.count / self.connections / self.pipeline
            try await PeerBench.measure(each * self.connections * self.pipeline) {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<self.connections {
                        group.addTask {
                            for _ in 0..<each {
                                try await backend.transport.publish((0..<self.pipeline).map(self.message))
                            }
                        }
                    }
                    try await group.waitForAll()
                }
            }
        }
    }

    /// What `publish` has published. Each message is handed out and settled by itself.
    private func consume() async throws {
        try await RedisBackend.withBackend(
            self.server,
            stream: StreamConfiguration(stream: "bus"),
            logger: self.logger
        ) { backend in
            try await PeerBench.measure(self.count) {
                try await backend.transport.withSubscription(to: "g", prefetch: self.pipeline) { deliveries in
                    try await withThrowingDiscardingTaskGroup { group in
                        var taken = 0
                        for try await delivery in deliveries {
                            group.addTask { try await backend.transport.settle(delivery.id, .ack) }
                            taken += 1
                            if taken == self.count { break }
                        }
                    }
                }
            }
        }
    }
}
