import NIOCore
import NIOPosix
import ParleyCore
import Synchronization
import Testing

@testable import ParleyAMQP

/// A server that does the handshake and then what the test says. Its `script` answers a method of the client.
final class FakeServer: Sendable {
    typealias Script = @Sendable (AMQPMethod, UInt16) -> [AMQPFrame]?

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer
        let server: FakeServer
        var decoder = AMQPFrameDecoder(maximumFrameSize: 131_072)
        var greeted = false

        init(_ server: FakeServer) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = self.unwrapInboundIn(data)
            if !self.greeted {
                self.greeted = true
                bytes.moveReaderIndex(forwardBy: 8)
                let start = AMQPMethod.ConnectionStart(versionMinor: 9, mechanisms: Array("PLAIN".utf8))
                self.write([AMQPFrame(channel: 0, payload: .method(.connectionStart(start)))], context)
            }
            self.decoder.append(bytes)
            while let frame = try? self.decoder.next() {
                self.server.frames.withLock { $0 += 1 }
                guard case .method(let method) = frame.payload else { continue }
                if let answer = self.server.script(method, frame.channel) {
                    self.write(answer, context)
                    self.server.socket.withLock { $0 = context.channel }
                    continue
                }
                switch method {
                case .connectionStartOk:
                    let tune = AMQPMethod.ConnectionTune(
                        channelMax: 10,
                        frameMax: 4_096,
                        heartbeat: self.server.heartbeat
                    )
                    self.write([AMQPFrame(channel: 0, payload: .method(.connectionTune(tune)))], context)
                case .connectionOpen: self.write([AMQPFrame(channel: 0, payload: .method(.connectionOpenOk))], context)
                case .channelOpen:
                    self.write([AMQPFrame(channel: frame.channel, payload: .method(.channelOpenOk))], context)
                case .confirmSelect:
                    self.write([AMQPFrame(channel: frame.channel, payload: .method(.confirmSelectOk))], context)
                case .connectionClose:
                    self.write([AMQPFrame(channel: 0, payload: .method(.connectionCloseOk))], context)
                default: break
                }
            }
        }

        func write(_ frames: [AMQPFrame], _ context: ChannelHandlerContext) {
            var buffer = ByteBuffer()
            for frame in frames { try? AMQPFrameEncoder.encode(frame, into: &buffer) }
            if !frames.isEmpty { context.writeAndFlush(self.wrapOutboundOut(buffer), promise: nil) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    let script: Script
    let heartbeat: UInt16
    let frames = Mutex(0)
    let socket = Mutex<(any Channel)?>(nil)

    init(heartbeat: UInt16 = 0, script: @escaping Script = { _, _ in nil }) {
        self.heartbeat = heartbeat
        self.script = script
    }

    func run<Value: Sendable>(_ body: (AMQPConfiguration) async throws -> Value) async throws -> Value {
        let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Handler(self)) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        var configuration = AMQPConfiguration(endpoints: [
            .init(host: "127.0.0.1", port: listener.localAddress?.port ?? 0)
        ])
        configuration.backoff = Backoff(initial: .milliseconds(10), cap: .milliseconds(50))
        let result: Result<Value, any Error>
        do { result = .success(try await body(configuration)) } catch { result = .failure(error) }
        try await listener.close()
        return try result.get()
    }
}

private final class WebServer: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    func channelActive(context: ChannelHandlerContext) {
        context.channel.writeAndFlush(ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n"), promise: nil)
    }
}

private func reply(_ method: AMQPMethod, _ channel: UInt16) -> AMQPFrame {
    AMQPFrame(channel: channel, payload: .method(method))
}

