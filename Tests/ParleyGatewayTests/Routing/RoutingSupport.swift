import Foundation
import NIOCore
import ParleyCore

@testable import ParleyGateway

/// What the real nginx 1.22.1 answered to a configuration, line by line. Bytes that are not printable, and the backslash,
/// are written `\x20`; nothing is written `""`.
enum Facts {
    static func lines(_ name: String) throws -> [String] {
        let folder = URL(filePath: #filePath).deletingLastPathComponent()
        let text = try String(contentsOf: folder.appending(path: "Facts/\(name).txt"), encoding: .utf8)
        return text.split(separator: "\n").map(String.init)
    }

    static func bytes(_ text: some StringProtocol) -> [UInt8] {
        guard text != "\"\"" else { return [] }
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == 0x5C else {
                bytes.append(byte)
                continue
            }
            let digits = String(decoding: rest.dropFirst().prefix(2), as: UTF8.self)
            bytes.append(UInt8(digits, radix: 16) ?? 0)
            rest = rest.dropFirst(3)
        }
        return bytes
    }

    static func text(_ bytes: some Sequence<UInt8>) -> String {
        let text = bytes.map { byte in
            (0x21...0x7E).contains(byte) && byte != 0x5C
                ? String(UnicodeScalar(byte)) : "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
        }
        return text.isEmpty ? "\"\"" : text.joined()
    }
}

/// The same numbers for the same seed.
struct SeededNumbers: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}

/// The part of an exchange that rules see.
final class TestExchange: RewriteScope {
    var rewriteState: RewriteState
    let target: ByteBuffer
    let host: String
    let scratch = RegexScratch()
    var map: MapTable?

    init(_ target: [UInt8], host: String = "gw.example", map: MapTable? = nil) throws(RequestURI.Invalid) {
        self.target = ByteBuffer(bytes: target)
        self.rewriteState = RewriteState(try RequestURI(target.span), target: self.target)
        self.host = host
        self.map = map
    }

    func write(_ variable: Variable, into buffer: inout ByteBuffer) {
        if self.rewriteState.write(variable, into: &buffer) { return }
        switch variable {
        case .host: buffer.writeString(self.host)
        case .scheme: buffer.writeString("http")
        case .requestURI: buffer.writeImmutableBuffer(self.target)
        case .named("mapped"):
            guard let map = self.map else { return }
            let source = map.source.evaluated(in: self)
            let value = map.find(source, scratch: self.scratch, variables: &self.rewriteState.variables)
            value.write(into: &buffer, scope: self)
        default: break
        }
    }
}

/// Templates as nginx writes them, as far as the facts need it.
extension Template: ExpressibleByStringLiteral {
    package init(stringLiteral text: String) {
        var parts: [Part] = []
        var literal: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == 0x24 else {
                literal.append(byte)
                continue
            }
            if !literal.isEmpty { parts.append(.text(literal)) }
            literal = []
            if let digit = rest.first, (0x31...0x39).contains(digit) {
                rest = rest.dropFirst()
                parts.append(.variable(.capture(Int(digit) - 0x30)))
                continue
            }
            let name = rest.prefix {
                $0 == 0x5F || UnicodeScalar($0).properties.isAlphabetic || (0x30...0x39).contains($0)
            }
            rest = rest.dropFirst(name.count)
            parts.append(.variable(Self.variable(String(decoding: name, as: UTF8.self))))
        }
        if !literal.isEmpty { parts.append(.text(literal)) }
        self.init(parts: parts)
    }

    private static func variable(_ name: String) -> Variable {
        switch name {
        case "uri": .uri
        case "args": .args
        case "is_args": .isArgs
        case "host": .host
        case "scheme": .scheme
        case "request_uri": .requestURI
        case _ where name.hasPrefix("arg_"): .argument(String(name.dropFirst(4)))
        default: .named(name)
        }
    }
}

extension RegexModel: ExpressibleByStringLiteral {
    package init(stringLiteral pattern: String) { self.init(pattern: pattern) }
}
