import NIOCore
import Testing

@testable import ParleyGateway

/// Bytes of any kind, to either role. Whatever comes, nothing traps, memory stays bounded, and each stream has one end.
enum HTTP2Fuzz {
    static func one(_ bytes: [UInt8]) {
        for isServer in [true, false] {
            var configuration = HTTP2Configuration()
            configuration.maximumStreams = 8
            configuration.outputLimit = 65_536
            let end = isServer ? TestConnection.server(configuration) : TestConnection.client(configuration)
            if !isServer {
                for _ in 0..<4 {
                    guard let handle = end.open() else { break }
                    end.machine.request(handle, RequestHead(), isEnd: false)
                }
            }
            // The first byte picks how the rest is cut.
            let size = max(1, Int(bytes.first ?? 1))
            var rest = bytes.dropFirst()
            while !rest.isEmpty {
                end.feed(Array(rest.prefix(size)))
                rest = rest.dropFirst(size)
                for event in end.taken() { Self.answer(event, end) }
                end.collect()
                _ = end.writtenBytes()
                Self.check(end)
            }
        }
    }

    private static func answer(_ event: HTTP2Event, _ end: TestConnection) {
        switch event {
        case .request(let handle, let head):
            end.machine.respond(handle, ResponseHead(block: head.block), isEnd: head.block.fields.count % 2 == 0)
            end.machine.write(handle, ByteBuffer(repeating: 0, count: 100_000))
            end.machine.read(handle)
        case .body(let handle, let body):
            if body.readableBytes % 3 != 0 { end.machine.read(handle) }
            end.machine.write(handle, body)
        case .bodyEnded(let handle, let trailers): end.machine.end(handle, trailers: trailers)
        case .bodyBroken(let handle): end.machine.cancel(handle, .cancel)
        case .response(let handle, _): end.machine.read(handle)
        case .ended, .writabilityChanged, .goingAway, .roomChanged, .pingAcknowledged, .failed: break
        }
    }

    private static func check(_ end: TestConnection) {
        #expect(end.liveStreams <= 8)
        #expect(end.liveStreams >= 0)
        #expect(end.slotCount <= 16)
        #expect(end.decoderTableSize <= 4096)
        #expect(end.capacities < 8 * 131_072 + 262_144)
    }
}

extension TestConnection {
    var decoderTableSize: Int { self.machine.decoder.tableSize }
}

@Suite struct FuzzTests {
    /// Frames that make sense together; the mutations start from here.
    private static func sensible(_ random: inout SeededGenerator) -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0..<Int.random(in: 1..<12, using: &random) {
            let stream = UInt32.random(in: 0..<10, using: &random)
            let isEnd = Bool.random(using: &random)
            switch Int.random(in: 0..<14, using: &random) {
            case 0, 1, 2: bytes += Frame.headers(stream | 1, isEnd ? Frame.get : Frame.post, isEnd: isEnd)
            case 3: bytes += Frame.headers(stream | 1, Frame.ok, isEnd: isEnd)
            case 4, 5:
                let count = Int.random(in: 0..<3000, using: &random)
                bytes += Frame.data(stream | 1, [UInt8](repeating: 1, count: count), isEnd: isEnd)
            case 6: bytes += Frame.reset(stream | 1)
            case 7: bytes += Frame.windowUpdate(stream, UInt32.random(in: 0..<100_000, using: &random))
            case 8:
                bytes += Frame.settings([
                    (UInt16.random(in: 0..<8, using: &random), UInt32.random(in: 0..<70_000, using: &random))
                ])
            case 9: bytes += Frame.ping()
            case 10: bytes += Frame.goAway(stream)
            case 11: bytes += Frame.raw(1, flags: 0, stream: stream | 1, Array(Frame.block(Frame.get).prefix(20)))
            case 12: bytes += Frame.raw(9, flags: 4, stream: stream | 1, Array(Frame.block(Frame.get).dropFirst(20)))
            default:
                let block = (0..<Int.random(in: 0..<40, using: &random)).map { _ in
                    UInt8.random(in: 0...255, using: &random)
                }
                bytes += Frame.raw(
                    UInt8.random(in: 0..<12, using: &random),
                    flags: UInt8.random(in: 0...255, using: &random),
                    stream: stream,
                    block
                )
            }
        }
        return bytes
    }

    @Test("Sensible frames, with and without mutations", .timeLimit(.minutes(5)), arguments: 0..<40 as Range<UInt64>)
    func mutated(seed: UInt64) {
        var random = SeededGenerator(seed)
        for _ in 0..<60 {
            var bytes = [UInt8.random(in: 0...255, using: &random)] + Self.sensible(&random)
            if Bool.random(using: &random) {
                for _ in 0..<Int.random(in: 1..<8, using: &random) {
                    let place = Int.random(in: 0..<bytes.count, using: &random)
                    bytes[place] = UInt8.random(in: 0...255, using: &random)
                }
            }
            if Bool.random(using: &random), bytes.count > 10 {
                bytes.removeSubrange(bytes.count / 2..<bytes.count / 2 + Int.random(in: 1..<5, using: &random))
            }
            HTTP2Fuzz.one(bytes)
        }
    }

    @Test("Bytes of any kind", .timeLimit(.minutes(5)), arguments: 0..<10 as Range<UInt64>)
    func random(seed: UInt64) {
        var random = SeededGenerator(seed)
        for _ in 0..<100 {
            let count = Int.random(in: 0..<400, using: &random)
            HTTP2Fuzz.one((0..<count).map { _ in UInt8.random(in: 0...255, using: &random) })
        }
    }

    @Test("The table of streams against a dictionary", arguments: 0..<20 as Range<UInt64>)
    func streamTable(seed: UInt64) {
        var random = SeededGenerator(seed)
        var table = HTTP2StreamTable()
        var model: [UInt32: Int] = [:]
        for step in 0..<3000 {
            // Few different ones, far apart: they meet in the same places.
            let identifier = UInt32.random(in: 1..<200, using: &random) &* [1, 4096, 65_536][Int(seed % 3)]
            if Int.random(in: 0..<3, using: &random) > 0, model.count < 128 {
                if model[identifier] == nil {
                    table.insert(identifier, slot: step)
                    model[identifier] = step
                }
            } else {
                table.remove(identifier)
                model[identifier] = nil
            }
            #expect(table.count == model.count)
            #expect(table.slot(of: identifier) == model[identifier])
        }
        for (identifier, slot) in model { #expect(table.slot(of: identifier) == slot) }
    }
}
