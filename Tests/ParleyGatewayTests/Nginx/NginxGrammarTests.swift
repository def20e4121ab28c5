import ParleyCore
import Testing

@testable import ParleyGateway

@Suite struct NginxGrammarTests {
    private func words(_ text: String) throws -> [[String]] {
        var lexer = NginxLexer(bytes: Array(text.utf8), file: "f")
        var found: [[String]] = []
        while true {
            switch try lexer.next() {
            case .statement(let words): found.append(words.map(\.text))
            case .open(let words): found.append(words.map(\.text) + ["{"])
            case .close: found.append(["}"])
            case .end: return found
            }
        }
    }

    @Test func wordsAreCutAsNginxDoes() throws {
        #expect(try self.words("a b;c{d;}") == [["a", "b"], ["c", "{"], ["d"], ["}"]])
        #expect(try self.words("a 'b c' \"d;\\\"e\";") == [["a", "b c", "d;\"e"]])
        #expect(try self.words("a \\\"b \\t\\n\\r\\d;") == [["a", "\"b", "\t\n\r\\d"]])
        #expect(try self.words("a ${b}c{}") == [["a", "${b}c", "{"], ["}"]])
        #expect(try self.words("if ($a = \"b\"){}") == [["if", "($a", "=", "b", ")", "{"], ["}"]])
        #expect(try self.words("a # b;\n c#d;") == [["a", "c#d"]])
        #expect(try self.words("a\r\n\t'';") == [["a", ""]])
        #expect(try self.words("a b}c;") == [["a", "b}c"]])
        #expect(try self.words("# " + String(repeating: "x", count: 10_000)) == [])
    }

    @Test func placesAreThoseOfTheWords() throws {
        var lexer = NginxLexer(bytes: Array("ab c;\n  'd'\n\te {".utf8), file: "f")
        guard case .statement(let first) = try lexer.next(), case .open(let second) = try lexer.next() else {
            Issue.record("two statements were expected")
            return
        }
        #expect(first.map(\.place.description) == ["f:1:1", "f:1:4"])
        #expect(second.map(\.place.description) == ["f:2:3", "f:3:2"])
    }

    @Test func aWordHasALimit() {
        func first(_ count: Int, quote: String) -> NginxProblem? {
            let word = quote + String(repeating: "a", count: count) + quote
            return nginxProblems("server {\n  return 200 \(word);\n}").first
        }
        #expect(first(4_095, quote: "") == nil)
        #expect(first(4_096, quote: "")?.message == "too long parameter \"aaaaaaaaaa...\" started")
        #expect(first(4_095, quote: "'") == nil)
        #expect(first(4_096, quote: "'")?.message.contains("missing terminating \"'\"") == true)
        #expect(first(4_096, quote: "\"")?.place.line == 2)
    }

    @Test func sizes() {
        #expect(NginxValue.size(Array("8".utf8)) == 8)
        #expect(NginxValue.size(Array("8K".utf8)) == 8_192)
        #expect(NginxValue.size(Array("2m".utf8)) == 2_097_152)
        #expect(NginxValue.size(Array("2g".utf8)) == nil)
        #expect(NginxValue.size(Array("2g".utf8), allowsGiga: true) == 2_147_483_648)
        for text in ["", "k", "-1", "1kk", "1 k", "9223372036854775808", "9223372036854775807k"] {
            #expect(NginxValue.size(Array(text.utf8)) == nil, "\(text)")
        }
    }

    @Test func times() {
        func milliseconds(_ text: String) -> Int? { NginxValue.milliseconds(Array(text.utf8)) }
        func seconds(_ text: String) -> Int? { NginxValue.seconds(Array(text.utf8)) }
        #expect(milliseconds("30") == 30_000)
        #expect(milliseconds("500ms") == 500)
        #expect(milliseconds("1w2d3h4m5s6ms") == 788_645_006)
        #expect(milliseconds("1m 30") == 90_000)
        #expect(seconds("1y2M") == 36_720_000)
        for text in ["", "s", "1x", "1M", "1y", "1s1m", "1ms1s", "9223372036854775807", "5 5 5"] {
            #expect(milliseconds(text) == nil, "\(text)")
        }
        #expect(seconds("1ms") == nil)
    }

    /// Times that are put together from their units are read as what they were made from.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func timesAgainstAModel(seed: UInt64) {
        var random = NginxLots(seed: seed)
        let units: [(String, Int)] = [
            ("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1),
        ]
        for _ in 0..<1_000 {
            var text = ""
            var expected = 0
            for (name, value) in units where random.next(2) == 0 {
                let count = random.next(1_000)
                text += "\(count)\(name)"
                expected += count * value
            }
            #expect(NginxValue.milliseconds(Array(text.utf8)) == (text.isEmpty ? nil : expected), "\(text)")
        }
    }

    @Test func editDistance() {
        func distance(_ one: String, _ other: String) -> Int {
            NginxUnsupported.distance(Array(one.utf8), Array(other.utf8))
        }
        #expect(distance("", "abc") == 3)
        #expect(distance("kitten", "sitting") == 3)
        #expect(distance("a", "a") == 0)
    }

    @Test func capturesOfPatterns() {
        func names(_ pattern: String) -> [String] { NginxVariables.captures(of: Array(pattern.utf8)) }
        #expect(names("^(?<Name>.+)/(?P<b>x)(?'c'y)$") == ["name", "b", "c"])
        #expect(names("(?:a)(?=b)(?<!c)(?<=d)\\(?<no>") == [])
        #expect(names("(?<") == [])
    }
}

/// Numbers that follow from a seed.
struct NginxLots {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 1 }

    /// Below `bound`.
    mutating func next(_ bound: Int) -> Int {
        self.state ^= self.state << 13
        self.state ^= self.state >> 7
        self.state ^= self.state << 17
        return Int(self.state % UInt64(max(1, bound)))
    }
}
