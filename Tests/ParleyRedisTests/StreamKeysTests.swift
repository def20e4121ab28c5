import Testing

@testable import ParleyRedis

@Suite struct StreamKeysTests {
    @Test func everyKeyKeepsTheHashTag() {
        let keys = StreamKeys(stream: "{orders}")
        for key in [keys.deadLetters, keys.groups, keys.active("g"), keys.delayed("g")] {
            #expect(key.hasPrefix("{orders}"))
        }
    }
}
