internal import NIOCore
internal import ParleyCore

extension Exchange {
    /// Whether the client speaks gRPC, and so looks for the outcome of its call in other fields than a browser does.
    var isCall: Bool {
        let block = self.head.block
        guard self.head.version == .http2, let type = block.first(.contentType)?.value else { return false }
        let end = type.lowerBound + 16
        guard type.upperBound >= end else { return false }
        let bytes = block.bytes.readableBytesUInt8Span
        let name = bytes.extracting(type.lowerBound..<end)
        guard name.equals(ignoringCase: "application/grpc") else { return false }
        if type.upperBound == end { return true }
        // gRPC-Web is something else, with a dash behind the name.
        let next = bytes[end]
        return next == UInt8(ascii: "+") || next == UInt8(ascii: ";")
    }

    /// What the gateway could not do, said as gRPC says it: HTTP 200 without a body, and the outcome in fields. Log,
    /// metrics and story keep the status that others would have got.
    func failCall(_ status: UInt16) {
        guard let stream = self.stream else { return }
        self.status = status
        self.isOwnAnswer = true
        var message = ByteBuffer(staticString: StatusLine.text(status))
        if self.plan.model.errorFormat == .problem {
            message.writeString("\(self.why.isEmpty ? "" : ": ")\(self.why) (request \(self.ensureRequestID().text))")
        }
        var head = ResponseHead(status: 200)
        head.block.bytes.reserveCapacity(256)
        self.appendStandardFields(to: &head.block)
        head.block.append("Content-Type", "application/grpc" as StaticString, .contentType)
        head.block.append("grpc-status", GRPCStatus.code(of: status), .grpcStatus)
        head.block.append(
            name: "grpc-message".utf8,
            value: GRPCStatus.escaped(message).readableBytesView,
            known: .grpcMessage
        )
        self.sentFields = head.block
        self.phase = .answering
        self.finish()
        stream.write(head, isEnd: true)
    }
}

enum GRPCStatus {
    /// As clients translate an answer of HTTP themselves (gRPC's `http-grpc-status-mapping.md`; Envoy does the same).
    static func code(of status: UInt16) -> StaticString {
        switch status {
        case 400: "13"
        case 401: "16"
        case 403: "7"
        case 404: "12"
        case 429, 502...504: "14"
        default: "2"
        }
    }

    /// Spaces to tildes but for the percent sign stay as they are (gRPC's `PROTOCOL-HTTP2.md`).
    static func escaped(_ text: ByteBuffer) -> ByteBuffer {
        var output = ByteBuffer()
        output.reserveCapacity(text.readableBytes)
        for byte in text.readableBytesView.prefix(1_024) {
            if (0x20...0x7E).contains(byte), byte != UInt8(ascii: "%") {
                output.writeInteger(byte)
            } else {
                output.writeInteger(UInt8(ascii: "%"))
                for digit in [byte >> 4, byte & 15] { output.writeInteger(digit < 10 ? 0x30 + digit : 0x37 + digit) }
            }
        }
        return output
    }
}
