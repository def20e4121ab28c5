#if canImport(Darwin)
internal import Darwin
#elseif canImport(Glibc)
internal import Glibc
#endif

/// A point in calendar time: microseconds since 1970-01-01T00:00:00Z, leap seconds ignored (as POSIX does).
public struct Timestamp: Sendable, Hashable, Comparable {
    public var microseconds: Int64

    public init(microseconds: Int64) {
        self.microseconds = microseconds
    }

    public var milliseconds: Int64 { self.microseconds / 1_000 }

    static func fromSystem() -> Timestamp {
        var reading = timespec()
        clock_gettime(CLOCK_REALTIME, &reading)
        return Timestamp(microseconds: Int64(reading.tv_sec) * 1_000_000 + Int64(reading.tv_nsec) / 1_000)
    }

    public static func < (lhs: Timestamp, rhs: Timestamp) -> Bool { lhs.microseconds < rhs.microseconds }

    /// Saturates at the ends of the range: "in a very long time" never becomes the past.
    public static func + (lhs: Timestamp, rhs: Duration) -> Timestamp {
        let wait = rhs.inMicroseconds
        let (sum, overflow) = lhs.microseconds.addingReportingOverflow(wait)
        return Timestamp(microseconds: overflow ? (wait < 0 ? .min : .max) : sum)
    }

    /// Saturates as well.
    public static func - (lhs: Timestamp, rhs: Timestamp) -> Duration {
        let (difference, overflow) = lhs.microseconds.subtractingReportingOverflow(rhs.microseconds)
        return .microseconds(overflow ? (lhs < rhs ? .min : .max) : difference)
    }
}

extension Timestamp: CustomStringConvertible {
    /// RFC 3339 in UTC with milliseconds: `2026-11-23T09:15:00.250Z`.
    public var description: String {
        let (days, microsecondsOfDay) = Self.floorDivide(self.microseconds, 86_400_000_000)
        let (year, month, day) = Self.civilDate(daysSinceEpoch: days)
        let milliseconds = microsecondsOfDay / 1_000
        let date = "\(Self.pad(year, 4))-\(Self.pad(month, 2))-\(Self.pad(day, 2))"
        let time = [milliseconds / 3_600_000, milliseconds / 60_000 % 60, milliseconds / 1_000 % 60]
            .map { Self.pad($0, 2) }.joined(separator: ":")
        return "\(date)T\(time).\(Self.pad(milliseconds % 1_000, 3))Z"
    }

    /// The same with microseconds where there are any: what is written is read back as it was.
    package var preciseDescription: String {
        let (_, rest) = Self.floorDivide(self.microseconds, 1_000)
        return rest == 0 ? self.description : self.description.dropLast() + Self.pad(rest, 3) + "Z"
    }

    /// Reads RFC 3339 (`2026-11-23T09:15:00.25+01:00`); `nil` when `text` is not of that form.
    public init?(_ text: some StringProtocol) {
        guard let value = RFC3339Reader.read(Array(text.utf8)) else { return nil }
        self = value
    }

    // Days to civil date: the proleptic Gregorian calendar in eras of 400 years (146,097 days).
    static func civilDate(daysSinceEpoch: Int64) -> (year: Int64, month: Int64, day: Int64) {
        let (era, dayOfEra) = floorDivide(daysSinceEpoch + 719_468, 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
        let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    static func daysSinceEpoch(year: Int64, month: Int64, day: Int64) -> Int64 {
        let shiftedYear = month <= 2 ? year - 1 : year
        let (era, yearOfEra) = floorDivide(shiftedYear, 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return era * 146_097 + dayOfEra - 719_468
    }

    private static func floorDivide(_ value: Int64, _ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    private static func pad(_ value: Int64, _ width: Int) -> String {
        let digits = String(value)
        return String(repeating: "0", count: max(0, width - digits.count)) + digits
    }
}

extension Timestamp: Codable {
    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        let text = try container.decode(String.self)
        guard let value = Timestamp(text) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not an RFC 3339 time: \(text)")
        }
        self = value
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(self.description)
    }
}

/// A cursor over the bytes of one RFC 3339 time; peers write them, so every index is checked.
private struct RFC3339Reader {
    var bytes: ArraySlice<UInt8>

    static func read(_ bytes: [UInt8]) -> Timestamp? {
        var reader = RFC3339Reader(bytes: bytes[...])
        guard let year = reader.number(4), reader.take(one: "-"), let month = reader.number(2), reader.take(one: "-"),
            let day = reader.number(2), reader.take(one: "Tt "), let hour = reader.number(2), reader.take(one: ":"),
            let minute = reader.number(2), reader.take(one: ":"), let second = reader.number(2),
            (1...12).contains(month), (1...31).contains(day), hour < 24, minute < 60, second < 61,
            let fraction = reader.fraction(), let offset = reader.offset(), reader.bytes.isEmpty
        else { return nil }
        let days = Timestamp.daysSinceEpoch(year: year, month: month, day: day)
        // The 30th of February is no day, and not the 2nd of March.
        guard Timestamp.civilDate(daysSinceEpoch: days).day == day else { return nil }
        let seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second
        return Timestamp(microseconds: seconds * 1_000_000 + fraction)
    }

    mutating func take(one choices: String) -> Bool {
        guard let first = self.bytes.first, choices.utf8.contains(first) else { return false }
        self.bytes = self.bytes.dropFirst()
        return true
    }

    mutating func number(_ digits: Int) -> Int64? {
        guard self.bytes.count >= digits else { return nil }
        var value: Int64 = 0
        for byte in self.bytes.prefix(digits) {
            guard byte >= 48, byte <= 57 else { return nil }
            value = value * 10 + Int64(byte - 48)
        }
        self.bytes = self.bytes.dropFirst(digits)
        return value
    }

    /// Microseconds; digits beyond the sixth are cut.
    mutating func fraction() -> Int64? {
        guard self.take(one: ".") else { return 0 }
        let digits = self.bytes.prefix { $0 >= 48 && $0 <= 57 }
        guard !digits.isEmpty else { return nil }
        self.bytes = self.bytes.dropFirst(digits.count)
        let padded = Array(digits.prefix(6)) + Array(repeating: 48, count: max(0, 6 - digits.count))
        return padded.reduce(0) { $0 * 10 + Int64($1 - 48) }
    }

    /// Minutes east of UTC.
    mutating func offset() -> Int64? {
        if self.take(one: "Zz") { return 0 }
        let sign: Int64 = self.take(one: "+") ? 1 : -1
        if sign < 0, !self.take(one: "-") { return nil }
        guard let hours = self.number(2), self.take(one: ":"), let minutes = self.number(2), hours < 24, minutes < 60
        else { return nil }
        return sign * (hours * 60 + minutes)
    }
}

extension Duration {
    /// Whole microseconds, saturating: a duration from a peer or a configuration file cannot overflow.
    package var inMicroseconds: Int64 {
        // Up to nine seconds: one division by a constant, in place of a call that divides 128 bits.
        if let short = Int64(exactly: self.attoseconds) { return short / 1_000_000_000_000 }
        let (seconds, attoseconds) = self.components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        if overflow { return seconds < 0 ? .min : .max }
        let (sum, sumOverflow) = product.addingReportingOverflow(attoseconds / 1_000_000_000_000)
        return sumOverflow ? (seconds < 0 ? .min : .max) : sum
    }

    /// Whole milliseconds, saturating.
    package var inMilliseconds: Int64 { self.inMicroseconds / 1_000 }

    package var inSeconds: Double { Double(self.inMicroseconds) / 1_000_000 }
}
