import NIOCore
import Testing

@testable import ParleyGateway

/// However the bytes are cut, a head is the same, and refused or not.
@Suite struct RequestScannerTests {
    /// `nil`: refused.
    private func fields(_ text: String, inPiecesOf size: Int, _ limits: ScanLimits) -> Int? {
        var scanner = RequestScanner(limits)
        var buffer = ByteBuffer()
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            buffer.writeBytes(rest.prefix(size))
            rest = rest.dropFirst(size)
            switch scanner.scan(buffer) {
            case .incomplete: continue
            case .head(let head, let consumed): return consumed == text.utf8.count ? head.block.fields.count : -1
            case .refused: return nil
            }
        }
        return -1
    }

    /// The lines fill all buffers to the last bytes: the empty line at the end needs its place as well, as in nginx.
    @Test(arguments: 0...4) func aHeadAtItsLimit(room: Int) {
        var limits = ScanLimits()
        (limits.firstBufferSize, limits.largeBuffers, limits.largeBufferSize) = (64, 1, 64)
        let first = "GET / HTTP/1.1\r\nHost: a\r\n"
        let long = "A: " + String(repeating: "a", count: 64 - 5 - room) + "\r\n"
        let text = first + long + "\r\n"
        let whole = self.fields(text, inPiecesOf: text.utf8.count, limits)
        #expect(whole == (room < 2 ? nil : 2))
        for size in 1...8 { #expect(self.fields(text, inPiecesOf: size, limits) == whole, "in pieces of \(size)") }
    }
}
