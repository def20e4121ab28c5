import Testing

@testable import ParleyRedis

@Suite struct StreamKeysTests {
    @Test func everyKeyKeepsTheHashTag() {
        let keys = StreamKeys(stream: "{orders}")
        let all = [
            keys.deadLetters, keys.groups, keys.upkeep, keys.replicated, keys.active("g"), keys.parked("g"),
            keys.waits("g"),
            keys.published("1"),
        ]
        #expect(all.allSatisfy { $0.hasPrefix("{orders}") })
        #expect(Set(all).count == all.count)
    }
}
