import NIOCore
import Testing

@testable import ParleyAMQP

@Suite struct CodecTests {
    // MARK: Random values

    static func name(_ dice: inout Dice) -> String {
        String((0..<Int.random(in: 0...20, using: &dice)).map { _ in "abcäß→🙂xyz".randomElement(using: &dice) ?? "a" })
    }

    static func value(_ dice: inout Dice, depth: Int = 0) -> AMQPValue {
        switch Int.random(in: 0...(depth > 3 ? 14 : 16), using: &dice) {
        case 0: .bool(Bool.random(using: &dice))
        case 1: .int8(.random(in: .min ... .max, using: &dice))
        case 2: .uint8(.random(in: .min ... .max, using: &dice))
        case 3: .int16(.random(in: .min ... .max, using: &dice))
        case 4: .uint16(.random(in: .min ... .max, using: &dice))
        case 5: .int32(.random(in: .min ... .max, using: &dice))
        case 6: .uint32(.random(in: .min ... .max, using: &dice))
        case 7: .int64(.random(in: .min ... .max, using: &dice))
        case 8: .float(Float.random(in: -1e9...1e9, using: &dice))
        case 9: .double(Double.random(in: -1e200...1e200, using: &dice))
        case 10: .decimal(scale: .random(in: 0...9, using: &dice), value: .random(in: .min ... .max, using: &dice))
        case 11: .string(Self.name(&dice))
        case 12: .bytes((0..<Int.random(in: 0...40, using: &dice)).map { _ in .random(in: 0...255, using: &dice) })
        case 13: .timestamp(.random(in: 0 ... .max, using: &dice))
        case 14: .void
        case 15: .array((0..<Int.random(in: 0...4, using: &dice)).map { _ in Self.value(&dice, depth: depth + 1) })
        default: .table(Self.table(&dice, depth: depth + 1))
        }
    }

    static func table(_ dice: inout Dice, depth: Int = 0) -> AMQPTable {
        var table: AMQPTable = [:]
        for _ in 0..<Int.random(in: 0...4, using: &dice) { table[Self.name(&dice)] = Self.value(&dice, depth: depth) }
        return table
    }

    static func properties(_ dice: inout Dice) -> AMQPProperties {
        var properties = AMQPProperties()
        func maybe<T>(_ value: T) -> T? { Bool.random(using: &dice) ? value : nil }
        properties.contentType = maybe(Self.name(&dice))
        properties.contentEncoding = maybe(Self.name(&dice))
        properties.headers = maybe(Self.table(&dice))
        properties.deliveryMode = maybe(2)
        properties.priority = maybe(.random(in: 0...255, using: &dice))
        properties.correlationID = maybe(Self.name(&dice))
        properties.replyTo = maybe(Self.name(&dice))
        properties.expiration = maybe("1000")
        properties.messageID = maybe(Self.name(&dice))
        properties.timestamp = maybe(.random(in: 0 ... .max, using: &dice))
        properties.type = maybe(Self.name(&dice))
        properties.userID = maybe(Self.name(&dice))
        properties.appID = maybe(Self.name(&dice))
        properties.clusterID = maybe(Self.name(&dice))
        return properties
    }

