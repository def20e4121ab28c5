/// `${NAME}` and `${NAME:-default}` in a value, as a shell reads them; `$${` stands for `${` itself.
enum VariableSubstitution {
    enum Failure: Error, Equatable {
        case unset(String)
        case unclosed
        case invalidName(String)
    }

    static func replace(in text: String, with variables: [String: String]) throws(Failure) -> String {
        var result = ""
        var rest = text[...]
        while let start = rest.range(of: "${") {
            if rest[..<start.lowerBound].hasSuffix("$") {
                result += rest[..<start.lowerBound].dropLast() + "${"
                rest = rest[start.upperBound...]
                continue
            }
            result += rest[..<start.lowerBound]
            guard let end = rest[start.upperBound...].firstIndex(of: "}") else { throw .unclosed }
            let inside = rest[start.upperBound..<end]
            let separator = inside.range(of: ":-")
            let name = String(inside[..<(separator?.lowerBound ?? inside.endIndex)])
            guard Self.isName(name) else { throw .invalidName(name) }
            if let value = variables[name], !value.isEmpty || separator == nil {
                result += value
            } else if let separator {
                result += inside[separator.upperBound...]
            } else {
                throw .unset(name)
            }
            rest = rest[rest.index(after: end)...]
        }
        return result + rest
    }

    private static func isName(_ name: String) -> Bool {
        guard let first = name.utf8.first, !(UInt8(ascii: "0")...UInt8(ascii: "9")).contains(first) else {
            return false
        }
        return name.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                true
            default: false
            }
        }
    }
}

extension Substring {
    /// The first occurrence.
    fileprivate func range(of text: String) -> Range<Index>? { self.firstRange(of: text) }
}

/// The word that was probably meant.
enum NearestWord {
    static func to(_ word: String, among words: some Sequence<String>) -> String? {
        let limit = Swift.max(1, Swift.min(3, word.count / 2))
        let candidates = words.map { (distance: Self.distance(word.lowercased(), $0.lowercased()), word: $0) }
        return candidates.filter { $0.distance <= limit }.min { ($0.distance, $0.word) < ($1.distance, $1.word) }?.word
    }

    /// ` (did you mean 'word'?)`, or nothing.
    static func hint(_ word: String, among words: some Sequence<String>) -> String {
        self.to(word, among: words).map { " (did you mean '\($0)'?)" } ?? ""
    }

    /// How many letters must be changed, added, removed or swapped with their neighbour.
    private static func distance(_ first: String, _ second: String) -> Int {
        let (a, b) = (Array(first.unicodeScalars.prefix(64)), Array(second.unicodeScalars.prefix(64)))
        var rows = [[Int]](repeating: [Int](repeating: 0, count: b.count + 1), count: a.count + 1)
        for i in 0...a.count { rows[i][0] = i }
        for j in 0...b.count { rows[0][j] = j }
        for i in a.indices {
            for j in b.indices {
                let change = a[i] == b[j] ? 0 : 1
                var best = Swift.min(rows[i][j + 1] + 1, rows[i + 1][j] + 1, rows[i][j] + change)
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { best = Swift.min(best, rows[i - 1][j - 1] + 1) }
                rows[i + 1][j + 1] = best
            }
        }
        return rows[a.count][b.count]
    }
}
