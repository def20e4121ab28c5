internal import NIOCore

/// Writes heads of HTTP/1.
enum HTTP1Writer {
    /// `GET /path HTTP/1.1` and its fields.
    static func write(_ head: RequestHead, into out: inout ByteBuffer) {
        Self.reserve(head.block, &out)
        Self.copy(head.methodName, of: head.block.bytes, into: &out)
        out.writeInteger(UInt8(ascii: " "))
        Self.copy(head.target, of: head.block.bytes, into: &out)
        out.writeStaticString(head.version == .http10 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n")
        Self.write(head.block, into: &out)
    }

    static func writeStatusLine(_ head: ResponseHead, into out: inout ByteBuffer) {
        Self.reserve(head.block, &out)
        out.writeStaticString("HTTP/1.1 ")
        let usual = head.reason == .empty ? StatusLine.text(head.status) : ""
        if usual.utf8CodeUnitCount > 0 {
            out.writeStaticString(usual)
        } else {
            let status = Int(head.status)
            out.writeMultipleIntegers(
                UInt8(truncatingIfNeeded: 48 + status / 100 % 10),
                UInt8(truncatingIfNeeded: 48 + status / 10 % 10),
                UInt8(truncatingIfNeeded: 48 + status % 10)
            )
            if !head.reason.isEmpty || head.reason == .empty { out.writeStaticString(" ") }
            Self.copy(head.reason, of: head.block.bytes, into: &out)
        }
        out.writeStaticString("\r\n")
    }

    /// The fields, without the empty line behind them.
    static func write(_ block: FieldBlock, into out: inout ByteBuffer) {
        let total = block.fields.reduce(0) { $0 &+ Int($1.name.count) &+ Int($1.value.count) &+ 4 }
        block.bytes.withUnsafeReadableBytes { source in
            // Written in one go: a call for each name and value would cost more than everything else about them.
            _ = out.writeWithUnsafeMutableBytes(minimumWritableBytes: total) { target in
                var written = 0
                for field in block.fields {
                    guard field.name.upperBound <= source.count, field.value.upperBound <= source.count else {
                        continue
                    }
                    let end = written + Int(field.name.count) + Int(field.value.count) + 4
                    guard end <= target.count else { break }
                    written = Self.put(source, field.name, target, at: written)
                    target[written] = UInt8(ascii: ":")
                    target[written + 1] = UInt8(ascii: " ")
                    written = Self.put(source, field.value, target, at: written + 2)
                    target[written] = UInt8(ascii: "\r")
                    target[written + 1] = UInt8(ascii: "\n")
                    written += 2
                }
                return written
            }
        }
    }

    @inline(__always)
    private static func put(
        _ source: UnsafeRawBufferPointer,
        _ range: ByteRange,
        _ target: UnsafeMutableRawBufferPointer,
        at offset: Int
    ) -> Int {
        UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + Int(range.count)])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[range.lowerBound..<range.upperBound]))
        return offset + Int(range.count)
    }

    private static func copy(_ range: ByteRange, of bytes: ByteBuffer, into out: inout ByteBuffer) {
        bytes.withUnsafeReadableBytes { source in
            guard range.upperBound <= source.count else { return }
            out.writeBytes(UnsafeRawBufferPointer(rebasing: source[range.lowerBound..<range.upperBound]))
        }
    }

    private static func reserve(_ block: FieldBlock, _ out: inout ByteBuffer) {
        out.reserveCapacity(minimumWritableBytes: block.bytes.readableBytes + block.fields.count * 4 + 256)
    }

    /// The length of a chunk, in front of it.
    static func writeChunkSize(_ count: Int, into out: inout ByteBuffer) {
        var shift = 60
        while shift > 0, count >> shift == 0 { shift -= 4 }
        while shift >= 0 {
            let digit = UInt8(truncatingIfNeeded: count >> shift & 15)
            out.writeInteger(digit < 10 ? digit + 48 : digit + 87)
            shift -= 4
        }
        out.writeStaticString("\r\n")
    }
}

extension ByteBuffer {
    /// A number in digits, without a string on the way.
    /// - Returns: How many bytes that took.
    @discardableResult
    mutating func writeDecimal(_ value: Int64) -> Int {
        guard value >= 0 else { return self.writeString("\(value)") }
        var divisor: Int64 = 1
        while value / divisor >= 10 { divisor *= 10 }
        var count = 0
        while divisor > 0 {
            count += self.writeInteger(UInt8(truncatingIfNeeded: 48 + value / divisor % 10))
            divisor /= 10
        }
        return count
    }
}

/// Status and reason as nginx writes them.
enum StatusLine {
    static func text(_ status: UInt16) -> StaticString {
        switch status {
        case 100: "100 Continue"
        case 101: "101 Switching Protocols"
        case 200: "200 OK"
        case 201: "201 Created"
        case 202: "202 Accepted"
        case 204: "204 No Content"
        case 206: "206 Partial Content"
        case 301: "301 Moved Permanently"
        case 302: "302 Moved Temporarily"
        case 303: "303 See Other"
        case 304: "304 Not Modified"
        case 307: "307 Temporary Redirect"
        case 308: "308 Permanent Redirect"
        case 400: "400 Bad Request"
        case 401: "401 Unauthorized"
        case 402: "402 Payment Required"
        case 403: "403 Forbidden"
        case 404: "404 Not Found"
        case 405: "405 Not Allowed"
        case 406: "406 Not Acceptable"
        case 408: "408 Request Time-out"
        case 409: "409 Conflict"
        case 410: "410 Gone"
        case 411: "411 Length Required"
        case 412: "412 Precondition Failed"
        case 413: "413 Request Entity Too Large"
        case 414: "414 Request-URI Too Large"
        case 415: "415 Unsupported Media Type"
        case 416: "416 Requested Range Not Satisfiable"
        case 421: "421 Misdirected Request"
        case 422: "422 Unprocessable Entity"
        case 429: "429 Too Many Requests"
        case 500: "500 Internal Server Error"
        case 501: "501 Not Implemented"
        case 502: "502 Bad Gateway"
        case 503: "503 Service Temporarily Unavailable"
        case 504: "504 Gateway Time-out"
        case 505: "505 HTTP Version Not Supported"
        case 507: "507 Insufficient Storage"
        default: ""
        }
    }
}
