import ParleyEventStore
import Testing

@Suite struct StreamNameTests {
    @Test func aNameIsVisibleASCII() {
        #expect(StreamName("order-123")?.description == "order-123")
        #expect(StreamName("") == nil)
        #expect(StreamName("a b") == nil)
        #expect(StreamName(String(repeating: "a", count: 256)) == nil)
    }
}
