/// What the bytes of a field's name make of it; the worst one counts.
enum FieldNameKind: UInt8, Sendable, Hashable {
    /// Letters, digits and `-`.
    case plain
    /// Also `_`, which CGI and its heirs cannot tell from `-`.
    case underscored
    /// Also what nginx calls invalid: the rest of what RFC 9110 allows, and what it does not.
    case odd
    /// Holds what no name can hold, without anybody taking it for something else.
    case forbidden

    /// Of a byte that is not ``ByteKind/plainName``, in HTTP/1.
    @inline(__always)
    init(unusual byte: UInt8) {
        if byte == UInt8(ascii: "_") {
            self = .underscored
        } else {
            self = byte <= 0x20 || byte == 0x7F ? .forbidden : .odd
        }
    }

    /// Of a whole name in HTTP/2, which also holds no capital letter and no colon (RFC 9113, section 8.2.1).
    init(http2 name: Span<UInt8>, isPseudo: Bool) {
        self = .plain
        var index = isPseudo ? 1 : 0
        if name.count <= index { self = .forbidden }
        while index < name.count {
            let byte = name[index]
            index &+= 1
            if byte &- 0x41 < 26 || byte == UInt8(ascii: ":") {
                self = .forbidden
            } else if !ByteKind.of(byte).contains(.plainName) {
                self.worsen(FieldNameKind(unusual: byte))
            }
        }
    }

    @inline(__always)
    mutating func worsen(_ other: FieldNameKind) {
        if other.rawValue > self.rawValue { self = other }
    }
}

/// Which fields are passed on, by their names: nginx's `underscores_in_headers` and `ignore_invalid_headers`. The same
/// in every version of HTTP.
package struct FieldNameRule: Sendable, Hashable {
    package var allowsUnderscores = false
    package var ignoresInvalid = true

    package init() {}

    /// Of upstreams everything is passed on that has a name.
    static let answers: FieldNameRule = {
        var rule = FieldNameRule()
        rule.allowsUnderscores = true
        rule.ignoresInvalid = false
        return rule
    }()

    @inline(__always)
    func drops(_ name: FieldNameKind) -> Bool {
        guard self.ignoresInvalid else { return false }
        switch name {
        case .plain: return false
        case .underscored: return !self.allowsUnderscores
        case .odd, .forbidden: return true
        }
    }
}

extension FieldNameRule {
    init(_ settings: ConnectionSettings) {
        self.init()
        self.allowsUnderscores = settings.allowsUnderscores
        self.ignoresInvalid = settings.ignoresInvalidHeaders
    }
}
