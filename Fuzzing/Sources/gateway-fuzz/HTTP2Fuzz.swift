import NIOCore

@testable import ParleyGateway

/// Field sections, and whole connections in both roles.
enum HTTP2Fuzz {
    // MARK: HPACK

    @Sendable static func fieldSections(_ bytes: [UInt8]) {
        var decoder = HPACKDecoder(tableSize: 4_096)
        var encoder = HPACKEncoder()
        var reader = HPACKDecoder(tableSize: 4_096)
        var rest = bytes[...]
        let limits = HTTP2FieldLimits(section: 8_192, field: 2_048)
        // A length in front of each section.
        while let length = rest.popFirst() {
            let input = Array(rest.prefix(Int(length)))
            rest = rest.dropFirst(Int(length))
            var section = HTTP2FieldSection(limits: limits)
            do {
                try decoder.decode(input.span, into: &section)
            } catch {
                promise(error.code == .compressionError, "another error than HPACK has")
                return
            }
            promise(decoder.tableSize <= 4_096, "a table above its limit")
            promise(section.block.bytes.readableBytes <= 8_192, "a section above its limit")
            promise(section.block.fields.count <= 8_192 / 32, "too many fields")
            if section.malformation == nil, !section.isTooLarge { self.again(section.block, &encoder, &reader) }
        }
    }

    private static func again(_ block: FieldBlock, _ encoder: inout HPACKEncoder, _ reader: inout HPACKDecoder) {
        // Three times: as a literal, with its place in the table, and by it.
        for _ in 0..<3 {
            var out = ByteBuffer()
            encoder.begin(into: &out)
            for field in block.fields { encoder.write(field, of: block.bytes, into: &out) }
            var section = HTTP2FieldSection(limits: HTTP2FieldLimits(section: 1 << 20, field: 1 << 20))
            do {
                try reader.decode(out.readableBytesUInt8Span, into: &section)
            } catch {
                return promise(false, "what is written cannot be read: \(error)")
            }
            promise(encoder.tableSize == reader.tableSize, "two tables that differ")
            promise(self.fields(section.block) == self.fields(block), "what is written is read as something else")
        }
    }

    private static func fields(_ block: FieldBlock) -> [[UInt8]] {
        block.fields.flatMap { [Array(block.view($0.name)), Array(block.view($0.value))] }
    }

    // MARK: Connections

    @Sendable static func connection(_ bytes: [UInt8]) {
        let kind = bytes.first ?? 0
        let text = Array(bytes.dropFirst())
        // As a consumer that answers at once; how the socket cuts the frames must not be seen.
        let whole = Connection(isServer: kind & 1 == 0, hasPreface: kind & 2 == 0).run(text, text.count)
        for size in Cuts.sizes(bytes) {
            let cut = Connection(isServer: kind & 1 == 0, hasPreface: kind & 2 == 0).run(text, size)
            promise(whole == cut, "\(whole) in one piece, \(cut) in pieces of \(size)")
        }
    }

    private final class Connection {
        private var machine: HTTP2Connection
        private let isServer: Bool
        private let hasPreface: Bool
        private var said: [String] = []
        private var open: [HTTP2StreamHandle] = []

        init(isServer: Bool, hasPreface: Bool) {
            self.isServer = isServer
            self.hasPreface = hasPreface
            var configuration = HTTP2Configuration()
            configuration.maximumStreams = 8
            configuration.outputLimit = 65_536
            self.machine = HTTP2Connection(isServer ? .server : .client(isSecure: false), configuration: configuration)
        }

        func run(_ text: [UInt8], _ size: Int) -> [String] {
            if self.hasPreface {
                let start = (self.isServer ? HTTP2Connection.preface : []) + [0, 0, 0, 4, 0, 0, 0, 0, 0]
                self.feed(start[...])
            }
            if !self.isServer {
                for _ in 0..<4 {
                    guard let handle = self.machine.open(now: self.now) else { break }
                    self.open.append(handle)
                    self.machine.request(handle, RequestHead(), isEnd: false)
                    self.machine.read(handle)
                }
            }
            var rest = text[...]
            while !rest.isEmpty {
                self.feed(rest.prefix(max(1, size)))
                rest = rest.dropFirst(max(1, size))
            }
            return self.said
        }

        private let now = NIODeadline.uptimeNanoseconds(1_000_000_000)

        private func feed(_ bytes: ArraySlice<UInt8>) {
            self.machine.receive(ByteBuffer(bytes: bytes))
            while let event = self.machine.next(now: self.now) { self.took(event) }
            while self.machine.takeOutput() != nil {}
            promise((0...8).contains(self.machine.liveStreams), "too many streams")
            promise(self.machine.slots.count <= 16, "too many places for streams")
            promise(self.machine.decoder.tableSize <= 4_096, "a table above its limit")
            promise(self.machine.input.readableBytes <= 16_384 + 9, "more than a frame waits")
            promise((self.machine.head?.block.readableBytes ?? 0) <= 65_536, "a head without end")
        }

        private func took(_ event: HTTP2Event) {
            switch event {
            case .request(let handle, let head):
                let method = head.block.text(head.methodName)
                self.say("\(handle) request \(method) \(head.block.text(head.target)) \(head.framing)")
                self.check(head.block)
                self.machine.respond(handle, ResponseHead(block: head.block), isEnd: false)
                self.machine.read(handle)
            case .response(let handle, let head):
                self.say("\(handle) response \(head.status) \(head.framing)")
                self.check(head.block)
                self.machine.read(handle)
            case .body(let handle, let body):
                self.add(handle, body.readableBytes)
                self.machine.write(handle, body)
                self.machine.read(handle)
            case .bodyEnded(let handle, let trailers):
                self.say("\(handle) end \(trailers?.fields.count ?? -1)")
                self.machine.end(handle, trailers: trailers)
            case .bodyBroken(let handle):
                self.say("\(handle) broken")
                self.machine.cancel(handle, .cancel)
            case .ended(let handle, let end): self.say("\(handle) ended \(end)")
            case .failed(let error): self.say("failed \(error.code)")
            case .goingAway: self.say("going away")
            case .writabilityChanged, .roomChanged, .pingAcknowledged: break
            }
        }

        private func say(_ text: String) { self.said.append(text) }

        /// Pieces of one body that follow each other are one.
        private func add(_ handle: HTTP2StreamHandle, _ count: Int) {
            let start = "\(handle) body "
            if let last = self.said.last, last.hasPrefix(start), let before = Int(last.dropFirst(start.count)) {
                self.said[self.said.count - 1] = start + "\(before + count)"
            } else {
                self.say(start + "\(count)")
            }
        }

        private func check(_ block: FieldBlock) {
            for field in block.fields {
                promise(!field.name.isEmpty, "an empty name")
                let name = block.view(field.name)
                promise(name.allSatisfy { $0 > 0x20 && $0 != 0x7F && !(0x41...0x5A).contains($0) }, "a broken name")
                let value = block.view(field.value)
                promise(value.allSatisfy { $0 != 0 && $0 != 0x0A && $0 != 0x0D }, "a broken value")
            }
        }
    }
}
