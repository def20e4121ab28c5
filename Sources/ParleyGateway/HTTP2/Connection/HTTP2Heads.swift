internal import NIOCore

extension HTTP2Malformation: Error {}

/// From a field section to the heads that the rest of the gateway knows, by the rules of RFC 9113, section 8, and where
/// they leave room, nginx's.
extension HTTP2FieldSection {
    consuming func requestHead(isEnd: Bool) throws(HTTP2Malformation) -> RequestHead {
        if let malformation = self.malformation { throw malformation }
        if self.has(.status) { throw .pseudoFieldUnknown }
        guard self.has(.method), self.has(.scheme), self.has(.path) else { throw .pseudoFieldMissing }
        let common = try self.scan(isRequest: true)
        let bytes = self.block.bytes
        let text = bytes.readableBytesUInt8Span
        guard let method = Method(http2: text.extracting(self.method.indices)) else { throw .method }
        guard Self.isScheme(text.extracting(self.scheme.indices)) else { throw .scheme }
        guard Self.isPath(text.extracting(self.path.indices)) else { throw .path }
        var authority = self.authority
        if let host = common.host {
            if !authority.isEmpty {
                let given = text.extracting(authority.indices)
                let repeated = text.extracting(host.indices)
                guard given.count == repeated.count else { throw .hostDiffers }
                for index in 0..<given.count where given[index] != repeated[index] { throw .hostDiffers }
            }
            authority = host
        }
        guard !authority.isEmpty else { throw .hostMissing }
        guard Self.isAuthority(text.extracting(authority.indices)) else { throw .authority }
        if isEnd, common.length > 0 { throw .contentLength }
        self.joinCookies()
        return RequestHead(
            block: self.block,
            method: method,
            methodName: self.method,
            target: self.path,
            authority: authority,
            version: .http2,
            framing: isEnd ? .none : common.length >= 0 ? .length(common.length) : .untilEnd,
            expectsContinue: common.expectsContinue
        )
    }

    /// `isHead`: the answer to HEAD, where content-length may stand without a body.
    consuming func responseHead(isEnd: Bool, isHead: Bool) throws(HTTP2Malformation) -> ResponseHead {
        if let malformation = self.malformation { throw malformation }
        if self.has(.method) || self.has(.scheme) || self.has(.path) || self.has(.authority) {
            throw .pseudoFieldUnknown
        }
        guard self.has(.status) else { throw .pseudoFieldMissing }
        let common = try self.scan(isRequest: false)
        let digits = self.block.bytes.readableBytesUInt8Span.extracting(self.status.indices)
        var status: UInt16 = 0
        guard digits.count == 3 else { throw .status }
        for index in 0..<3 {
            guard digits[index] &- 0x30 < 10 else { throw .status }
            status = status &* 10 &+ UInt16(digits[index] &- 0x30)
        }
        // 101 does not exist in HTTP/2, and an informational answer is never the last.
        guard status >= 100, status != 101, status >= 200 || !isEnd else { throw .status }
        let hasNoBody = isHead || status == 304 || status == 204
        if isEnd, common.length > 0, !hasNoBody { throw .contentLength }
        var framing = BodyFraming.none
        if !isEnd { framing = common.length >= 0 && !hasNoBody ? .length(common.length) : .untilEnd }
        return ResponseHead(block: self.block, status: status, version: .http2, framing: framing)
    }

    consuming func trailers() throws(HTTP2Malformation) -> FieldBlock {
        if let malformation = self.malformation { throw malformation }
        if self.hasPseudoFields { throw .pseudoFieldUnknown }
        for field in self.block.fields where field.known.isForOneConnection { throw .connectionField }
        return self.block
    }

