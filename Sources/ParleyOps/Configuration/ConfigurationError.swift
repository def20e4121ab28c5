public import ParleyCore

/// A file that cannot be used, with every problem that was found in it and where.
public struct ConfigurationError: RetryClassifiedError, CustomStringConvertible {
    public struct Code: Hashable, Sendable, CustomStringConvertible {
        private enum Kind: String { case unreadable, invalid }

        private let kind: Kind
        public var description: String { self.kind.rawValue }

        /// There is no such file, or it cannot be read or is too long.
        public static let unreadable = Code(kind: .unreadable)
        /// It is no YAML, or says what is not known or not possible.
        public static let invalid = Code(kind: .invalid)
    }

    public struct Problem: Sendable, Hashable, CustomStringConvertible {
        public var file: String
        /// From 1; `nil` where the problem is the whole file's.
        public var line: Int?
        public var column: Int?
        /// What is wrong, and what to write.
        public var message: String

        public var description: String {
            let place = [self.file] + [self.line, self.column].compactMap { $0.map(String.init) }
            return place.joined(separator: ":") + ": " + self.message
        }
    }

    public var code: Code
    public var problems: [Problem]
    public var retry: RetrySafety { .permanent }

    public init(_ code: Code, _ problems: [Problem]) {
        self.code = code
        self.problems = problems
    }

    public var description: String { self.problems.map(\.description).joined(separator: "\n") }
}
