enum TargetForm { case origin, absolute }

/// The first line of a request, taken apart by nginx's rules (1.22).
struct RequestLine {
    var method: Method
    var methodName: ByteRange
    var target: ByteRange
    var authority: ByteRange
    var version: HTTPVersion
    var form: TargetForm

    static func method(_ bytes: Span<UInt8>, from start: Int, to newline: Int) -> Method {
        var index = start
        while index < newline, ByteKind.of(bytes[index]).contains(.method) { index += 1 }
        return Method(bytes.extracting(start..<index))
    }

    static func read(_ bytes: Span<UInt8>, from start: Int, to newline: Int) throws(HeadRefusal) -> RequestLine {
        var end = newline
        if end > start, bytes[end - 1] == 0x0D { end -= 1 }
        var index = start
        while index < end, ByteKind.of(bytes[index]).contains(.method) { index += 1 }
        guard index > start, index < end, bytes[index] == 0x20 else { throw .malformed("no method") }
        let name = ByteRange(start: start, count: index - start)
        while index < end, bytes[index] == 0x20 { index += 1 }
        guard index < end else { throw .malformed("no target") }

        var form = TargetForm.origin
        var authority = ByteRange.empty
        if bytes[index] != UInt8(ascii: "/") {
            form = .absolute
            (authority, index) = try Self.authority(bytes, from: index, to: end)
        }
        let targetStart = index
        while index < end, bytes[index] != 0x20 {
            if ByteKind.of(bytes[index]).contains(.control) { throw .malformed("a control character in the target") }
            index += 1
        }
        let target = ByteRange(start: targetStart, count: index - targetStart)
        while index < end, bytes[index] == 0x20 { index += 1 }
        // Without a version it is HTTP/0.9, whose answers nobody can tell from garbage.
        guard index < end else { throw .malformed("no version") }
        let version = try Self.version(bytes, from: index, to: end)
        return RequestLine(
            method: Method(bytes.extracting(name.lowerBound..<name.upperBound)),
            methodName: name,
            target: target,
            authority: authority,
            version: version,
            form: form
        )
    }

    /// `scheme://host:port` before the path.
    private static func authority(
        _ bytes: Span<UInt8>,
        from start: Int,
        to end: Int
    ) throws(HeadRefusal) -> (ByteRange, Int) {
        var index = start
        while index < end, Self.isSchemeByte(bytes[index], isFirst: index == start) { index += 1 }
        guard index > start, index + 2 < end, bytes[index] == UInt8(ascii: ":"), bytes[index + 1] == UInt8(ascii: "/"),
            bytes[index + 2] == UInt8(ascii: "/")
        else { throw .malformed("a target that is neither a path nor an address") }
        index += 3
        let hostStart = index
        while index < end, bytes[index] != UInt8(ascii: "/"), bytes[index] != UInt8(ascii: "?"), bytes[index] != 0x20 {
            let byte = bytes[index]
            // Names, addresses of both families, and a port.
            guard ByteKind.of(byte).contains(.plainName) || [0x2E, 0x3A, 0x5B, 0x5D].contains(byte) else {
                throw .malformed("a host that no address can have")
            }
            index += 1
        }
        guard index > hostStart else { throw .malformed("an address without a host") }
        return (ByteRange(start: hostStart, count: index - hostStart), index)
    }

    private static func isSchemeByte(_ byte: UInt8, isFirst: Bool) -> Bool {
        let letter = byte | 0x20
        if letter >= 97, letter <= 122 { return true }
        if isFirst { return false }
        return ByteKind.of(byte).contains(.digit) || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-")
            || byte == UInt8(ascii: ".")
    }

    private static func version(_ bytes: Span<UInt8>, from start: Int, to end: Int) throws(HeadRefusal) -> HTTPVersion {
        let prefix: StaticString = "http/"
        var last = end
        while last > start, bytes[last - 1] == 0x20 { last -= 1 }
        guard last - start >= 8, bytes.extracting(start..<start + 5).equals(ignoringCase: prefix),
            bytes[start] == UInt8(ascii: "H"), bytes[start + 3] == UInt8(ascii: "P")
        else { throw .malformed("no version") }
        var index = start + 5
        let major = try Self.number(bytes, &index, to: last)
        guard index < last, bytes[index] == UInt8(ascii: ".") else { throw .malformed("no version") }
        index += 1
        let minor = try Self.number(bytes, &index, to: last)
        guard index == last else { throw .malformed("something behind the version") }
        guard major >= 1 else { throw .malformed("a version below 1") }
        guard major == 1 else { throw .unsupportedVersion }
        return minor == 0 ? .http10 : .http11
    }

    private static func number(_ bytes: Span<UInt8>, _ index: inout Int, to end: Int) throws(HeadRefusal) -> Int {
        let first = index
        var number = 0
        while index < end, ByteKind.of(bytes[index]).contains(.digit) {
            guard index - first < 3 else { throw .malformed("a version of too many digits") }
            number = number * 10 + Int(bytes[index] - 48)
            index += 1
        }
        guard index > first else { throw .malformed("no version") }
        return number
    }
}

extension Method {
    package init(_ name: Span<UInt8>) {
        if name.count == 3, name[0] == UInt8(ascii: "G"), name[1] == UInt8(ascii: "E"), name[2] == UInt8(ascii: "T") {
            self = .get
            return
        }
        let names: [(StaticString, Method)]
        switch name.count {
        case 3: names = [("get", .get), ("put", .put)]
        case 4: names = [("post", .post), ("head", .head), ("copy", .copy), ("move", .move), ("lock", .lock)]
        case 5: names = [("patch", .patch), ("mkcol", .mkcol), ("trace", .trace)]
        case 6: names = [("delete", .delete), ("unlock", .unlock)]
        case 7: names = [("options", .options), ("connect", .connect)]
        case 8: names = [("propfind", .propfind)]
        case 9: names = [("proppatch", .proppatch)]
        default: names = []
        }
        for (candidate, method) in names where name.equals(ignoringCase: candidate) {
            // A method is case-sensitive: `get` is another one.
            for index in 0..<name.count where name[index] >= 97 {
                self = .other
                return
            }
            self = method
            return
        }
        self = .other
    }
}