@Suite struct FakeServerTests {
    @Test(.timeLimit(.minutes(1))) func aSilentPeerIsDeadAfterTwoIntervals() async throws {
        let server = FakeServer(heartbeat: 1)
        try await server.run { configuration in
            var configuration = configuration
            configuration.recovers = false
            let began = time.now
            let error = await expect(.heartbeatLost) {
                try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                    // An answer that never comes: the death of the connection ends the wait.
                    let channel = try await connection.openChannel()
                    try await channel.declareQueue("q")
                }
            }
            #expect(error?.retry == .mayHaveRun)
            let took = began.duration(to: time.now)
            #expect(took >= .seconds(1.9) && took < .seconds(20))
            // Start-ok, tune-ok, open, channel.open, confirm.select, declare; the rest were heartbeats.
            #expect(server.frames.withLock { $0 } >= 8)
        }
    }

    @Test(arguments: 0..<12) func garbageFromTheBrokerEndsTheConnectionOnly(seed: UInt64) async throws {
        var dice = Dice(seed)
        let noise = (0..<64).map { _ in UInt8.random(in: 0...255, using: &dice) }
        // Frames that are whole but mean nothing here, and bytes that are no frames.
        let wrong: [AMQPFrame] = [
            reply(.basicDeliver(.init(consumerTag: "x", deliveryTag: 1)), 1),
            reply(.basicAck(.init(deliveryTag: 99)), 1),
            reply(.queueDeclareOk(.init()), 7), reply(.connectionOpenOk, 0), reply(.basicGetOk(.init()), 1),
            AMQPFrame(channel: 1, payload: .body(ByteBuffer(bytes: noise))), reply(.exchangeDeclareOk, 1),
            AMQPFrame(channel: 1, payload: .header(classID: 60, bodySize: .max, properties: .init())),
            reply(.connectionTune(.init()), 0), reply(.basicQos(.init()), 1), reply(.channelOpenOk, 1),
            reply(.basicReturn(.init()), 1),
        ]
        let server = FakeServer { method, channel in
            guard case .queueDeclare = method else { return nil }
            return [wrong[Int(seed)], AMQPFrame(channel: channel, payload: .body(ByteBuffer(bytes: noise)))]
        }
        try await server.run { configuration in
            var configuration = configuration
            configuration.recovers = false
            await expect(.protocolViolation) {
                try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                    let channel = try await connection.openChannel()
                    do {
                        try await channel.declareQueue("q")
                    } catch let error as AMQPError {
                        #expect(error.retry == .mayHaveRun || error.code == .channelClosed)
                    }
                    try await eventually("it ends") { !connection.isReady }
                    try await connection.ready()
                }
            }
        }
    }

    @Test func bytesThatAreNoFramesAreAViolation() async throws {
        let server = FakeServer()
        try await server.run { configuration in
            var configuration = configuration
            configuration.recovers = false
            let listener = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .childChannelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try channel.pipeline.syncOperations.addHandler(WebServer())
                    }
                }
                .bind(host: "127.0.0.1", port: 0).get()
            configuration.endpoints = [.init(host: "127.0.0.1", port: listener.localAddress?.port ?? 0)]
            await expect(.protocolViolation) {
                try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
            }
            try await listener.close()
        }
    }

    @Test func aRequestThatIsNotAnsweredTimesOutAndTheChannelGoesOn() async throws {
        let answered = Mutex(0)
        let server = FakeServer { method, channel in
            guard case .queueDeclare = method else { return nil }
            let count = answered.withLock { count in
                count += 1
                return count
            }
            // The first is answered together with the second.
            if count == 1 { return [] }
            return ["late", "second"].map { reply(.queueDeclareOk(.init(queue: $0)), channel) }
        }
        try await server.run { configuration in
            var configuration = configuration
            configuration.operationTimeout = .milliseconds(200)
            try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                let channel = try await connection.openChannel()
                let error = await expect(.timedOut) { try await channel.declareQueue("q") }
                #expect(error?.retry == .mayHaveRun)
                #expect(try await channel.declareQueue("q").name == "second")
            }
        }
    }

    /// Found by fuzzing: a channel that is being closed was forgotten when its connection went away.
    @Test(.timeLimit(.minutes(1)), arguments: [false, true])
    func aCloseThatIsNotAnsweredIsNotWaitedForWithoutEnd(hangsUp: Bool) async throws {
        let server = FakeServer { method, _ in
            switch method {
            case .queueDeclare, .channelClose: []
            default: nil
            }
        }
        try await server.run { configuration in
            var configuration = configuration
            configuration.operationTimeout = hangsUp ? .seconds(3_600) : .milliseconds(200)
            try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                let channel = try await connection.openChannel()
                async let declared = expect(hangsUp ? .connectionLost : .timedOut) {
                    try await channel.declareQueue("q")
                }
                try await eventually("it is asked") {
                    connection.core.with { $0.channels[channel.id]?.pending.count == 1 }
                }
                async let closed: Void = channel.close()
                try await eventually("it is closing") { connection.core.with { $0.channels[channel.id] == nil } }
                if hangsUp { try await server.socket.withLock { $0 }?.close() }
                await closed
                _ = await declared
            }
        }
    }

    @Test func aConfirmThatNeverComesIsUnknownInTime() async throws {
        try await FakeServer().run { configuration in
            var configuration = configuration
            configuration.publishTimeout = .milliseconds(200)
            try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                let channel = try await connection.openChannel(.init(window: 1))
                let first = await expect(.timedOut) {
                    try await channel.publish(AMQPMessage(text("a"), routingKey: "q"))
                }
                #expect(first?.retry == .mayHaveRun)
                // The window stays full: the second was never sent, and says so.
                let second = await expect(.timedOut) {
                    try await channel.publish(AMQPMessage(text("b"), routingKey: "q"))
                }
                #expect(second?.retry == .notSent)
            }
        }
    }

    @Test func nobodyThereIsSaidByEveryWaitInTime() async throws {
        var configuration = AMQPConfiguration(endpoints: [.init(host: "127.0.0.1", port: 1)])
        configuration.operationTimeout = .seconds(6)
        configuration.backoff = Backoff(initial: .milliseconds(10), cap: .milliseconds(50))
        let error = await expect(.timedOut) {
            try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
        }
        #expect(error?.retry == .notSent)
        #expect((error?.cause as? AMQPError)?.code == .cannotConnect)
    }
}
