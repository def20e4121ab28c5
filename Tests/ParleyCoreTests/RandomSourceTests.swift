import ParleyCore
import Testing

@Suite struct RandomSourceTests {
    @Test func `the same seed gives the same numbers`() {
        let (one, other) = (SeededRandomSource(seed: 3), SeededRandomSource(seed: 3))
        #expect((0..<100).allSatisfy { _ in one.next() == other.next() })
        #expect(SeededRandomSource(seed: 3).next() != SeededRandomSource(seed: 4).next())
    }

    @Test func `the unit interval is never left`() {
        let random = SeededRandomSource(seed: 1)
        let values = (0..<10_000).map { _ in random.unitInterval() }
        #expect(values.allSatisfy { $0 >= 0 && $0 < 1 })
        let mean = values.reduce(0, +) / 10_000
        #expect(mean > 0.48 && mean < 0.52)
    }
}
