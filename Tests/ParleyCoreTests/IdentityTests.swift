import ParleyCore
import ParleyTestKit
import Testing

@Suite struct UUIDv7Tests {
    private let clock = ManualClock()

    private func generator(seed: UInt64 = 1) -> UUIDv7Generator {
        UUIDv7Generator(time: self.clock, random: SeededRandomSource(seed: seed))
    }

    @Test func `it has the form of RFC 9562, version 7`() throws {
        let id = self.generator().next()
        let text = id.description
        #expect(text.wholeMatch(of: /[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/) != nil)
        let milliseconds = UInt64(text.prefix(13).filter { $0 != "-" }, radix: 16)
        #expect(milliseconds == UInt64(self.clock.wallTime.milliseconds))
    }

    @Test func `more than a millisecond can count still rise`() {
        let generator = self.generator()
        let ids = (0..<20_000).map { _ in generator.next().description }
        #expect(ids == ids.sorted() && Set(ids).count == ids.count)
    }

    @Test func `they rise when the calendar jumps back`() {
        let generator = self.generator()
        var ids: [String] = []
        for step in 0..<5_000 {
            ids.append(generator.next().description)
            if step % 7 == 0 { self.clock.jumpWall(by: .milliseconds(-50)) }
            if step % 3 == 0 { self.clock.advance(by: .milliseconds(1)) }
        }
        #expect(ids == ids.sorted() && Set(ids).count == ids.count)
    }

    @Test func `a calendar before 1970 does no harm`() {
        self.clock.jumpWall(by: .seconds(-100_000_000_000))
        #expect(self.generator().next().description.hasPrefix("00000000-0000-7"))
    }

    @Test func `many tasks make different ones`() async {
        let generator = UUIDv7Generator()
        let ids = await withTaskGroup(of: [UUIDv7].self) { group in
            for _ in 0..<8 { group.addTask { (0..<2_000).map { _ in generator.next() } } }
            return await group.reduce(into: Set<UUIDv7>()) { $0.formUnion($1) }
        }
        #expect(ids.count == 16_000)
    }
}

@Suite struct NameTests {
    @Test(arguments: ["a", "A1", "user-service", "a.b_c-d", "0", String(repeating: "x", count: 63)])
    func `names`(text: String) { #expect(ServiceName(text)?.description == text) }

    @Test(arguments: [
        "", "-a", "a-", ".a", "a.", "_a", "a_", "a b", "a/b", "ä", "a\n", "a\u{0}b", "a:b",
        String(repeating: "x", count: 64),
    ])
    func `no names`(text: String) { #expect(ServiceName(text) == nil) }

    @Test(arguments: [
        ("localhost:80", "localhost", 80), ("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:8080", "::1", 8_080),
        ("a.b-c:65535", "a.b-c", 65_535),
    ])
    func `endpoints`(text: String, host: String, port: Int) {
        let endpoint = Endpoint(text)
        #expect(endpoint == Endpoint(host: host, port: port))
        #expect(endpoint?.description == text)
    }

    @Test(arguments: [
        "", ":", "a", "a:", ":80", "a:65536", "a:-1", "a:+80", "a:-0", "a:8o", "::1:80", "[]:80", "[::1]", "[::1:80",
        "::1]:80", "a:80:90", "a: 80", "a:99999999999999999999",
    ])
    func `no endpoints`(text: String) { #expect(Endpoint(text) == nil) }
}

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
