internal import Foundation
internal import ProcessTestSupport

/// Answers each request with the same number of bytes, on threads of its own; reads bodies, too.
final class BulkUpstream: Sendable {
    let port: Int
    private let descriptor: Int32
    private let size: Int

    init(bytes size: Int) throws {
        (self.descriptor, self.port) = try Listener.open()
        self.size = size
        Thread.detachNewThread { [self] in
            while true {
                let client = accept(self.descriptor, nil, nil)
                guard client >= 0 else { return }
                Thread.detachNewThread { [self] in
                    self.serve(client)
                    close(client)
                }
            }
        }
    }

    func stop() { Listener.close(self.descriptor) }

    private func serve(_ client: Int32) {
        let head = Array("HTTP/1.1 200 OK\r\nContent-Length: \(self.size)\r\n\r\n".utf8)
        let piece = [UInt8](repeating: 0x61, count: 100_000)
        var received: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 16_384)
        while true {
            let count = recv(client, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            received += buffer[..<count]
            let text = String(decoding: received, as: UTF8.self).lowercased()
            guard let end = text.range(of: "\r\n\r\n") else { continue }
            var expected = 0
            if let field = text.range(of: "content-length: ") {
                expected = Int(text[field.upperBound...].prefix { $0.isNumber }) ?? 0
            }
            guard text[end.upperBound...].utf8.count >= expected else { continue }
            received = []
            guard self.send(client, head[...]) else { return }
            var left = self.size
            while left > 0 {
                guard self.send(client, piece.prefix(left)) else { return }
                left -= min(left, piece.count)
            }
        }
    }

    private func send(_ client: Int32, _ bytes: ArraySlice<UInt8>) -> Bool {
        var rest = bytes
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes {
                Foundation.send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            rest = rest.dropFirst(count)
        }
        return true
    }
}
