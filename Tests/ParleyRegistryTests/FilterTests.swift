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

    /// A closure of `#expect` cannot change what is around it.
    private func matches(_ expression: BooleanExpression, _ value: JSONValue) throws -> Bool {
        var work = FilterWork(left: RegistryLimits().maximumFilterSteps)
        return try expression.matches(value, &work)
    }

    private func isFound(_ pattern: String, in text: String, steps: Int = 50_000_000) throws -> Bool {
        var work = FilterWork(left: steps)
        return try LinearPattern(pattern).isFound(in: text, &work)
    }

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
        let expression = try BooleanExpression(filter)
        try expression.check(.healthEntry)
        #expect(try self.matches(expression, value) == isFound)
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
            _ = try self.matches(expression, value)
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
        #expect(try self.isFound(pattern, in: text) == isFound)
    }

    /// Where a machine that tries every way would not come back.
    @Test func aHostilePatternTakesNoTime() throws {
        let text = String(repeating: "a", count: 4_000) + "b"
        for pattern in ["(a*)*c", "(a|a)*c", "(a|aa)+$x", "a{0,100}a{0,100}a{100}c"] {
            #expect(try self.isFound(pattern, in: text) == false)
        }
        #expect(throws: BooleanExpression.Fault.self) { try LinearPattern("((a{100}){100}){100}") }
    }

    /// Each bound alone is kept, and the whole is too much all the same.
    @Test func allTogetherHasABound() throws {
        let text = String(repeating: "a", count: 4_000)
        #expect(throws: BooleanExpression.Fault.self) { try self.isFound("(a{0,100}){5}c", in: text, steps: 100_000) }
        #expect(try self.isFound("^a{100}c", in: text, steps: 100_000) == false)
        let entry = JSONValue.object([.init("ID", .string(text)), .init("Tags", .array([.string(text)]))])
        let list = JSONValue.array(Array(repeating: entry, count: 10))
        for filter in ["ID == x", "ID contains x", "Tags contains x", "x in Tags", "ID matches x", "not ID is empty"] {
            let expression = try BooleanExpression(filter)
            var (little, enough) = (FilterWork(left: 40_000), FilterWork(left: 1_000_000))
            #expect(throws: BooleanExpression.Fault.self) { try expression.filtered(list, &little) }
            #expect(throws: Never.self) { try expression.filtered(list, &enough) }
        }
    }

    @Test func aFilterThatTakesTooLongIsRefused() async throws {
        try await withRegistry({
            $0.limits.maximumFilterSteps = 10_000
            $0.limits.maximumTextBytes = 200
        }) { running in
            let body = #"{"Name": "web", "Meta": {"v": "\#(String(repeating: "a", count: 500))"}}"#
            try await running.put("/v1/agent/service/register", body)
            let path = "/v1/health/service/web?filter=Service.Meta.v+matches+"
            #expect(try await running.get(path + "%22%5Ea%22").count == 1)
            let slow = try await running.send("GET", path + "%22(a*)*a%7B100%7Dc%22")
            #expect(slow.status == 400)
            #expect(slow.text.contains("more steps"))
            let long = try await running.send("GET", path + String(repeating: "a", count: 200))
            #expect(long.status == 400)
            #expect(long.text.contains("longer than 200 bytes"))
        }
    }

    @Test(arguments: [
        ("/v1/health/service/web", "Service.Nmae == x"), ("/v1/health/service/web", "Service == x"),
        ("/v1/health/service/web", "Service.ID.x == y"), ("/v1/health/checks/web", "Service.ID == x"),
        ("/v1/health/node/refnode", "bogus is empty"), ("/v1/health/state/any", "Checks.Status == x"),
        ("/v1/catalog/service/web", "Service.ID == x"), ("/v1/catalog/nodes", "ServiceID == x"),
        ("/v1/catalog/node/refnode", "Node.ID == x"), ("/v1/catalog/node-services/refnode", "bogus == x"),
        ("/v1/agent/services", "Name == x"), ("/v1/agent/checks", "ID == x"),
    ])
    func whatNothingHasIsRefused(_ path: String, _ filter: String) async throws {
        try await withRegistry { running in
            // Before it waits.
            let query = filter.split(separator: " ").joined(separator: "+")
            let answer = try await running.send("GET", "\(path)?index=1000000&wait=10m&filter=\(query)")
            #expect(answer.status == 500)
            let selector = filter.split(separator: " ").first ?? ""
            #expect(answer.text.hasSuffix("Selector \"\(selector)\" is not valid"), "\(answer.text)")
        }
    }

    /// One thing is there or not; of a node the filter chooses the services.
    @Test func singleThingsKeepTheirFields() async throws {
        try await withRegistry { running in
            for id in ["w1", "w2"] {
                try await running.put("/v1/agent/service/register", #"{"ID": "\#(id)", "Name": "web"}"#)
            }
            let node = try await running.get("/v1/catalog/node/refnode?filter=ID==w1")
            #expect(node["Node"]?["Node"]?.string == "refnode")
            #expect(node["Services"]?["w1"] != nil && node["Services"]?["w2"] == nil)
            let list = try await running.get("/v1/catalog/node-services/refnode?filter=ID==w2")
            #expect(list["Node"]?["Node"]?.string == "refnode")
            #expect(list["Services"]?.count == 1)
            let one = try await running.get("/v1/agent/service/w1?filter=ID==w2")
            #expect(one["ID"]?.string == "w1")
        }
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
