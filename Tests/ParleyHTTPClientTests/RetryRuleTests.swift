internal import HTTPTypes
internal import ParleyCore
internal import Testing

@testable internal import ParleyHTTPClient

@Suite struct RetryRuleTests {
    private let now = SystemTimeSource().now
    private let random = SeededRandomSource(seed: 1)

    private func rules(
        _ method: HTTPRequest.Method = .get,
        key: String? = nil,
        attempts: Int = 3,
        budget: Int? = nil,
        within limit: Duration = .seconds(10)
    ) -> RetryRules {
        var rules = RetryRules(
            request: makeRequest(method, key: key),
            maxAttempts: attempts,
            budget: budget,
            backoff: Backoff(initial: .milliseconds(10), cap: .seconds(1), jitter: 0),
            deadline: Deadline(self.now.advanced(by: limit))
        )
        rules.begin()
        return rules
    }

    @Test(
        arguments: [
            (HTTPRequest.Method.get, nil, true), (.head, nil, true), (.options, nil, true), (.put, nil, true),
            (.delete, nil, true), (.post, nil, false), (.patch, nil, false), (.post, "key-1", true),
            (.patch, "key-1", true),
        ] as [(HTTPRequest.Method, String?, Bool)]
    )
    func whatMayHaveRunIsRepeatedOnlyIfThatIsHarmless(_ method: HTTPRequest.Method, _ key: String?, _ expected: Bool) {
        var rules = self.rules(method, key: key)
        let action = rules.failed(.mayHaveRun, at: self.now, random: self.random)
        #expect((action != .giveUp) == expected)
        #expect(rules.mayHaveRun)
    }

    @Test(arguments: [HTTPRequest.Method.get, .post])
    func whatWasNotSentIsRepeatedAlways(_ method: HTTPRequest.Method) {
        var rules = self.rules(method)
        #expect(rules.failed(.notSent, at: self.now, random: self.random) == .retry(after: .milliseconds(10)))
        rules.begin()
        #expect(rules.failed(.notSent, at: self.now, random: self.random) == .retry(after: .milliseconds(20)))
        rules.begin()
        #expect(rules.failed(.notSent, at: self.now, random: self.random) == .giveUp)
        #expect(!rules.mayHaveRun)
    }

    @Test func whatIsPermanentIsNeverRepeated() {
        var rules = self.rules()
        #expect(rules.failed(.permanent, at: self.now, random: self.random) == .giveUp)
    }

    @Test func theBudgetOfAllHopsIsSpentAndPassedOn() {
        var rules = self.rules(attempts: 10, budget: 1)
        #expect(rules.failed(.notSent, at: self.now, random: self.random) != .giveUp)
        #expect(rules.budget == 0)
        rules.begin()
        #expect(rules.failed(.notSent, at: self.now, random: self.random) == .giveUp)
    }

    @Test func aTryThatWouldBeginAfterTheDeadlineIsNotMade() {
        var rules = self.rules(within: .milliseconds(10))
        #expect(rules.failed(.notSent, at: self.now, random: self.random) == .giveUp)
    }

    @Test(arguments: [
        (HTTPRequest.Method.get, 503, true), (.get, 502, true), (.get, 504, true), (.get, 429, true),
        (.get, 500, false),
        (.get, 404, false), (.get, 200, false), (.post, 429, true), (.post, 503, false), (.post, 502, false),
    ])
    func statusesThatAreTriedAgain(_ method: HTTPRequest.Method, _ status: Int, _ expected: Bool) {
        var rules = self.rules(method)
        let action = rules.answered(status, retryAfter: nil, at: self.now, random: self.random)
        #expect((action != .giveUp) == expected)
    }

    @Test func retryAfterIsObeyedUpToTheDeadline() {
        var rules = self.rules()
        let action = rules.answered(503, retryAfter: .seconds(2), at: self.now, random: self.random)
        #expect(action == .retry(after: .seconds(2)))
        var hasty = self.rules(within: .seconds(1))
        #expect(hasty.answered(503, retryAfter: .seconds(2), at: self.now, random: self.random) == .giveUp)
    }

    @Test(
        arguments: [
            ("3", .seconds(3)), ("0", .zero), ("-1", nil), ("soon", nil), ("99999999999", .seconds(86_400)),
            ("99999999999999999999", nil), ("Thu, 01 Jan 1970 00:01:40 GMT", .seconds(90)),
            ("Thu, 01 Jan 1970 00:00:01 GMT", .zero), ("Thu, 99 Jan 1970 00:00:01 GMT", nil), (nil, nil),
        ] as [(String?, Duration?)]
    )
    func readsRetryAfter(_ value: String?, _ expected: Duration?) {
        #expect(RetryRules.retryAfter(value, wallTime: Timestamp(microseconds: 10_000_000)) == expected)
    }
}

@Suite struct HTTPDateTests {
    @Test func writesAndReadsTheStandardsExample() {
        let time = Timestamp(microseconds: 784_111_777_000_000)
        #expect(HTTPDate.text(time) == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(HTTPDate.parse("Sun, 06 Nov 1994 08:49:37 GMT") == time)
    }
}
