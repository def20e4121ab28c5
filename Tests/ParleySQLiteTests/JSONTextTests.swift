import ParleyCore
import Testing

@testable import ParleySQLite

@Suite struct JSONTextTests {
    @Test func dictionariesComeBack() {
        let dictionary = ["a": "1", "quote\"": "back\\slash", "ü🦜": "line\nbreak\u{1}", "": ""]
        #expect(JSONText.dictionary(JSONText.text(of: dictionary)) == dictionary)
        #expect(JSONText.dictionary(JSONText.text(of: [:] as [String: String])) == [:])
    }

    @Test func stringsComeBack() {
        #expect(JSONText.strings(JSONText.text(of: ["order.*", "#"])) == ["order.*", "#"])
        #expect(JSONText.strings("[]") == [])
    }

    @Test func escapesAreRead() {
        #expect(JSONText.parse(#" "\u00fc\ud83e\udd9c\n\t\/\b\f\r" "#) == .string("ü🦜\n\t/\u{8}\u{c}\r"))
        #expect(JSONText.parse(#"[null, {"a" : ["b"]}]"#) == .array([.null, .object([("a", .array([.string("b")]))])]))
    }

    @Test(
        arguments: [
            "", "{", "[", "\"", "\"\\", "\"\\u12", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"",
            "[1]", "true", "nul", "[\"a\"",
            "[\"a\",]", "{\"a\"}", "{\"a\":}", "{\"a\":\"b\",}", "\"a\" x", "\"\u{1}\"", "\"\\x\"",
        ]
    )
    func everythingElseIsNil(_ text: String) {
        #expect(JSONText.parse(text) == nil)
    }

    @Test func deepNestingIsRefused() {
        #expect(JSONText.parse(String(repeating: "[", count: 100_000)) == nil)
    }

    @Test func cutAndChangedTextsNeverTrap() {
        let text = Array(#"{"a":"b\u00fc\ud83e\udd9c","c":["d\n",null]}"#.utf8)
        let random = SeededRandomSource(seed: 7)
        for length in 0...text.count { _ = JSONText.parse(String(decoding: text.prefix(length), as: UTF8.self)) }
        for _ in 0..<20_000 {
            var changed = text
            changed[Int(random.next() % UInt64(text.count))] = UInt8(truncatingIfNeeded: random.next())
            _ = JSONText.parse(String(decoding: changed, as: UTF8.self))
        }
    }
}
