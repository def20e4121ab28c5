import ParleyMessaging
import Testing

@Suite struct ConsumerGroupTests {
    @Test func `limits are reached and not passed`() throws {
        let name = String(repeating: "g", count: 128)
        let bindings = Array(repeating: "a", count: 100)
        _ = try ConsumerGroup(name, bindings: bindings, maximumDeliveries: 1, lease: .milliseconds(100))
        _ = try ConsumerGroup(name, bindings: ["#"], maximumDeliveries: 1_000, lease: .seconds(3_600))
        let refused: [() throws -> ConsumerGroup] = [
            { try ConsumerGroup("", bindings: ["#"]) },
            { try ConsumerGroup(name + "g", bindings: ["#"]) },
            { try ConsumerGroup("a b", bindings: ["#"]) },
            { try ConsumerGroup("g", bindings: []) },
            { try ConsumerGroup("g", bindings: bindings + ["a"]) },
            { try ConsumerGroup("g", bindings: ["#"], maximumDeliveries: 0) },
            { try ConsumerGroup("g", bindings: ["#"], maximumDeliveries: 1_001) },
            { try ConsumerGroup("g", bindings: ["#"], lease: .milliseconds(99)) },
            { try ConsumerGroup("g", bindings: ["#"], lease: .seconds(3_601)) },
        ]
        for make in refused {
            let error = #expect(throws: MessagingError.self) { try make() }
            #expect(error?.code == .invalidGroup)
        }
        let error = #expect(throws: MessagingError.self) { try ConsumerGroup("g", bindings: ["a..b"]) }
        #expect(error?.code == .invalidPattern)
    }

    @Test func `the longest pattern takes the longest topic`() throws {
        let longest = String(repeating: "a", count: 255)
        try TopicPattern.validate(topic: longest)
        #expect(try TopicPattern(longest).matches(longest))
        // A wildcard is a whole word; inside of a word it is a character.
        try TopicPattern.validate(topic: "a*.b#")
        #expect(try !TopicPattern("order.*x").matches("order.yx"))
    }
}
