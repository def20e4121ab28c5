/// The date format of HTTP headers (RFC 9110, section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
package enum HTTPDate {
    private static let weekdays = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"]  // 1970-01-01 was a Thursday
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Whole seconds; what is smaller is cut.
    package static func text(_ timestamp: Timestamp) -> String {
        let seconds = max(0, timestamp.microseconds) / 1_000_000
        let (days, secondOfDay) = seconds.quotientAndRemainder(dividingBy: 86_400)
        let (year, month, day) = Timestamp.civilDate(daysSinceEpoch: days)
        let time = [secondOfDay / 3_600, secondOfDay / 60 % 60, secondOfDay % 60].map(Self.pad).joined(separator: ":")
        return "\(Self.weekdays[Int(days % 7)]), \(Self.pad(day)) \(Self.months[Int(month - 1)]) \(year) \(time) GMT"
    }

    /// Reads the one format that servers must send; the two obsolete ones are `nil`, and so is anything else.
    package static func parse(_ text: String) -> Timestamp? {
        let fields = text.split(separator: " ", omittingEmptySubsequences: false)
        guard fields.count == 6, fields[5] == "GMT", fields[0].hasSuffix(","),
            let day = Int64(fields[1]), (1...31).contains(day),
            let month = Self.months.firstIndex(of: String(fields[2])),
            let year = Int64(fields[3]), (1_970...9_999).contains(year)
        else { return nil }
        let time = fields[4].split(separator: ":", omittingEmptySubsequences: false).map { Int64($0) }
        guard time.count == 3, let hour = time[0], let minute = time[1], let second = time[2],
            (0..<24).contains(hour), (0..<60).contains(minute), (0...60).contains(second)
        else { return nil }
        let days = Timestamp.daysSinceEpoch(year: year, month: Int64(month + 1), day: day)
        return Timestamp(microseconds: (days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000_000)
    }

    private static func pad(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
