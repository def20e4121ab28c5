import NIOCore
import Testing

@testable import ParleyGateway

@Suite struct RequestURITests {
    @Test func parsesAsNginxDoes() throws {
        var count = 0
        for line in try Facts.lines("uri") {
            // target, path, args, and where slashes that are not merged make a difference: | path args
            let words = line.split(separator: " ").map(String.init)
            let target = Facts.bytes(words[0])
            #expect(Self.answer(target, mergesSlashes: true) == words[1...2].joined(separator: " "), "\(line)")
            let unmerged = words.count > 3 ? words[4...5] : words[1...2]
            #expect(Self.answer(target, mergesSlashes: false) == unmerged.joined(separator: " "), "\(line)")
            count += 1
        }
        #expect(count > 400)
    }

    private static func answer(_ target: [UInt8], mergesSlashes: Bool) -> String {
        guard let uri = try? RequestURI(target.span, mergesSlashes: mergesSlashes) else { return "400 -" }
        let buffer = ByteBuffer(bytes: target)
        let args = uri.args(of: buffer).readableBytesView
        return Facts.text(uri.path(of: buffer).readableBytesView) + " " + (args.isEmpty ? "-" : Facts.text(args))
    }

    @Test func aPlainPathIsARangeOfTheTarget() throws {
        let target = Array("/orders/42.json?full=1".utf8)
        let uri = try RequestURI(target.span)
        #expect(uri.isPlain)
        #expect(uri.pathRange == ByteRange(start: 0, count: 15))
        #expect(uri.args == ByteRange(start: 16, count: 6))
        #expect(!uri.hasEscapes)
        #expect(try RequestURI(Array("/a+b".utf8).span).hasPlus)
        #expect(try RequestURI(Array("/a%2Bb".utf8).span).hasPlus)
        #expect(try !RequestURI(Array("/a?b+c".utf8).span).hasPlus)
    }

    @Test func saysWhatIsWrong() {
        #expect(throws: RequestURI.Invalid(reason: .badEscape, offset: 2)) { try RequestURI(Array("/a%4".utf8).span) }
        #expect(throws: RequestURI.Invalid(reason: .encodedZero, offset: 1)) { try RequestURI(Array("/%00".utf8).span) }
        #expect(throws: RequestURI.Invalid(reason: .aboveRoot, offset: 3)) { try RequestURI(Array("/../a".utf8).span) }
        #expect(throws: RequestURI.Invalid(reason: .noLeadingSlash, offset: 0)) { try RequestURI(Array("*".utf8).span) }
        #expect(throws: RequestURI.Invalid(reason: .control, offset: 4)) { try RequestURI(Array("/a?b c".utf8).span) }
    }

    @Test func anEmptyPathIsTheRoot() throws {
        for text in ["", "?a=b"] {
            let uri = try RequestURI(Array(text.utf8).span)
            #expect(String(buffer: uri.path(of: ByteBuffer(string: text))) == "/")
            #expect(!uri.isRawUsable)
        }
    }

    @Test(arguments: 0..<8) func agreesWithAModel(_ seed: UInt64) {
        var numbers = SeededNumbers(seed)
        let tokens: [String] = [
            "/", "/", "/", ".", "..", "/../", "/./", "a", "bc", "%2e", "%2F", "%3f", "%23", "%25", "%41", "%00", "%",
            "%4",
            "?", "#", "+", "%2B", "\u{7}", " ", "é",
        ]
        for _ in 0..<4_000 {
            let words = (0..<Int.random(in: 0...10, using: &numbers)).map { _ in
                tokens.randomElement(using: &numbers) ?? ""
            }
            let target = Array(("/" + words.joined()).utf8)
            let buffer = ByteBuffer(bytes: target)
            let path = (try? RequestURI(target.span)).map { Array($0.path(of: buffer).readableBytesView) }
            #expect(path == Self.modelPath(of: target), "\(Facts.text(target))")
            // What was normalised once stays as it is.
            guard let path else { continue }
            var escaped = ByteBuffer()
            EscapeTable.uri.write(ByteBuffer(bytes: path).readableBytesView, into: &escaped)
            let again = try? RequestURI(escaped.readableBytesUInt8Span)
            #expect(again.map { Array($0.path(of: escaped).readableBytesView) } == path, "\(Facts.text(target))")
        }
    }

    @Test(arguments: 0..<4) func takesAnyBytes(_ seed: UInt64) {
        var numbers = SeededNumbers(seed)
        for _ in 0..<4_000 {
            let target = (0..<Int.random(in: 0...24, using: &numbers)).map { _ in
                Bool.random(using: &numbers)
                    ? UInt8.random(in: 0...255, using: &numbers) : UInt8.random(in: 0x23...0x2F, using: &numbers)
            }
            for merges in [true, false] {
                guard let uri = try? RequestURI(target.span, mergesSlashes: merges) else { continue }
                #expect(uri.path(of: ByteBuffer(bytes: target)).readableBytesView.first == 0x2F)
            }
        }
    }

    /// By segments instead of byte by byte; `nil` is an invalid target.
    private static func modelPath(of target: [UInt8]) -> [UInt8]? {
        guard target.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else { return nil }
        var segments: [[UInt8]] = [[]]
        var index = 0
        let path = Array(target.prefix { $0 != 0x3F && $0 != 0x23 })
        while index < path.count {
            var byte = path[index]
            index += 1
            if byte == 0x25 {
                guard index + 1 < path.count else { return nil }
                let digits = String(decoding: path[index...index + 1], as: UTF8.self)
                guard digits.allSatisfy(\.isHexDigit), let value = UInt8(digits, radix: 16), value != 0 else {
                    return nil
                }
                byte = value
                index += 2
            }
            if byte == 0x2F { segments.append([]) } else { segments[segments.count - 1].append(byte) }
        }
        var kept: [[UInt8]] = []
        for segment in segments {
            switch String(decoding: segment, as: UTF8.self) {
            case "", ".": continue
            case "..": if kept.popLast() == nil { return nil }
            default: kept.append(segment)
            }
        }
        let last = segments.last.map { String(decoding: $0, as: UTF8.self) } ?? ""
        let isFolder = ["", ".", ".."].contains(last) && !kept.isEmpty
        return [0x2F] + kept.joined(separator: [0x2F]) + (isFolder ? [0x2F] : [])
    }
}
