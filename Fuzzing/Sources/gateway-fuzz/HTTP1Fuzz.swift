import NIOCore

@testable import ParleyGateway

/// Heads and bodies of HTTP/1: what a connection's cuts must not change, and what must be read by the next server as
/// it was read here.
enum HTTP1Fuzz {
    // MARK: Requests

    @Sendable static func request(_ bytes: [UInt8]) {
        var limits = ScanLimits()
        // The first byte picks the settings of the server.
        let settings = bytes.first ?? 0
        limits.allowsUnderscores = settings & 1 != 0
        limits.ignoresInvalidNames = settings & 2 == 0
        if settings & 4 != 0 { (limits.firstBufferSize, limits.largeBufferSize) = (64, 96) }
        let text = Array(bytes.dropFirst())
        let whole = self.scan(text, text.count, limits)
        for size in Cuts.sizes(bytes) {
            let cut = self.scan(text, size, limits)
            switch (whole, cut) {
            case (.incomplete, .incomplete): break
            // What is hopeless is seen at different moments, and then for another reason.
            case (.refused, .refused): break
            case (.head(let one, let count), .head(let other, let otherCount)):
                promise(count == otherCount && self.summary(one) == self.summary(other), "cut, another head")
            default: promise(false, "\(whole) in one piece, \(cut) in pieces of \(size)")
            }
        }
        guard case .head(let head, let consumed) = whole else { return }
        promise(consumed <= text.count, "more than there was")
        self.check(head.block)
        self.forward(head)
    }

    private static func scan(_ text: [UInt8], _ size: Int, _ limits: ScanLimits) -> RequestScanner.Outcome {
        var scanner = RequestScanner(limits)
        var buffer = ByteBuffer()
        var rest = text[...]
        var outcome = RequestScanner.Outcome.incomplete
        while !rest.isEmpty {
            buffer.writeBytes(rest.prefix(max(1, size)))
            rest = rest.dropFirst(max(1, size))
            outcome = scanner.scan(buffer)
            guard case .incomplete = outcome else { return outcome }
        }
        return outcome
    }

    /// What is sent on is read again as the same request: nobody behind may find another one in it.
    private static func forward(_ head: RequestHead) {
        var out = ByteBuffer()
        var sent = head
        let target = head.block.view(head.target)
        if target.first != UInt8(ascii: "/") {
            let start = sent.block.bytes.readableBytes
            sent.block.bytes.writeBytes([UInt8(ascii: "/")] + target)
            sent.target = ByteRange(start: start, count: target.count + 1)
        }
        HTTP1Writer.write(sent, into: &out)
        out.writeStaticString("\r\n")
        out.writeStaticString("GET /another HTTP/1.1\r\n")
        var wide = ScanLimits()
        wide.firstBufferSize = 1 << 20
        wide.allowsUnderscores = true
        wide.ignoresInvalidNames = false
        var scanner = RequestScanner(wide)
        guard case .head(let again, let consumed) = scanner.scan(out) else {
            return promise(false, "what is sent on is refused")
        }
        promise(consumed == out.readableBytes - 23, "what is sent on ends elsewhere")
        promise(self.fields(again.block) == self.fields(sent.block), "what is sent on has other fields")
        promise(again.framing == sent.framing, "what is sent on has another body")
        promise(again.block.view(again.target).elementsEqual(sent.block.view(sent.target)), "another target")
    }

    // MARK: Answers

    @Sendable static func response(_ bytes: [UInt8]) {
        let isHead = (bytes.first ?? 0) & 1 != 0
        let text = Array(bytes.dropFirst())
        let whole = self.scanResponse(text, text.count, isHead)
        for size in Cuts.sizes(bytes) {
            let cut = self.scanResponse(text, size, isHead)
            switch (whole, cut) {
            case (.incomplete, .incomplete): break
            // As with requests: what is hopeless is seen at different moments.
            case (.tooLarge, .tooLarge), (.invalid, .invalid), (.tooLarge, .invalid), (.invalid, .tooLarge): break
            case (.head(let one, let count), .head(let other, let otherCount)):
                promise(
                    count == otherCount && one.status == other.status && one.framing == other.framing
                        && one.keepsAlive == other.keepsAlive && self.fields(one.block) == self.fields(other.block),
                    "cut, another head"
                )
            default: promise(false, "\(whole) in one piece, \(cut) in pieces of \(size)")
            }
        }
        guard case .head(let head, let consumed) = whole else { return }
        promise(consumed <= text.count, "more than there was")
        self.check(head.block)
        var out = ByteBuffer()
        HTTP1Writer.writeStatusLine(head, into: &out)
        HTTP1Writer.write(head.block, into: &out)
        out.writeStaticString("\r\n")
        var scanner = ResponseScanner(maxSize: 1 << 20)
        guard case .head(let again, let count) = scanner.scan(out, isHead: isHead) else {
            return promise(false, "what is passed back is refused")
        }
        promise(count == out.readableBytes, "what is passed back ends elsewhere")
        promise(again.status == head.status && again.framing == head.framing, "another answer is passed back")
        promise(self.fields(again.block) == self.fields(head.block), "other fields are passed back")
    }

