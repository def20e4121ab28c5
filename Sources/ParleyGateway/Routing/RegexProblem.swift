/// A regular expression that cannot be used: found when a configuration is compiled.
package struct RegexProblem: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Reason: Sendable, Hashable {
        /// What PCRE says, and where in the pattern, in bytes.
        case syntax(message: String, offset: Int)
        case tooManyGroups(limit: Int)
    }

    package var pattern: String
    package var reason: Reason

    package var description: String {
        switch self.reason {
        case .syntax(let message, let offset):
            "The regular expression \"\(self.pattern)\" is not valid at byte \(offset): \(message). Correct it; the "
                + "syntax is PCRE's."
        case .tooManyGroups(let limit):
            "The regular expression \"\(self.pattern)\" has more than \(limit) groups. Make groups that nobody reads "
                + "non-capturing: (?:…)."
        }
    }
}

/// A match that was given up: the expression counts as not matching, and the caller logs this.
package struct RegexFailure: Error, Sendable, Hashable, CustomStringConvertible {
    package enum Reason: Sendable, Hashable {
        /// It took too many steps, too deep a nesting, or too much memory on this subject.
        case limitReached
        /// Another of PCRE's errors, by its number.
        case other(Int)
    }

    package var pattern: String
    package var reason: Reason

    package var description: String {
        switch self.reason {
        case .limitReached:
            "The regular expression \"\(self.pattern)\" was given up on a request, after as many steps as one may "
                + "take. It was treated as not matching. Make it simpler: nested repetitions are what takes so long."
        case .other(let code):
            "The regular expression \"\(self.pattern)\" could not be tried on a request (PCRE2 error \(code)). It was "
                + "treated as not matching."
        }
    }
}
