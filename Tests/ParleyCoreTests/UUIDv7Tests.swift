import Foundation
import ParleyCore
import ParleyTestKit
import Testing

@Suite struct UUIDv7Tests {
    private let clock = ManualClock()

    private func generator() -> UUIDv7Generator {
        UUIDv7Generator(time: self.clock, random: SeededRandomSource(seed: 1))
    }

    @Test func `has the form of RFC 9562`() throws {
        let id = self.generator().next().description
        #expect(id.utf8.count == 36)
        let uuid = try #require(UUID(uuidString: id)).uuid
        #expect(uuid.6 >> 4 == 7, "the version")
        #expect(uuid.8 >> 6 == 0b10, "the variant")
        let bytes = [uuid.0, uuid.1, uuid.2, uuid.3, uuid.4, uuid.5]
        let milliseconds = bytes.reduce(Int64(0)) { $0 << 8 | Int64($1) }
        #expect(milliseconds == self.clock.wallTime.milliseconds)
    }

    @Test func `rises, also within a millisecond, over the counter's end, and when the calendar jumps back`() {
        let generator = self.generator()
        var last = generator.next().description
        for number in 0..<20_000 {
            if number == 10_000 { self.clock.jumpWall(by: .seconds(-3_600)) }
            if number % 6_000 == 0 { self.clock.advance(by: .milliseconds(1)) }
            let next = generator.next().description
            #expect(next > last)
            last = next
        }
    }

    @Test func `is unique over threads`() async {
        let generator = self.generator()
        let ids = await withTaskGroup(of: [UUIDv7].self) { group in
            for _ in 0..<8 { group.addTask { (0..<2_000).map { _ in generator.next() } } }
            return await group.reduce(into: [UUIDv7]()) { $0 += $1 }
        }
        #expect(Set(ids).count == 16_000)
    }

    @Test func `a calendar before 1970 does no harm`() {
        self.clock.jumpWall(by: .seconds(-100_000_000_000))
        #expect(self.generator().next().description.hasPrefix("00000000-0000-7"))
    }
}
