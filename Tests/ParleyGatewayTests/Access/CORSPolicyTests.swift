import ParleyCore
import Testing

@testable import ParleyGateway

@Suite struct CORSPolicyTests {
    private func head(_ method: ParleyGateway.Method, _ fields: [(String, String)]) -> RequestHead {
        RequestHead(block: block(fields), method: method)
    }

    private func text(_ fields: [CORSPolicy.Field]) -> [String] {
        fields.map { String(decoding: $0.name + Array(": ".utf8) + $0.value, as: UTF8.self) }
    }

    private var rules: CORSRules {
        var rules = CORSRules(origins: ["https://shop.example", "https://b.example"], methods: ["GET", "PUT"])
        rules.headers = ["Content-Type", "X-Trace"]
        rules.exposedHeaders = ["X-Total"]
        rules.allowsCredentials = true
        rules.maxAgeSeconds = 600
        return rules
    }

    @Test func preflight() throws {
        let policy = try CORSPolicy(self.rules)
        func preflight(_ origin: String, _ method: String, _ headers: String?) -> [String]? {
            var fields = [("Origin", origin), ("Access-Control-Request-Method", method)]
            if let headers { fields.append(("Access-Control-Request-Headers", headers)) }
            guard case .preflight(let answer) = policy.outcome(for: self.head(.options, fields)) else { return nil }
            return self.text(answer)
        }
        let all = [
            "Access-Control-Allow-Origin: https://shop.example", "Access-Control-Allow-Credentials: true",
            "Access-Control-Allow-Methods: GET, PUT", "Access-Control-Allow-Headers: Content-Type, X-Trace",
            "Access-Control-Max-Age: 600", "Vary: Origin",
        ]
        #expect(preflight("https://shop.example", "PUT", "content-type,x-TRACE") == all)
        #expect(preflight("https://shop.example", "PUT", nil) == all)
        #expect(preflight("https://shop.example", "PUT", "x-other") == ["Vary: Origin"])
        #expect(preflight("https://shop.example", "DELETE", nil) == ["Vary: Origin"])
        #expect(preflight("https://shop.example.evil", "PUT", nil) == ["Vary: Origin"])
        #expect(preflight("null", "PUT", nil) == ["Vary: Origin"])
    }

    @Test func answersGetTheFieldsOfTheirOrigin() throws {
        let policy = try CORSPolicy(self.rules)
        guard case .actual(let fields) = policy.outcome(for: self.head(.get, [("Origin", "https://b.example")])) else {
            Issue.record("not asked")
            return
        }
        var response = ResponseHead(
            block: block([("access-control-allow-ORIGIN", "*"), ("Content-Type", "a/b"), ("Vary", "Accept")])
        )
        CORSPolicy.apply(fields, to: &response)
        #expect(
            response.block.lines == [
                "Content-Type: a/b", "Vary: Accept", "Access-Control-Allow-Origin: https://b.example",
                "Access-Control-Allow-Credentials: true", "Access-Control-Expose-Headers: X-Total", "Vary: Origin",
            ]
        )
        // OPTIONS without the question is an ordinary request, and one without an origin only varies.
        guard case .actual = policy.outcome(for: self.head(.options, [("Origin", "https://b.example")])),
            case .actual(let none) = policy.outcome(for: self.head(.get, []))
        else {
            Issue.record("not asked")
            return
        }
        #expect(self.text(none) == ["Vary: Origin"])
    }

    @Test func everyOrigin() throws {
        let policy = try CORSPolicy(CORSRules(origins: ["*"], headers: ["*"]))
        guard case .actual(let fields) = policy.outcome(for: self.head(.get, [("Origin", "null")])),
            case .none = policy.outcome(for: self.head(.get, []))
        else {
            Issue.record("not asked")
            return
        }
        #expect(self.text(fields) == ["Access-Control-Allow-Origin: *"])
    }

    @Test func rulesThatCannotBeKept() {
        var rules = CORSRules(origins: ["*"])
        rules.allowsCredentials = true
        #expect(throws: CORSProblem.self) { try CORSPolicy(rules) }
        #expect(throws: CORSProblem.self) { try CORSPolicy(CORSRules(origins: ["https://a\r\nX: y"])) }
        #expect(throws: CORSProblem.self) { try CORSPolicy(CORSRules(origins: ["https://a"], methods: ["GET, PUT"])) }
    }
}
