/// A record as a story: what happened when, the likely cause, and what to run next.
package struct Explanation: Sendable, Hashable, Codable {
    /// One line: `GET /api/v1/users was answered 502 (UF) after 1.2 ms`.
    package var headline: String
    /// What happened, in order, each with the time since the beginning where it is known.
    package var timeline: [String]
    /// The likely cause, in one or two sentences.
    package var cause: String
    /// Commands to run, the most useful first; words of peers in them are quoted for the shell.
    package var next: [String]

    package init(_ record: ExchangeRecord) {
        self.headline = Self.headline(record)
        self.timeline = Timeline.lines(record)
        let finding = LikelyCause.of(record)
        self.cause = ExplainText.printable(finding.cause)
        self.next = finding.next
    }

    /// For a terminal.
    package var text: String {
        var lines = [self.headline, ""]
        lines += self.timeline.map { "  " + $0 }
        lines += ["", "Likely cause", "  " + self.cause]
        if !self.next.isEmpty { lines += ["", "Next"] + self.next.map { "  " + $0 } }
        return lines.joined(separator: "\n")
    }

    private static func headline(_ record: ExchangeRecord) -> String {
        let flags = record.flags.isEmpty ? "" : " (\(record.flags.text))"
        let after = ExplainText.duration(record.durationMicroseconds)
        let text = "\(record.method) \(record.path) of \(record.host)"
        let answer: String =
            switch record.status {
            case 0, 444: "was closed without an answer"
            case 499: "was given up by its client"
            default: record.isOwnAnswer ? "was answered \(record.status)" : "passed on status \(record.status)"
            }
        return ExplainText.printable("\(text) \(answer)\(flags) after \(after)")
    }
}

enum ExplainText {
    /// Words of peers reach a terminal: control characters are shown, not sent.
    static func printable(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0..<0x20, 0x7F..<0xA0, 0x200E...0x200F, 0x202A...0x202E, 0x2066...0x2069:
                result += "\\u{\(String(scalar.value, radix: 16))}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// One word for a POSIX shell.
    static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty
            && word.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "/._-:=,@%+".utf8.contains(byte)
                }
            }
        if isPlain { return word }
        return "'"
            + Self.printable(word).split(separator: "'", omittingEmptySubsequences: false)
            .joined(separator: #"'\''"#) + "'"
    }

    /// `850 µs`, `1.2 ms`, `30 s`.
    static func duration(_ microseconds: Int64) -> String {
        let value = max(0, microseconds)
        if value < 1_000 { return "\(value) µs" }
        if value < 1_000_000 { return "\(Self.tenths(value, 1_000)) ms" }
        return "\(Self.tenths(value, 1_000_000)) s"
    }

    private static func tenths(_ value: Int64, _ unit: Int64) -> String {
        let tenths = value / (unit / 10)
        return tenths % 10 == 0 ? "\(tenths / 10)" : "\(tenths / 10).\(tenths % 10)"
    }

    /// `1 byte`, `3 bytes`.
    static func count(_ number: some BinaryInteger, _ word: String) -> String {
        number == 1 ? "1 \(word)" : "\(number) \(word)s"
    }

    /// Host and port of an instance's name; the port is `nil` when it names none.
    static func endpoint(_ name: String) -> (host: String, port: String?) {
        guard let colon = name.lastIndex(of: ":"), name.last != "]" else { return (name, nil) }
        let port = name[name.index(after: colon)...]
        guard !port.isEmpty, port.utf8.allSatisfy({ (48...57).contains($0) }) else { return (name, nil) }
        return (String(name[..<colon]), String(port))
    }

    /// In the words of the configuration.
    static func rate(_ thousandths: Int) -> String {
        if thousandths % 1_000 == 0 { return "\(thousandths / 1_000) requests a second" }
        // nginx rounds requests a minute down when it stores them; undo it.
        let (product, overflows) = thousandths.multipliedReportingOverflow(by: 60)
        let perMinute = overflows ? thousandths : (product + 999) / 1_000
        return "\(perMinute) requests a minute"
    }
}
