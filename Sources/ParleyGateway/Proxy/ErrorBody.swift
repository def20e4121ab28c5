internal import NIOCore
internal import ParleyCore

/// What the gateway says in the body of an answer of its own.
enum ErrorBody {
    /// nginx's page for a status, with our name under it; `nil` for a status that has none.
    static func html(_ status: UInt16, product: StaticString) -> ByteBuffer? {
        let title: String
        var note: String?
        switch status {
        case 494:
            title = "400 Bad Request"
            note = "Request Header Or Cookie Too Large"
        case 495:
            title = "400 Bad Request"
            note = "The SSL certificate error"
        case 496:
            title = "400 Bad Request"
            note = "No required SSL certificate was sent"
        case 497:
            title = "400 Bad Request"
            note = "The plain HTTP request was sent to HTTPS port"
        case 301...303, 307, 308, 400...421, 429, 500...505, 507:
            let text = StatusLine.text(status)
            guard text.utf8CodeUnitCount > 0 else { return nil }
            title = status == 401 ? "401 Authorization Required" : "\(text)"
        default:
            return nil
        }
        let head = note.map { _ in Self.longTitle(status) } ?? title
        var page = "<html>\r\n<head><title>\(head)</title></head>\r\n<body>\r\n<center><h1>\(title)</h1></center>\r\n"
        if let note { page += "<center>\(note)</center>\r\n" }
        page += "<hr><center>\(product)</center>\r\n</body>\r\n</html>\r\n"
        return ByteBuffer(string: page)
    }

    private static func longTitle(_ status: UInt16) -> String {
        switch status {
        case 494: "400 Request Header Or Cookie Too Large"
        case 495: "400 The SSL certificate error"
        case 496: "400 No required SSL certificate was sent"
        default: "400 The plain HTTP request was sent to HTTPS port"
        }
    }

    /// Problem details (RFC 9457) with the request's id, so that a person can ask `explain` for the story.
    ///
    /// - Parameters:
    ///   - path: Of the request.
    ///   - service: Whom it was for, if that is known.
    static func problem(
        _ status: UInt16,
        code: String,
        detail: String,
        requestID: String,
        path: String,
        service: String?
    ) -> ByteBuffer {
        let text = "\(StatusLine.text(status))"
        let title = text.isEmpty ? "Error" : String(text.dropFirst(4))
        var body = ByteBuffer()
        body.writeString("{\"type\":\"about:blank\",\"title\":")
        body.writeJSONString(title)
        body.writeString(",\"status\":\(status),\"code\":")
        body.writeJSONString(code)
        body.writeString(",\"detail\":")
        body.writeJSONString(detail)
        body.writeString(",\"requestId\":")
        body.writeJSONString(requestID)
        body.writeString(",\"instance\":")
        body.writeJSONString(path)
        if let service {
            body.writeString(",\"service\":")
            body.writeJSONString(service)
        }
        body.writeString("}")
        return body
    }

    /// The status that the client sees: nginx's own numbers above 493 are for its log.
    static func visible(_ status: UInt16) -> UInt16 {
        (494...497).contains(status) ? 400 : status
    }
}

extension ByteBuffer {
    /// A text in quotes, with what JSON cannot hold escaped.
    mutating func writeJSONString(_ text: String) {
        self.writeInteger(UInt8(ascii: "\""))
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\""): self.writeStaticString("\\\"")
            case UInt8(ascii: "\\"): self.writeStaticString("\\\\")
            case 0x0A: self.writeStaticString("\\n")
            case 0x0D: self.writeStaticString("\\r")
            case 0x09: self.writeStaticString("\\t")
            case 0..<0x20:
                self.writeStaticString("\\u00")
                let digits: StaticString = "0123456789abcdef"
                digits.withUTF8Buffer { _ = self.writeBytes([$0[Int(byte >> 4)], $0[Int(byte & 15)]]) }
            default: self.writeInteger(byte)
            }
        }
        self.writeInteger(UInt8(ascii: "\""))
    }
}
