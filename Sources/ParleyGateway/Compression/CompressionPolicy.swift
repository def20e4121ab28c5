internal import NIOCore

/// `gzip`: which answers are compressed, by the rules of nginx's gzip module, and what their head then says.
package struct CompressionPolicy: Sendable {
    package enum Outcome: Sendable, Hashable {
        case none
        /// The answer may be compressed for other clients: with `gzip_vary` it says so.
        case varies
        case compressed
    }

    private let types: [[UInt8]]
    private let takesAllTypes: Bool
    private let rules: Compression

    package init(_ rules: Compression) {
        self.rules = rules
        self.takesAllTypes = rules.types.contains("*")
        var types = rules.types.map { AccessText.lowercased($0) }
        let html = Array("text/html".utf8)
        // Always among them, as in nginx.
        if !types.contains(html) { types.insert(html, at: 0) }
        self.types = types
    }

    package var level: Int { self.rules.level }

    package func outcome(request: RequestHead, response: ResponseHead) -> Outcome {
        guard request.method == .head || response.framing != .none,
            response.status == 200 || response.status == 403 || response.status == 404,
            response.block.first(.contentEncoding).map({ $0.value.isEmpty }) ?? true
        else { return .none }
        if request.method == .head, let field = response.block.first(.contentLength),
            let length = Int64(response.block.text(field.value)), length < Int64(self.rules.minLength)
        {
            return .none
        }
        if case .length(let length) = response.framing, length < Int64(self.rules.minLength) { return .none }
        guard self.hasType(response.block) else { return .none }
        guard let field = request.block.first(.acceptEncoding),
            AcceptEncoding.takesGzip(request.block.view(field.value)),
            request.version >= (self.rules.minVersionIs11 ? .http11 : .http10),
            self.rules.compressesProxied || request.block.first(.via) == nil
        else { return .varies }
        return .compressed
    }

    /// Writes into the head what the outcome means: the length is gone, the tag is a weak one.
    package func apply(_ outcome: Outcome, to response: inout ResponseHead, clientVersion: HTTPVersion) {
        guard outcome != .none else { return }
        if self.rules.addsVary { response.block.append(name: "Vary".utf8, value: "Accept-Encoding".utf8, known: .vary) }
        guard outcome == .compressed else { return }
        let block = response.block
        let ranges = Array("accept-ranges".utf8)
        var tag: [UInt8]?
        response.block.fields.removeAll { field in
            switch field.known {
            case .contentLength, .contentEncoding:
                return true
            case .etag:
                tag = Self.weak(block.view(field.value))
                return true
            case .other:
                return AccessText.isEqualIgnoringCase(block.view(field.name), ranges)
            default:
                return false
            }
        }
        if let tag { response.block.append(name: "ETag".utf8, value: tag, known: .etag) }
        response.block.append(name: "Content-Encoding".utf8, value: "gzip".utf8, known: .contentEncoding)
        switch clientVersion {
        case .http2: response.framing = .untilEnd
        case .http11: response.framing = .chunked
        case .http09, .http10:
            response.framing = .untilEnd
            response.keepsAlive = false
        }
    }

    private func hasType(_ block: FieldBlock) -> Bool {
        guard let field = block.first(.contentType), !field.value.isEmpty else { return false }
        if self.takesAllTypes { return true }
        let value = block.view(field.value)
        let type = AccessText.trimmed(value.prefix { $0 != UInt8(ascii: ";") })
        return self.types.contains { AccessText.isEqualIgnoringCase(type, $0) }
    }

    /// The compressed body is another one, byte by byte. What is no tag at all is left out.
    private static func weak(_ value: ByteBufferView) -> [UInt8]? {
        if value.starts(with: "W/".utf8) { return Array(value) }
        guard value.first == UInt8(ascii: "\"") else { return nil }
        return Array("W/".utf8) + value
    }
}

/// `Accept-Encoding`, read as nginx reads it.
enum AcceptEncoding {
    /// Whether `gzip` stands in the list, and not with a weight of zero or one that is none.
    static func takesGzip(_ value: some BidirectionalCollection<UInt8>) -> Bool {
        var rest = value[...]
        while let start = self.gzip(in: rest) {
            let isWord = start == value.startIndex || [0x20, 0x2C].contains(value[value.index(before: start)])
            let after = value[value.index(start, offsetBy: 4)...]
            if isWord { return self.isWanted(after) }
            rest = after
        }
        return false
    }

    private static func gzip<Bytes: BidirectionalCollection<UInt8>>(in bytes: Bytes) -> Bytes.Index? {
        let name = Array("gzip".utf8)
        var index = bytes.startIndex
        while bytes.distance(from: index, to: bytes.endIndex) >= name.count {
            if AccessText.isEqualIgnoringCase(bytes[index...].prefix(name.count), name) { return index }
            index = bytes.index(after: index)
        }
        return nil
    }

    /// What follows the name: nothing, the next in the list, or a weight.
    private static func isWanted(_ bytes: some Collection<UInt8>) -> Bool {
        var rest = bytes.drop { $0 == 0x20 }
        guard let first = rest.popFirst(), first != 0x2C else { return true }
        guard first == UInt8(ascii: ";") else { return false }
        rest = rest.drop { $0 == 0x20 }
        guard let name = rest.popFirst() else { return true }
        guard name | 0x20 == UInt8(ascii: "q"), rest.popFirst() == UInt8(ascii: "="), !rest.isEmpty else {
            return false
        }
        return self.isPositive(rest.prefix { $0 != 0x2C && $0 != 0x20 })
    }

    /// `0`, `1`, and up to three digits behind a point; more than one is none. Zero says no.
    private static func isPositive(_ weight: some Collection<UInt8>) -> Bool {
        var digits = Array(weight)
        guard let first = digits.first, first == UInt8(ascii: "0") || first == UInt8(ascii: "1") else { return false }
        digits.removeFirst()
        if digits.isEmpty { return first == UInt8(ascii: "1") }
        guard digits.removeFirst() == UInt8(ascii: "."), digits.count <= 3,
            digits.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) })
        else { return false }
        let hasFraction = digits.contains { $0 != UInt8(ascii: "0") }
        return first == UInt8(ascii: "1") ? !hasFraction : hasFraction
    }
}
