import Testing

@testable import ParleyRabbitMQ

/// What is read from a broker's version and from the names of its queues.
@Suite struct NamesTests {
    @Test(arguments: [
        ("3.8.34", false, false), ("3.9.0", true, false), ("3.10.8", true, false), ("4.2.1", true, false),
        ("4.3.0-rc.1", true, true), ("10.0", true, true), ("", false, false), ("four", false, false),
    ])
    func aVersionSaysWhatTheBrokerCanDo(_ version: String, _ hasStreams: Bool, _ hasDelayedRetry: Bool) {
        let features = BrokerFeatures(version: version)
        #expect(features.hasStreams == hasStreams && features.hasDelayedRetry == hasDelayedRetry)
    }

    @Test(arguments: [
        ("mail", GroupQueues.Role.messages), ("mail.dead-letters", .deadLetters(of: "mail")),
        ("mail.retry.60000ms", .delay(of: "mail")), ("mail.attempts", .bookkeeping), ("parley.groups", .bookkeeping),
        ("post.dead-letters", .messages), ("post.retry.60000ms", .messages), ("mail.retry.ms", .messages),
        ("mail.retry.soonms", .messages), ("ms", .messages), (".dead-letters", .messages),
    ])
    func aQueueIsAGroupsOnlyBesideItsGroup(_ queue: String, _ role: GroupQueues.Role) {
        #expect(GroupQueues.role(of: queue) { $0 == "mail" } == role)
    }

    @Test func aWaitIsSpentInTheLongestDelayThatFits() {
        #expect(RetryLadder.rung(for: .milliseconds(4_999)) == nil)
        #expect(RetryLadder.rung(for: .seconds(5)) == 5_000)
        #expect(RetryLadder.rung(for: .seconds(59)) == 15_000)
        #expect(RetryLadder.rung(for: .seconds(1_000_000)) == 14_400_000)
    }
}