    static func frame(_ dice: inout Dice) -> AMQPFrame {
        let methods: [AMQPMethod] = [
            .connectionStart(
                .init(versionMinor: 9, serverProperties: Self.table(&dice), mechanisms: [1, 2], locales: [3])
            ),
            .connectionTune(.init(channelMax: .random(in: 0 ... .max, using: &dice), frameMax: 4_096, heartbeat: 7)),
            .channelOpen, .channelOpenOk, .confirmSelectOk, .txCommit,
            .exchangeDeclare(
                .init(
                    exchange: Self.name(&dice),
                    type: "topic",
                    passive: .random(using: &dice),
                    durable: .random(using: &dice),
                    autoDelete: .random(using: &dice),
                    forExchangesOnly: .random(using: &dice),
                    noWait: .random(using: &dice),
                    arguments: Self.table(&dice)
                )
            ),
            .queueDeclare(
                .init(queue: Self.name(&dice), exclusive: .random(using: &dice), arguments: Self.table(&dice))
            ),
            .basicDeliver(
                .init(
                    consumerTag: Self.name(&dice),
                    deliveryTag: .random(in: 0 ... .max, using: &dice),
                    redelivered: .random(using: &dice),
                    exchange: Self.name(&dice),
                    routingKey: Self.name(&dice)
                )
            ),
            .basicNack(.init(deliveryTag: 9, multiple: .random(using: &dice), requeue: .random(using: &dice))),
            .channelClose(.init(replyCode: 404, replyText: Self.name(&dice), failingClass: 50, failingMethod: 10)),
        ]
        let channel = UInt16.random(in: 0 ... .max, using: &dice)
        switch Int.random(in: 0...5, using: &dice) {
        case 0: return AMQPFrame(channel: 0, payload: .heartbeat)
        case 1:
            let body = (0..<Int.random(in: 0...300, using: &dice)).map { _ in UInt8.random(in: 0...255, using: &dice) }
            return AMQPFrame(channel: channel, payload: .body(ByteBuffer(bytes: body)))
        case 2:
            return AMQPFrame(
                channel: channel,
                payload: .header(
                    classID: 60,
                    bodySize: .random(in: 0 ... .max, using: &dice),
                    properties: Self.properties(&dice)
                )
            )
        default:
            return AMQPFrame(channel: channel, payload: .method(methods.randomElement(using: &dice) ?? .channelOpen))
        }
    }

    static func decodeAll(_ decoder: inout AMQPFrameDecoder) throws -> [AMQPFrame] {
        var frames: [AMQPFrame] = []
        while let frame = try decoder.next() { frames.append(frame) }
        return frames
    }

    // MARK: Tests

