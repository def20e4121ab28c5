import Foundation
import ParleyCore
import Testing

@Suite struct TimestampTests {
    @Test(arguments: [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-23T09:15:00.25+01:00", 1_795_421_700_250_000),
        ("2026-11-23t09:15:00z", 1_795_425_300_000_000),
        ("2026-11-23 09:15:00Z", 1_795_425_300_000_000),
        ("2026-11-23T09:15:00.123456789Z", 1_795_425_300_123_456),
        ("2026-11-23T09:15:00.1Z", 1_795_425_300_100_000),
        ("2024-02-29T23:59:59Z", 1_709_251_199_000_000),
        ("2000-02-29T00:00:00Z", 951_782_400_000_000),
        ("1969-12-31T23:59:59.999Z", -1_000),
        ("2026-01-01T00:00:00-23:59", 1_767_311_940_000_000),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
    ])
    func `well-formed times are read`(text: String, microseconds: Int64) {
        #expect(Timestamp(text) == Timestamp(microseconds: microseconds))
    }

    @Test(arguments: [
        "", "Z", "2026", "2026-11-23", "2026-11-23T09:15Z", "2026-11-23T09:15:00", "2026-11-23T09:15:00.Z",
        "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z",
        "2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z", "2026-04-31T00:00:00Z", "1900-02-29T00:00:00Z",
        "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:61Z", "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+01:60", "2026-01-01T00:00:00+0100", "2026-01-01T00:00:00+1:00", "26-01-01T00:00:00Z",
        "02026-01-01T00:00:00Z", "2026-1-01T00:00:00Z", " 2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z ",
        "2026-01-01T00:00:00ZZ", "2026-01-01T00:00:00.1.1Z", "-2026-01-01T00:00:00Z", "2026-01-01T+1:00:00Z",
        "２026-01-01T00:00:00Z", "2026-01-01T00:00:00\u{0}Z", "2026-01-01T00:00:00,5Z",
    ])
    func `malformed times are refused`(text: String) {
        #expect(Timestamp(text) == nil)
    }

    @Test func `it agrees with Foundation on random dates`() {
        let random = SeededRandomSource(seed: 42)
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        for _ in 0..<20_000 {
            // Years 1 to 9999, whole milliseconds: what both can say.
            let span: UInt64 = 62_135_596_800_000 + 253_402_300_799_000
            let milliseconds = Int64(random.next() % span) - 62_135_596_800_000
            let timestamp = Timestamp(microseconds: milliseconds * 1_000)
            // Foundation's calendar is Julian before 1582; ours is RFC 3339's, Gregorian throughout.
            if milliseconds > -12_219_292_800_000 {
                let theirs = formatter.string(from: Date(timeIntervalSince1970: Double(milliseconds) / 1_000))
                #expect(timestamp.description == theirs, "\(milliseconds)")
            }
            #expect(Timestamp(timestamp.description) == timestamp)
        }
    }

    @Test func `every day of four centuries comes back`() {
        for day in 0..<146_097 {
            let timestamp = Timestamp(microseconds: (Int64(day) - 100_000) * 86_400_000_000)
            #expect(Timestamp(timestamp.description) == timestamp)
        }
    }

    @Test func `offsets are subtracted`() {
        let random = SeededRandomSource(seed: 7)
        for _ in 0..<1_000 {
            let minutes = Int64(random.next() % 1_440)
            let (hours, rest) = (minutes / 60, minutes % 60)
            let offset = (hours < 10 ? "0" : "") + "\(hours):" + (rest < 10 ? "0" : "") + "\(rest)"
            let east = Timestamp("2026-05-05T12:00:00+\(offset)")
            let west = Timestamp("2026-05-05T12:00:00-\(offset)")
            let noon = Timestamp("2026-05-05T12:00:00Z") ?? Timestamp(microseconds: 0)
            #expect(east == noon + .seconds(-60 * minutes) && west == noon + .seconds(60 * minutes))
        }
    }

    @Test func `random bytes never trap`() {
        let random = SeededRandomSource(seed: 9)
        let alphabet = Array("0123456789-:.TZtz+ \u{00e9}")
        for _ in 0..<20_000 {
            let length = Int(random.next() % 30)
            let text = String((0..<length).map { _ in alphabet[Int(random.next() % UInt64(alphabet.count))] })
            if let read = Timestamp(text) { #expect(Timestamp(read.description) != nil) }
        }
    }

    @Test func `arithmetic at the ends of the range saturates`() {
        let last = Timestamp(microseconds: .max)
        let first = Timestamp(microseconds: .min)
        #expect(Timestamp(microseconds: 5) + .seconds(Int64.max) == last)
        #expect(last + .seconds(1) == last && first + .seconds(-1) == first)
        #expect(last - first == .microseconds(Int64.max))
        #expect(first - last == .microseconds(Int64.min))
        #expect(!last.description.isEmpty && !first.description.isEmpty)
    }

    @Test func `it is coded as text`() throws {
        let timestamp = Timestamp(microseconds: 1_767_225_600_250_000)
        let json = try JSONEncoder().encode([timestamp])
        #expect(String(decoding: json, as: UTF8.self) == #"["2026-01-01T00:00:00.250Z"]"#)
        #expect(try JSONDecoder().decode([Timestamp].self, from: json) == [timestamp])
        #expect(throws: DecodingError.self) { try JSONDecoder().decode([Timestamp].self, from: Data(#"["x"]"#.utf8)) }
    }
}
