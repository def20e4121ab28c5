import HTTPTestSupport
import ParleyCore
import ParleyDiscovery
import Testing

@testable import ParleyRegistry

@Suite(.timeLimit(.minutes(1))) struct FilterTests {
    private let entry = #"""
        {"Node": {"Node": "n1", "Meta": null}, "Service": {"ID": "w1", "Service": "web", "Tags": ["v1", "Primary"],
         "Meta": {"ver": "1", "a b": "x"}, "Weights": {"Passing": 10}, "EnableTagOverride": true, "Address": ""},
         "Checks": [{"Status": "passing", "Name": "serf"}, {"Status": "critical", "Name": "http"}]}
        """#

    @Test(arguments: [
        ("Service.ID == w1", true), (#"Service.ID == "w1""#, true), ("Service.ID != w1", false),
        (#""v1" in Service.Tags"#, true), ("v2 in Service.Tags", false), ("v2 not in Service.Tags", true),
        (#"Service.Tags contains "Primary""#, true), (#"Service.Tags not contains "Primary""#, false),
        ("Service.Meta.ver == 1", true), (#"Service.Meta["a b"] == x"#, true), ("Service.Meta.none == 1", false),
        ("ver in Service.Meta", true), ("Service.Meta is empty", false), ("Node.Meta is empty", true),
        ("Service.Tags is not empty", true), ("Service.Address is empty", true),
        ("Checks.Status == critical", true), ("Checks.Status == warning", false),
        ("Service.Weights.Passing == 10", true), ("Service.EnableTagOverride == true", true),
        ("Service.Port == 0", true),
        (#"Service.ID matches "^w[0-9]$""#, true), ("Service.Service matches `^(web|db)$`", true),
        (#"Service.Service not matches "e""#, false), (#"Service.Service contains "eb""#, true),
        ("Service.ID == w1 and Service.Meta.ver == 2", false), ("Service.ID == w2 or Service.Meta.ver == 1", true),
        ("not Service.ID == w2", true), ("not (Service.ID == w1 or Service.ID == w2)", false),
        // "and" binds more closely.
        ("Service.ID == w1 or Service.ID == w2 and Service.ID == w3", true),
        (#""v1" in Service.Tags and Service.Meta.ver==1"#, true),
    ])
    func finds(_ filter: String, _ isFound: Bool) throws {
        let value = try JSONReader.read(Array(self.entry.utf8))
        #expect(try BooleanExpression(filter).matches(value) == isFound)
    }

    @Test(arguments: [
        "bogus", "", "==", "a ==", "a == b and", "(a == b", "a == b)", "a is b", "a in", "\"a\" == b", "a = b", "a ! b",
        "a[b == c", "a == \"b", "not", "a matches \"[\"", "a matches \"(\"", "a matches \"*\"", "a matches \"a{9999}\"",
        "#",
    ])
    func refuses(_ filter: String) {
        #expect(throws: BooleanExpression.Fault.self) { try BooleanExpression(filter) }
    }

    @Test func depthAndLengthAreBounded() {
        let deep = String(repeating: "(", count: 100_000) + "a == b"
        #expect(throws: BooleanExpression.Fault.self) { try BooleanExpression(deep) }
        let nots = String(repeating: "not ", count: 100_000) + "a == b"
        #expect(throws: BooleanExpression.Fault.self) { try BooleanExpression(nots) }
        let long = Array(repeating: "a == b", count: 100_000).joined(separator: " or ")
        #expect(throws: BooleanExpression.Fault.self) { try BooleanExpression(long) }
        #expect(throws: Never.self) {
            try BooleanExpression(Array(repeating: "a == b", count: 50).joined(separator: " or "))
        }
    }

    /// Whatever is sent ends in an expression or an error.
    @Test func garbageDoesNoHarm() throws {
        let random = SeededRandomSource(seed: 11)
        let words = [
            "Service", ".", "==", "!=", "in", "not", "contains", "is", "empty", "matches", "and", "or", "(", ")", "[",
            "]",
            "\"", "`", "\\", " ", "w1", "\"x\"", "^", "*", "{2,3}", "ä", "\u{0}", "\n", "[a-", "|",
        ]
        let value = try JSONReader.read(Array(self.entry.utf8))
        var understood = 0
        for _ in 0..<30_000 {
            let count = Int(random.next() % 10)
            let separator = random.next() % 2 == 0 ? " " : ""
            let text = (0..<count).map { _ in words[Int(random.next() % UInt64(words.count))] }.joined(
                separator: separator
            )
            guard let expression = try? BooleanExpression(text) else { continue }
            understood += 1
            _ = expression.matches(value)
        }
        #expect(understood > 10)
    }

    @Test(arguments: [
        ("a.c", "xabcx", true), ("^abc$", "abc", true), ("^abc$", "xabc", false), ("a*b", "b", true),
        ("a+b", "b", false),
        ("a?b", "b", true), ("(ab)+$", "xabab", true), ("[^a-c]", "abc", false), ("[^a-c]", "abd", true),
        ("\\d{3}", "a12b345", true), ("\\d{4}", "a12b345", false), ("x{2,3}", "axxb", true), ("x{2,}", "axb", false),
        ("a|b|c", "c", true), ("(?:a|b)c", "bc", true), ("", "", true), ("^$", "", true), ("^$", "x", false),
        ("[]x]", "]", true), ("[a\\]]", "]", true), ("\\.", ".", true), ("\\.", "x", false), ("ä", "xäy", true),
        ("(a*)*b", "aaab", true), ("()", "x", true), ("[\\d_]", "_", true),
    ])
    func patternsMatch(_ pattern: String, _ text: String, _ isFound: Bool) throws {
        #expect(try LinearPattern(pattern).isFound(in: text) == isFound)
    }

    /// Where a machine that tries every way would not come back.
    @Test func aHostilePatternTakesNoTime() throws {
        let text = String(repeating: "a", count: 4_000) + "b"
        for pattern in ["(a*)*c", "(a|a)*c", "(a|aa)+$x", "a{0,100}a{0,100}a{100}c"] {
            #expect(try LinearPattern(pattern).isFound(in: text) == false)
        }
        #expect(throws: BooleanExpression.Fault.self) { try LinearPattern("((a{100}){100}){100}") }
    }

    @Test func isAppliedAfterPassing() async throws {
        try await withRegistry { running in
            try await running.put(
                "/v1/agent/service/register",
                #"{"ID": "w1", "Name": "web", "Check": {"TTL": "60s"}}"#
            )
            try await running.put("/v1/agent/service/register", #"{"ID": "w2", "Name": "web", "Meta": {"v": "2"}}"#)
            let path = "/v1/health/service/web?passing&filter="
            #expect(try await running.get(path + "Service.ID==w1").count == 0)
            #expect(try await running.get(path + "Service.Meta.v==2").count == 1)
            let services = try await running.get("/v1/agent/services?filter=ID==w1")
            #expect(services["w1"] != nil && services["w2"] == nil)
        }
    }
}
