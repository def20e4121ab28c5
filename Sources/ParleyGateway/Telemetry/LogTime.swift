internal import ParleyCore

/// `$time_iso8601` and `$time_local`, in UTC.
enum LogTime {
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// `2026-11-23T10:00:00+00:00`
    static func iso8601(_ time: Timestamp) -> String { "\(time.description.prefix(19))+00:00" }

    /// `23/Nov/2026:10:00:00 +0000`
    static func local(_ time: Timestamp) -> String {
        let text = time.description
        let parts = text.prefix(10).split(separator: "-")
        guard parts.count == 3, let month = Int(parts[1]), (1...12).contains(month) else { return text }
        return "\(parts[2])/\(Self.months[month - 1])/\(parts[0]):\(text.dropFirst(11).prefix(8)) +0000"
    }
}