    private static func scanResponse(_ text: [UInt8], _ size: Int, _ isHead: Bool) -> ResponseScanner.Outcome {
        var scanner = ResponseScanner(maxSize: 512)
        var buffer = ByteBuffer()
        var rest = text[...]
        var outcome = ResponseScanner.Outcome.incomplete
        while !rest.isEmpty {
            buffer.writeBytes(rest.prefix(max(1, size)))
            rest = rest.dropFirst(max(1, size))
            outcome = scanner.scan(buffer, isHead: isHead)
            guard case .incomplete = outcome else { return outcome }
        }
        return outcome
    }

    // MARK: Bodies

    private struct Body {
        var data: [UInt8] = []
        var trailers: [[UInt8]]?
        var end = "more"
        var left = 0
    }

    @Sendable static func body(_ bytes: [UInt8]) {
        let kind = bytes.first ?? 0
        let framing: BodyFraming = kind < 200 ? .chunked : kind < 250 ? .length(Int64(kind) - 199) : .untilEnd
        let text = Array(bytes.dropFirst())
        let whole = self.decode(text, text.count, framing)
        for size in Cuts.sizes(bytes) {
            let cut = self.decode(text, size, framing)
            promise(whole.end == cut.end, "\(whole.end) in one piece, \(cut.end) in pieces of \(size)")
            promise(whole.data == cut.data, "cut, other data")
            promise(whole.trailers == cut.trailers, "cut, other trailers")
            if whole.end == "end" { promise(whole.left == cut.left, "cut, it ends elsewhere") }
        }
        promise(whole.data.count <= text.count, "more data than there was")
        guard whole.end == "end", framing == .chunked else { return }
        var out = ByteBuffer()
        if !whole.data.isEmpty {
            HTTP1Writer.writeChunkSize(whole.data.count, into: &out)
            out.writeBytes(whole.data)
            out.writeStaticString("\r\n")
        }
        out.writeStaticString("0\r\n\r\nX")
        let again = self.decode(Array(out.readableBytesView), out.readableBytes, .chunked)
        promise(again.end == "end" && again.data == whole.data && again.left == 1, "what is sent on is another body")
    }

    private static func decode(_ text: [UInt8], _ size: Int, _ framing: BodyFraming) -> Body {
        var decoder = BodyDecoder(framing)
        var body = Body()
        var buffer = ByteBuffer()
        var rest = text[...]
        while true {
            buffer.writeBytes(rest.prefix(max(1, size)))
            rest = rest.dropFirst(max(1, size))
            reading: while true {
                switch decoder.next(&buffer) {
                case .data(let data):
                    promise(data.readableBytes > 0, "a piece without data")
                    body.data += data.readableBytesView
                case .end(let trailers):
                    if let trailers {
                        self.check(trailers)
                        body.trailers = self.fields(trailers)
                    }
                    body.end = "end"
                    body.left = buffer.readableBytes + rest.count
                    return body
                case .broken:
                    body.end = "broken"
                    return body
                case .more:
                    promise(buffer.readableBytes < 8_192, "too much waits for its end")
                    break reading
                }
            }
            if rest.isEmpty { return body }
        }
    }

    // MARK: Fields

    /// Nothing in a head may end a line, a name or the head itself where it is written again.
    private static func check(_ block: FieldBlock) {
        for field in block.fields {
            promise(field.name.upperBound <= block.bytes.readableBytes, "a name outside of its head")
            promise(field.value.upperBound <= block.bytes.readableBytes, "a value outside of its head")
            let name = block.view(field.name)
            promise(!name.isEmpty, "an empty name")
            promise(name.allSatisfy { $0 > 0x20 && $0 != 0x7F && $0 != UInt8(ascii: ":") }, "a broken name")
            promise(block.view(field.value).allSatisfy { $0 != 0 && $0 != 0x0A && $0 != 0x0D }, "a broken value")
        }
    }

    /// Names and values by turns.
    private static func fields(_ block: FieldBlock) -> [[UInt8]] {
        block.fields.flatMap { [Array(block.view($0.name)), Array(block.view($0.value)), [$0.known.rawValue]] }
    }

    private static func summary(_ head: RequestHead) -> [[UInt8]] {
        let parts = [head.methodName, head.target, head.authority, head.upgrade].map { Array(head.block.view($0)) }
        let facts = "\(head.method) \(head.version) \(head.framing) \(head.keepsAlive) \(head.expectsContinue)"
        return parts + [Array(facts.utf8)] + self.fields(head.block)
    }
}
