internal import NIOCore
internal import ParleyCore
internal import Testing

@testable internal import ParleyGateway

@Suite struct TraceContextTests {
    private func context(_ text: String) -> TraceContext? {
        let bytes = Array(text.utf8)
        return TraceContext(bytes.span)
    }

    private func text(_ context: TraceContext, span: UInt64) -> String {
        var buffer = ByteBuffer()
        context.write(span: span, into: &buffer)
        return String(buffer: buffer)
    }

    @Test func theTraceStaysAndTheSpanIsItsOwn() throws {
        let sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        let context = try #require(self.context(sent))
        #expect(self.text(context, span: 0x12) == "00-0af7651916cd43dd8448eb211c80319c-0000000000000013-01")
        let silent = try #require(self.context(String(sent.dropLast()) + "0"))
        #expect(self.text(silent, span: 1).hasSuffix("-0000000000000001-00"))
    }

    @Test func aNewTraceCanBeRead() throws {
        let text = self.text(TraceContext(RequestID(high: 0, low: 0)), span: 0)
        #expect(text.utf8.count == TraceContext.length)
        #expect(TraceParent(text)?.isSampled == true)
    }

    /// The same are accepted as by the services behind, whatever byte is changed.
    @Test func agreesWithTheServices() {
        let good = Array("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".utf8)
        for text in ["", "00", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"] {
            #expect(self.context(text) == nil)
        }
        for tail in ["", "-", "-x", "x"] {
            for version in ["00", "01", "fe"] {
                let text = version + String(decoding: good.dropFirst(2), as: UTF8.self) + tail
                #expect((self.context(text) != nil) == (TraceParent(text) != nil), "\(text)")
            }
        }
        for index in good.indices {
            for byte in "0fgAF-".utf8 {
                var changed = good
                changed[index] = byte
                let text = String(decoding: changed, as: UTF8.self)
                #expect((self.context(text) != nil) == (TraceParent(text) != nil), "\(text)")
            }
            #expect(TraceContext(good.span.extracting(0..<index)) == nil)
        }
    }
}
