/// Where a word of a configuration stands. Lines and columns count from one, columns in bytes.
package struct NginxPlace: Sendable, Hashable, CustomStringConvertible {
    package var file: String
    package var line: Int
    package var column: Int
    /// The how-manieth word of the whole configuration this is, included files in their place: what nginx, which stops
    /// at the first error, would have come to first.
    var order = 0

    package init(file: String, line: Int, column: Int) {
        self.file = file
        self.line = line
        self.column = column
    }

    package var description: String { "\(self.file):\(self.line):\(self.column)" }
}

/// One thing that is wrong with a configuration: where, what, and what would be right.
package struct NginxProblem: Error, Sendable, Hashable, CustomStringConvertible {
    package var place: NginxPlace
    /// In nginx's words where nginx would say it too.
    package var message: String
    package var hint: String?
    /// Whether it shows only when everything has been read: nginx reports these after all others.
    var isLate = false

    init(_ message: String, at place: NginxPlace, hint: String? = nil, isLate: Bool = false) {
        self.place = place
        self.message = message
        self.hint = hint
        self.isLate = isLate
    }

    /// One line, also when a word of the file has several.
    package var description: String {
        let text = "\(self.place): \(self.message)" + (self.hint.map { " (\($0))" } ?? "")
        return text.contains(where: \.isNewline) ? text.map { $0.isNewline ? "\\n" : String($0) }.joined() : text
    }
}

/// Why a configuration cannot be used. Nothing of it is in force: correct the places and read it again.
package struct NginxErrors: Error, Sendable, Hashable, CustomStringConvertible {
    /// In the order in which nginx would come to them, at most ``limit``.
    package var problems: [NginxProblem]

    package static let limit = 20

    init(_ problems: [NginxProblem]) {
        let sorted = problems.enumerated().sorted { left, right in
            let (one, other) = (left.element, right.element)
            if one.isLate != other.isLate { return other.isLate }
            if one.place.order != other.place.order { return one.place.order < other.place.order }
            return left.offset < right.offset
        }
        var seen: Set<NginxProblem> = []
        self.problems = Array(sorted.map(\.element).filter { seen.insert($0).inserted }.prefix(Self.limit))
    }

    /// One problem in a line.
    package var description: String { self.problems.map(\.description).joined(separator: "\n") }
}