    private func scan(
        isRequest: Bool
    ) throws(HTTP2Malformation) -> (host: ByteRange?, length: Int64, expectsContinue: Bool) {
        var host: ByteRange?
        var length: Int64 = -1
        var expectsContinue = false
        let bytes = self.block.bytes
        let text = bytes.readableBytesUInt8Span
        for index in 0..<self.block.fields.count {
            let field = self.block.fields[index]
            switch field.known {
            case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade:
                throw .connectionField
            case .te where isRequest:
                guard Self.isEqual(text.extracting(field.value.indices), Self.trailersText) else { throw .te }
            case .host where isRequest:
                guard host == nil else { throw .hostDiffers }
                host = field.value
            case .contentLength:
                guard length < 0, let value = Self.length(text.extracting(field.value.indices)) else {
                    throw .contentLength
                }
                length = value
            case .expect where isRequest:
                expectsContinue = Self.isEqual(text.extracting(field.value.indices), Self.continueText)
            default: break
            }
        }
        return (host, length, expectsContinue)
    }

    private static func length(_ text: Span<UInt8>) -> Int64? {
        guard text.count > 0, text.count <= 18 else { return nil }
        var value: Int64 = 0
        for index in 0..<text.count {
            guard text[index] &- 0x30 < 10 else { return nil }
            value = value &* 10 &+ Int64(text[index] &- 0x30)
        }
        return value
    }

    private static let trailersText = Array("trailers".utf8)
    private static let continueText = Array("100-continue".utf8)

    private static func isEqual(_ text: Span<UInt8>, _ lowercase: [UInt8]) -> Bool {
        guard text.count == lowercase.count else { return false }
        for index in 0..<text.count where text[index].asLowercase != lowercase[index] { return false }
        return true
    }

    private static func isScheme(_ text: Span<UInt8>) -> Bool {
        guard text.count > 0 else { return false }
        for index in 0..<text.count {
            let byte = text[index]
            if byte | 0x20 &- 0x61 < 26 { continue }
            guard index > 0, byte &- 0x30 < 10 || byte == 0x2B || byte == 0x2D || byte == 0x2E else { return false }
        }
        return true
    }

    private static func isPath(_ text: Span<UInt8>) -> Bool {
        guard text.count > 0, text[0] == 0x2F else { return false }
        for index in 0..<text.count where text[index] <= 0x20 || text[index] == 0x7F { return false }
        return true
    }

    private static func isAuthority(_ text: Span<UInt8>) -> Bool {
        for index in 0..<text.count {
            switch text[index] {
            case 0...0x20, 0x7F, 0x23, 0x2F, 0x3F, 0x40, 0x5C: return false
            default: break
            }
        }
        return true
    }
}

extension ByteRange {
    var indices: Range<Int> { self.lowerBound..<self.upperBound }
}

extension KnownField {
    /// Of HTTP/1, and about the connection: never in HTTP/2 (RFC 9113, section 8.2.2).
    var isForOneConnection: Bool {
        switch self {
        case .connection, .keepAlive, .proxyConnection, .transferEncoding, .upgrade: return true
        default: return false
        }
    }
}

extension Method {
    private static let names: [(name: [UInt8], method: Method)] = {
        let pairs: [(String, Method)] = [
            ("GET", .get), ("POST", .post), ("HEAD", .head), ("PUT", .put), ("DELETE", .delete),
            ("OPTIONS", .options), ("PATCH", .patch), ("TRACE", .trace), ("CONNECT", .connect), ("MKCOL", .mkcol),
            ("COPY", .copy), ("MOVE", .move), ("PROPFIND", .propfind), ("PROPPATCH", .proppatch), ("LOCK", .lock),
            ("UNLOCK", .unlock),
        ]
        return pairs.map { (Array($0.0.utf8), $0.1) }
    }()

    /// `nil`: not what nginx takes for a method: letters in upper case, underscores and dashes.
    init?(http2 text: Span<UInt8>) {
        guard text.count > 0 else { return nil }
        candidates: for candidate in Self.names where candidate.name.count == text.count {
            for index in 0..<text.count where candidate.name[index] != text[index] { continue candidates }
            self = candidate.method
            return
        }
        for index in 0..<text.count {
            let byte = text[index]
            guard byte &- 0x41 < 26 || byte == 0x5F || byte == 0x2D else { return nil }
        }
        self = .other
    }
}
