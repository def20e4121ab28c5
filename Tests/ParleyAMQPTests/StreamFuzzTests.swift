import NIOCore
import NIOPosix
import ParleyCore
import Synchronization
import Testing

@testable import ParleyAMQP

/// What a broker really said, spoiled: through the decoder and the machines of a connection. It may end in a typed
/// error or, where the change means nothing, go on; it never traps, hangs or leaves somebody waiting.
@Suite struct StreamFuzzTests {
    /// The bytes of one session with a real broker that has most of what a broker can say.
    private static let recording = Task { () async throws -> ByteBuffer in
        let configuration = try await Broker.shared.value.freshHost()
        let recorder = CuttingProxy()
        try await recorder.run(configuration) { configuration in
            try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
                let channel = try await connection.openChannel()
                try await channel.declareQueue("q")
                let consumer = try await channel.consume("q", tag: "c")
                try await channel.publish(Self.messages)
                var deliveries = consumer.makeAsyncIterator()
                for _ in Self.messages.indices { try await deliveries.next()?.ack() }
                try? await channel.publish(AMQPMessage(text("back"), routingKey: "nowhere", mandatory: true))
                try await channel.declareQueue("g")
                try await channel.publish(AMQPMessage(text("got"), routingKey: "g"))
                try await channel.get("g")?.ack()
                _ = try await channel.get("g")
                try await channel.deleteQueue("q")
                _ = try? await channel.inspectQueue("missing")
            }
        }
        return recorder.fromBroker
    }

    private static let messages: [AMQPMessage] = (0..<12).map { number in
        AMQPMessage(
            ByteBuffer(repeating: UInt8(number), count: number * 60),
            routingKey: "q",
            properties: .init(
                headers: ["n": .int64(Int64(number)), "t": ["a": [1, "b", .void]]],
                messageID: "\(number)"
            )
        )
    }

    /// A client without a socket that has asked for what the recording answers.
    private final class Client {
        let core: ConnectionCore
        let channel: AMQPChannel
        let epoch: UInt64
        var decoder = AMQPFrameDecoder(maximumFrameSize: 131_072)
        var asked = false
        var replies: [Completion<Reply>] = []
        var confirms: [PublisherConfirm] = []
        let buffer = ConsumerBuffer(id: 1_000_000, limit: 100)

        init() {
            var configuration = AMQPConfiguration()
            configuration.maximumMessageBytes = 1_000_000
            self.core = ConnectionCore(
                configuration: configuration,
                eventLoop: MultiThreadedEventLoopGroup.singleton.any()
            )
            let core = self.core
            let (id, epoch) = core.with { state in
                let epoch = state.begin(.init(user: "guest", secret: "guest"))?.epoch ?? 0
                _ = state.machine.start()
                return (state.addChannel(.init(window: 100), recovers: true).id, epoch)
            }
            self.epoch = epoch
            self.channel = AMQPChannel(core: core, id: id)
            core.with { $0.channels[id]?.handle = self.channel }
        }

        /// Asks as early as the protocol allows; a violation ends it as the socket's handler would.
        func feed(_ bytes: ByteBuffer) {
            self.decoder.append(bytes)
            do throws(AMQPWireError) {
                while let frame = try self.decoder.next() { self.take(frame) }
            } catch {
                self.core.socketFailed(AMQPError(error), epoch: self.epoch)
            }
        }

        func take(_ frame: AMQPFrame) {
            if let agreed = self.core.received([frame], epoch: self.epoch) { self.decoder.maximumFrameSize = agreed }
            self.core.with { state in
                state.output = OutputQueue()  // nobody reads it
                guard let channel = state.channels[self.channel.id] else { return }
                if channel.number == 0, state.machine.isOpen {
                    self.replies += [try? state.open(channel, deadline: .distantFuture)].compactMap { $0 }
                }
                if channel.machine.isOpen, !self.asked { self.ask(state, channel) }
            }
        }

        private func ask(_ state: ConnectionState, _ channel: ChannelState) {
            self.asked = true
            channel.status = .ready
            func call(_ method: AMQPMethod) {
                self.replies += [try? state.call(method, on: channel, deadline: .distantFuture)].compactMap { $0 }
            }
            call(.confirmSelect(.init()))
            call(.queueDeclare(.init(queue: "q")))
            call(.basicQos(.init(prefetchCount: 10)))
            let consume = AMQPMethod.BasicConsume(queue: "q", consumerTag: "c")
            call(.basicConsume(consume))
            channel.consumers["c"] = ConsumerState(queue: "q", request: consume, prefetch: 10, buffer: self.buffer)
            call(.queueDeclare(.init(queue: "g")))
            call(.basicGet(.init(queue: "g")))
            call(.basicGet(.init(queue: "g")))
            call(.queueDelete(.init(queue: "q")))
            call(.queueDeclare(.init(queue: "missing", passive: true)))
        }

        /// Publishes once the broker has said that it confirms, which makes the count start anew.
        func publish() {
            // The first reply is that of channel.open, the second that of confirm.select.
            guard self.replies.count > 1, self.replies[1].isDone else { return }
            self.core.with { state in
                for _ in 0..<14 {
                    let message = AMQPMessage(text("x"), routingKey: "q")
                    let confirm = try? state.publishNow(message, on: self.channel.id, now: .now())
                    if let confirm { self.confirms.append(confirm) }
                }
            }
        }

        /// The socket ends. Everything that was asked must now have an answer.
        func end() -> AMQPError? {
            let error = self.core.with { state in
                let before = state.lastError
                state.socketEnded(core: self.core)
                state.shutDown(.closed("the end"))
                return before
            }
            #expect(self.replies.allSatisfy(\.isDone) && self.confirms.allSatisfy(\.completion.isDone))
            return error
        }
    }

    private static func frames(_ bytes: ByteBuffer) throws -> [AMQPFrame] {
        var decoder = AMQPFrameDecoder(maximumFrameSize: 131_072)
        decoder.append(bytes)
        return try CodecTests.decodeAll(&decoder)
    }

    private static func play(_ frames: [AMQPFrame], on client: Client) {
        for frame in frames {
            client.take(frame)
            if case .method(.confirmSelectOk) = frame.payload { client.publish() }
        }
    }

    /// Otherwise the rest proves nothing: the client without a socket understands the broker to the end.
    @Test(.timeLimit(.minutes(1))) func theRecordingItselfIsUnderstood() async throws {
        let frames = try Self.frames(try await Self.recording.value)
        let client = Client()
        Self.play(frames, on: client)
        #expect(client.confirms.count == 14)
        let kinds = Set(frames.compactMap { if case .method(let method) = $0.payload { method.name } else { nil } })
        #expect(kinds.isSuperset(of: ["basic.deliver", "basic.ack", "basic.return", "basic.get-ok", "basic.cancel"]))
        #expect(kinds.isSuperset(of: ["basic.get-empty", "channel.close", "connection.close-ok"]))
        // Our close was never sent here, so its answer is out of turn; up to there all was in order.
        let error = client.end()
        #expect(error?.message.contains("close-ok out of turn") == true, "\(String(describing: error))")
    }

    @Test(.timeLimit(.minutes(2)), arguments: 0..<40)
    func spoiledBytesEndInATypedErrorOrMeanNothing(seed: UInt64) async throws {
        let recording = Array((try await Self.recording.value).readableBytesView)
        var dice = Dice(seed)
        for _ in 0..<25 {
            var bytes = recording
            for _ in 0..<Int.random(in: 1...4, using: &dice) {
                let place = Int.random(in: 0..<bytes.count, using: &dice)
                switch Int.random(in: 0...5, using: &dice) {
                case 0: bytes[place] = .random(in: 0...255, using: &dice)
                case 1: bytes[place] ^= 1 << UInt8.random(in: 0...7, using: &dice)
                case 2: bytes.insert(.random(in: 0...255, using: &dice), at: place)
                case 3: bytes.removeSubrange(place..<min(bytes.count, place + .random(in: 1...40, using: &dice)))
                case 4: bytes.removeSubrange(place...)
                default: bytes.insert(contentsOf: bytes[place..<min(bytes.count, place + 100)], at: place)
                }
                if bytes.isEmpty { break }
            }
            let client = Client()
            var rest = bytes[...]
            while !rest.isEmpty {
                let piece = rest.prefix(.random(in: 1...2_000, using: &dice))
                rest = rest.dropFirst(piece.count)
                client.feed(ByteBuffer(bytes: piece))
                if client.confirms.isEmpty { client.publish() }
            }
            _ = client.end()
        }
    }

    @Test(.timeLimit(.minutes(2)), arguments: 0..<40)
    func framesInAnyOrderEndInATypedErrorOrMeanNothing(seed: UInt64) async throws {
        let recording = try Self.frames(try await Self.recording.value)
        var dice = Dice(seed &+ 5_000)
        for _ in 0..<25 {
            var frames = recording
            for _ in 0..<Int.random(in: 1...4, using: &dice) {
                let place = Int.random(in: 0..<frames.count, using: &dice)
                let other = Int.random(in: 0..<frames.count, using: &dice)
                switch Int.random(in: 0...5, using: &dice) {
                case 0: frames.swapAt(place, other)
                case 1: frames.insert(frames[other], at: place)
                case 2: frames.remove(at: place)
                case 3: frames[place].channel = .random(in: 0...2, using: &dice)
                case 4: frames.insert(CodecTests.frame(&dice), at: place)
                default: frames.removeSubrange(place...)
                }
                if frames.isEmpty { break }
            }
            let client = Client()
            Self.play(frames, on: client)
            _ = client.end()
        }
    }
}