    @Test(arguments: 0..<40)
    func framesComeOutAsTheyWentInWhateverPiecesTheyComeIn(seed: UInt64) throws {
        var dice = Dice(seed)
        let frames = (0..<200).map { _ in Self.frame(&dice) }
        var bytes = ByteBuffer()
        for frame in frames { try AMQPFrameEncoder.encode(frame, into: &bytes) }
        var decoder = AMQPFrameDecoder(maximumFrameSize: 131_072)
        var decoded: [AMQPFrame] = []
        while bytes.readableBytes > 0 {
            let most = [1, 3, 10, 1_000].randomElement(using: &dice) ?? 1
            let count = min(bytes.readableBytes, Int.random(in: 1...most, using: &dice))
            let piece = bytes.readSlice(length: count)
            decoder.append(try #require(piece))
            decoded += try Self.decodeAll(&decoder)
        }
        #expect(decoded == frames)
    }

    @Test(arguments: 0..<60)
    func garbageIsAnErrorAndNeverATrap(seed: UInt64) throws {
        var dice = Dice(seed &+ 1_000)
        for _ in 0..<300 {
            var bytes = ByteBuffer()
            for _ in 0..<3 {
                let frame = Self.frame(&dice)
                try AMQPFrameEncoder.encode(frame, into: &bytes)
            }
            var raw = Array(bytes.readableBytesView)
            for _ in 0..<Int.random(in: 1...6, using: &dice) {
                let place = Int.random(in: 0..<raw.count, using: &dice)
                switch Int.random(in: 0...3, using: &dice) {
                case 0: raw[place] = .random(in: 0...255, using: &dice)
                case 1: raw[place] ^= 1 << UInt8.random(in: 0...7, using: &dice)
                case 2: raw.insert(.random(in: 0...255, using: &dice), at: place)
                default: if raw.count > 1 { raw.remove(at: place) }
                }
            }
            var decoder = AMQPFrameDecoder(maximumFrameSize: 131_072)
            decoder.append(ByteBuffer(bytes: raw))
            do {
                _ = try Self.decodeAll(&decoder)
            } catch {
                let first = error as? AMQPWireError
                #expect(first != nil)
                // Sticky: nothing behind a bad frame is believed.
                decoder.append(ByteBuffer(bytes: [8, 0, 0, 0, 0, 0, 0, 0xCE]))
                #expect(throws: first ?? .truncated) { try decoder.next() }
            }
        }
    }

    @Test func payloadsOfPureNoiseAreErrorsOrValues() throws {
        var dice = Dice(7)
        for _ in 0..<20_000 {
            let payload = (0..<Int.random(in: 0...60, using: &dice)).map { _ in UInt8.random(in: 0...255, using: &dice)
            }
            let type = UInt8.random(in: 1...3, using: &dice)
            var known: [UInt8] = []
            if type == 1 {
                let classID = [10, 20, 40, 50, 60, 85, 90].randomElement(using: &dice) ?? 10
                known = [
                    0, UInt8(classID), 0,
                    UInt8.random(in: 0...12, using: &dice) * 10 + .random(in: 0...1, using: &dice),
                ]
            }
            let all = known + payload
            let frame = [type, 0, 1, 0, 0, 0, UInt8(all.count)] + all + [0xCE]
            var decoder = AMQPFrameDecoder(maximumFrameSize: 4_096)
            decoder.append(ByteBuffer(bytes: frame))
            _ = try? Self.decodeAll(&decoder)
        }
    }

    @Test func aFrameOverTheLimitIsRefusedByItsHeaderAlone() throws {
        var decoder = AMQPFrameDecoder(maximumFrameSize: 4_096)
        decoder.append(ByteBuffer(bytes: [3, 0, 1, 0, 0, 0x0F, 0xF8]))  // 4,088 + 8 is the limit
        #expect(try decoder.next() == nil)
        decoder = AMQPFrameDecoder(maximumFrameSize: 4_096)
        decoder.append(ByteBuffer(bytes: [3, 0, 1, 0, 0, 0x0F, 0xF9]))
        #expect(throws: AMQPWireError.frameTooLarge(4_089)) { try decoder.next() }
        decoder = AMQPFrameDecoder(maximumFrameSize: 4_096)
        decoder.append(ByteBuffer(bytes: [3, 0, 1, 0xFF, 0xFF, 0xFF, 0xFF]))
        #expect(throws: AMQPWireError.frameTooLarge(.max)) { try decoder.next() }
    }

    @Test func aBrokerOfAnotherProtocolIsRecognised() throws {
        var decoder = AMQPFrameDecoder(maximumFrameSize: 4_096)
        decoder.append(ByteBuffer(bytes: [0x41]))
        #expect(throws: AMQPWireError.otherProtocol) { try decoder.next() }
    }

    @Test func aTableNestedWithoutEndIsRefused() throws {
        var value = AMQPValue.void
        for _ in 0..<40 { value = .table(["a": value]) }
        var writer = WireWriter()
        #expect(throws: AMQPWireError.tooDeep) { try writer.table(["a": value]) }
        // The same from a peer: 200 tables, each in the other, with lengths that are right.
        var bytes: [UInt8] = []
        for _ in 0..<200 {
            let inner = [1, UInt8(ascii: "a"), UInt8(ascii: "F")] + (bytes.isEmpty ? [0, 0, 0, 0] : bytes)
            bytes = [0, 0, UInt8(inner.count >> 8), UInt8(inner.count & 0xFF)] + inner
        }
        var reader = WireReader(ByteBuffer(bytes: bytes))
        #expect(throws: AMQPWireError.tooDeep) { try reader.table() }
    }

    @Test func textThatIsNotUTF8ComesAsBytes() throws {
        var reader = WireReader(ByteBuffer(bytes: [0, 0, 0, 9, 1, 0x61, UInt8(ascii: "S"), 0, 0, 0, 2, 0xFF, 0xFE]))
        #expect(try reader.table() == ["a": .bytes([0xFF, 0xFE])])
    }

    @Test func bodiesAreSplitAtFrameMaxMinusEight() throws {
        for size in [0, 1, 4_087, 4_088, 4_089, 8_176, 8_177, 200_000] {
            var output = OutputQueue()
            let body = ByteBuffer(bytes: (0..<size).map { UInt8(truncatingIfNeeded: $0) })
            try output.append(
                .basicPublish(.init(routingKey: "q")),
                properties: .init(),
                body: body,
                channel: 3,
                maximumFrameSize: 4_096
            )
            let announced = output.bytes
            let pieces = output.take()
            #expect(pieces.reduce(0) { $0 + $1.readableBytes } == announced)
            var decoder = AMQPFrameDecoder(maximumFrameSize: 4_096)
            for piece in pieces { decoder.append(piece) }
            let frames = try Self.decodeAll(&decoder)
            #expect(frames.count == 2 + (size + 4_087) / 4_088)
            var joined = ByteBuffer()
            for case .body(let part) in frames.map(\.payload) { joined.writeImmutableBuffer(part) }
            #expect(joined == body)
        }
    }

    @Test func whatIsPatientGoesWithTheFirstThatIsNotOrWhenItIsMuch() throws {
        var output = OutputQueue()
        let ack = AMQPFrame(channel: 1, payload: .method(.basicAck(.init(deliveryTag: 1))))
        try output.append(ack, patient: true)
        #expect(!output.mustGo && !output.isEmpty)
        try output.append(ack)
        #expect(output.mustGo)
        #expect(output.take().reduce(0) { $0 + $1.readableBytes } == 42)
        #expect(!output.mustGo)
        try output.append(ack, patient: true)
        output.hurry()
        #expect(output.mustGo)
        _ = output.take()
        while output.bytes < 16 * 1_024 {
            #expect(!output.mustGo)
            try output.append(ack, patient: true)
        }
        #expect(output.mustGo)
    }

    @Test func whatCannotBeWrittenLeavesNoTrace() throws {
        var output = OutputQueue()
        try output.append(AMQPFrame(channel: 0, payload: .heartbeat))
        let long = String(repeating: "x", count: 256)
        #expect(throws: AMQPWireError.shortStringTooLong(256)) {
            try output.append(
                .basicPublish(.init(routingKey: "q")),
                properties: .init(messageID: long),
                body: ByteBuffer(),
                channel: 1,
                maximumFrameSize: 4_096
            )
        }
        #expect(throws: AMQPWireError.shortStringTooLong(256)) {
            try output.append(AMQPFrame(channel: 1, payload: .method(.queueDeclare(.init(queue: long)))))
        }
        #expect(throws: AMQPWireError.tableTooLarge) {
            try output.append(
                .basicPublish(.init(routingKey: "q")),
                properties: .init(headers: ["h": .bytes(Array(repeating: 0, count: 5_000))]),
                body: ByteBuffer(),
                channel: 1,
                maximumFrameSize: 4_096
            )
        }
        #expect(output.take().reduce(0) { $0 + $1.readableBytes } == 8)
    }

    @Test func urls() throws {
        let full = try AMQPConfiguration(url: "amqp://us%40er:p%2Fw:x@broker.example:5673/my%2Fhost")
        #expect(full.endpoints == [.init(host: "broker.example", port: 5_673)])
        #expect(full.virtualHost == "my/host")
        if case .plain(let user, let password) = full.credentials.kind {
            #expect(user == "us@er" && password == "p/w:x")
        }
        #expect(try AMQPConfiguration(url: "amqp://localhost").virtualHost == "/")
        #expect(try AMQPConfiguration(url: "amqps://[::1]:1").endpoints == [.init(host: "::1", port: 1)])
        #expect(try AMQPConfiguration(url: "amqps://h").endpoints == [.init(host: "h", port: 5_671)])
        for bad in ["http://h", "amqp://h:99999", "amqp://h/%zz", "amqp://h:x"] {
            #expect(throws: AMQPError.self) { try AMQPConfiguration(url: bad) }
        }
    }
}
