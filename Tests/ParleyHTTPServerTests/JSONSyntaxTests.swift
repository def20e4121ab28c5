internal import Testing

@testable internal import ParleyHTTPServer

@Suite struct JSONSyntaxTests {
    @Test(arguments: [
        "{}", "[]", "null", " true ", "-0", "1e9", "0.5E-3", #""""#, #""a\"b\\c\/d\b\f\n\r\t""#,
        #""\u00e9\ud83d\ude00""#,
        #"{"a":[1,{"b":null}],"a":2}"#, "\"é😀\"",
    ])
    func takesJSON(_ text: String) throws { _ = try JSONSyntax.check(Array(text.utf8)) }

    @Test(arguments: [
        ("", 1, 1), (" ", 1, 2), ("{", 1, 2), ("[1,]", 1, 4), ("{\"a\":1,}", 1, 8), ("{a:1}", 1, 2), ("01", 1, 2),
        ("1.", 1, 3),
        ("-", 1, 2), ("+1", 1, 1), (".5", 1, 1), ("1e", 1, 3), ("tru", 1, 4), ("nul!", 1, 4), ("[1 2]", 1, 4),
        ("\"a", 1, 3),
        ("\"\n\"", 1, 2), (#""\x""#, 1, 3), (#""\u12g4""#, 1, 6), (#""\ud800""#, 1, 8), (#""\udc00""#, 1, 8),
        ("{}{}", 1, 3),
        ("'a'", 1, 1), ("{\n  \"a\": 1\n  \"b\": 2\n}", 3, 3), ("NaN", 1, 1), ("[1]\0", 1, 4),
    ])
    func saysWhereItIsNot(_ text: String, _ line: Int, _ column: Int) {
        let fault = #expect(throws: JSONSyntax.Fault.self) { try JSONSyntax.check(Array(text.utf8)) }
        #expect(fault?.line == line && fault?.column == column, "\(String(describing: fault))")
    }

    @Test func refusesBytesThatAreNotUTF8() {
        #expect(throws: JSONSyntax.Fault.self) { try JSONSyntax.check([0x22, 0xFF, 0x22]) }
    }

    @Test func nestingHasALimit() throws {
        func nested(_ depth: Int) -> [UInt8] {
            Array(
                (String(repeating: "[", count: depth)
                    + String(repeating: "]", count: depth)).utf8
            )
        }
        _ = try JSONSyntax.check(nested(JSONSyntax.maxDepth + 1))
        #expect(throws: JSONSyntax.Fault.self) { try JSONSyntax.check(nested(JSONSyntax.maxDepth + 2)) }
        #expect(throws: JSONSyntax.Fault.self) {
            try JSONSyntax.check(Array(repeating: UInt8(ascii: "["), count: 1_000_000))
        }
    }

    @Test func namesTheFirstNumberThatIsNotWhole() throws {
        let odd = try JSONSyntax.check(Array(#"{"a":[1,{"b":2.5}],"c":1e400}"#.utf8))
        #expect(odd == JSONSyntax.OddNumber(path: "a[1].b", text: "2.5"))
    }

    /// Whatever comes, it answers; and never with a trap.
    @Test func survivesEveryCutAndEveryByteChanged() {
        let text = Array(#"{"a":[1,-2.5e3,{"b\n":"é\ud83d\ude00"},true,false,null],"c":""}"#.utf8)
        for index in text.indices {
            _ = try? JSONSyntax.check(Array(text[..<index]))
            for byte in UInt8.min...UInt8.max {
                var changed = text
                changed[index] = byte
                _ = try? JSONSyntax.check(changed)
            }
        }
    }
}
