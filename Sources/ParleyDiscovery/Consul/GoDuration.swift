/// Durations as Consul writes and reads them: Go's `1h30m`, `10s`, `1.5s`, `250ms`.
package enum GoDuration {
    /// Why a text is no duration, in Go's own words.
    package struct Fault: Error, Equatable {
        package var message: String
    }

    /// Nanoseconds in each unit. `µ` has two code points.
    private static let units: [String: Double] = [
        "ns": 1, "us": 1e3, "µs": 1e3, "μs": 1e3, "ms": 1e6, "s": 1e9, "m": 6e10, "h": 3.6e12,
    ]

    /// What Go's `ParseDuration` makes of it: a sign, then numbers with a unit each; `0` alone needs none.
    package static func parse(_ text: String) throws(Fault) -> Duration {
        var rest = text[...]
        let isNegative = rest.first == "-"
        if rest.first == "-" || rest.first == "+" { rest = rest.dropFirst() }
        if rest == "0" { return .zero }
        guard !rest.isEmpty else { throw Self.invalid(text) }
        var total = 0.0
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
            // The longest Go could hold has 19 digits; more is not a duration, and Double would make it infinite.
            guard digits.count <= 32, let value = Double(digits), value.isFinite else { throw Self.invalid(text) }
            rest = rest.dropFirst(digits.count)
            let unit = String(rest.prefix { !($0.isASCII && ($0.isNumber || $0 == ".")) })
            guard !unit.isEmpty else {
                throw Fault(message: "time: missing unit in duration \(Self.quoted(text))")
            }
            guard let factor = Self.units[unit] else {
                throw Fault(message: "time: unknown unit \(Self.quoted(unit)) in duration \(Self.quoted(text))")
            }
            rest = rest.dropFirst(unit.count)
            total += value * factor
        }
        // Go's duration is a signed 64-bit number of nanoseconds: 292 years.
        guard total < 9.2e18 else { throw Self.invalid(text) }
        let nanoseconds = Int64(total.rounded())
        return .nanoseconds(isNegative ? -nanoseconds : nanoseconds)
    }

    /// Go's `String()`: `1h30m0s`, `10s`, `1.5s`, `250ms`, `0s`.
    package static func text(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let isNegative = seconds < 0 || attoseconds < 0
        let sign = isNegative ? "-" : ""
        let whole = seconds.magnitude
        let fraction = attoseconds.magnitude / 1_000_000_000
        if whole == 0 {
            if fraction == 0 { return "0s" }
            if fraction < 1_000 { return sign + "\(fraction)ns" }
            if fraction < 1_000_000 { return sign + Self.decimal(fraction, 1_000) + "µs" }
            return sign + Self.decimal(fraction, 1_000_000) + "ms"
        }
        let (hours, minutes) = (whole / 3_600, whole / 60 % 60)
        let rest = Self.decimal(whole % 60 * 1_000_000_000 + fraction, 1_000_000_000) + "s"
        if hours > 0 { return sign + "\(hours)h\(minutes)m" + rest }
        return sign + (minutes > 0 ? "\(minutes)m" : "") + rest
    }

    private static func decimal(_ value: UInt64, _ unit: UInt64) -> String {
        var digits = String(value % unit + unit).dropFirst()
        while digits.last == "0" { digits = digits.dropLast() }
        return "\(value / unit)" + (digits.isEmpty ? "" : "." + digits)
    }

    private static func invalid(_ text: String) -> Fault {
        Fault(message: "time: invalid duration \(Self.quoted(text))")
    }

    private static func quoted(_ text: String) -> String { "\"\(text.prefix(100))\"" }
}
