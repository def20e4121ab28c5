import ParleyCore
import ParleyMessaging
import Testing

@Suite struct TopicPatternTests {
    @Test(arguments: [
        ("order.*", "order.created", true), ("order.*", "order", false), ("order.*", "order.item.added", false),
        ("order.#", "order", true), ("order.#", "order.created", true), ("order.#", "order.item.added", true),
        ("order.#", "orders", false), ("#", "anything.at.all", true), ("#", "x", true), ("*", "x", true),
        ("*", "x.y", false), ("#.created", "created", true), ("#.created", "a.b.created", true),
        ("a.#.z", "a.z", true), ("a.#.z", "a.b.c.z", true), ("a.#.z", "a.b.c", false), ("*.*.c", "a.b.c", true),
        ("#.#", "a", true), ("#.*", "a", true), ("#.*.#", "a.b", true), ("order.created", "order.created", true),
    ])
    func `takes what AMQP's topic exchange takes`(pattern: String, topic: String, isTaken: Bool) throws {
        #expect(try TopicPattern(pattern).matches(topic) == isTaken)
    }

    /// The definition, written down as such: exponential, and obviously right.
    private static func model(_ pattern: ArraySlice<Substring>, _ topic: ArraySlice<Substring>) -> Bool {
        guard let first = pattern.first else { return topic.isEmpty }
        if first == "#" {
            return self.model(pattern.dropFirst(), topic) || (!topic.isEmpty && self.model(pattern, topic.dropFirst()))
        }
        guard let word = topic.first else { return false }
        return (first == "*" || first == word) && self.model(pattern.dropFirst(), topic.dropFirst())
    }

    @Test func `agrees with the definition on random patterns`() throws {
        let random = SeededRandomSource(seed: 2_026)
        func words(_ alphabet: [String]) -> String {
            let count = 1 + random.next() % 6
            return (0..<count).map { _ in alphabet[Int(random.next() % UInt64(alphabet.count))] }.joined(separator: ".")
        }
        var taken = 0
        for _ in 0..<20_000 {
            let pattern = words(["a", "b", "*", "#"])
            let topic = words(["a", "b"])
            let expected = Self.model(pattern.split(separator: ".")[...], topic.split(separator: ".")[...])
            #expect(try TopicPattern(pattern).matches(topic) == expected, "\(pattern) \(topic)")
            taken += expected ? 1 : 0
        }
        #expect((4_000...16_000).contains(taken), "both answers are tried often")
    }

    @Test(.timeLimit(.minutes(1))) func `a hostile pattern costs little`() throws {
        let pattern = try TopicPattern(Array(repeating: "#.a", count: 60).joined(separator: ".") + ".b")
        #expect(!pattern.matches(Array(repeating: "a", count: 120).joined(separator: ".")))
    }

    @Test(arguments: ["", ".", "a.", ".a", "a..b", String(repeating: "x", count: 256)])
    func `a malformed pattern is refused`(text: String) {
        #expect(throws: MessagingError.self) { try TopicPattern(text) }
    }

    @Test(arguments: ["", ".", "a..b", "a.*", "#", String(repeating: "x", count: 256)])
    func `a malformed topic is refused`(text: String) {
        #expect(throws: MessagingError.self) { try TopicPattern.validate(topic: text) }
    }
}
