/// A word of a configuration with its quotes and escapes resolved.
struct NginxWord: Sendable, Hashable {
    var bytes: [UInt8]
    var text: String
    var place: NginxPlace

    init(bytes: [UInt8], place: NginxPlace) {
        self.bytes = bytes
        self.text = String(decoding: bytes, as: UTF8.self)
        self.place = place
    }

    /// What is behind the first `count` bytes, as a word of its own.
    func dropping(_ count: Int) -> NginxWord {
        var place = self.place
        place.column += count
        return NginxWord(bytes: Array(self.bytes.dropFirst(count)), place: place)
    }

    /// The value behind `key=`, if that is how the word begins.
    func value(of key: String) -> NginxWord? {
        self.bytes.starts(with: key.utf8) ? self.dropping(key.utf8.count) : nil
    }
}

/// Cuts the bytes of a file into statements, by nginx's rules: the same places are words, comments and quotes, the same
/// things are errors with the same words.
struct NginxLexer {
    enum Token {
        case statement([NginxWord])
        /// The words before a `{`.
        case open([NginxWord])
        case close(NginxPlace)
        case end(NginxPlace)
    }

    /// nginx reads a word into a buffer of this size.
    static let longestWord = 4_096

    private let bytes: [UInt8]
    private let file: String
    private var position = 0
    private var line = 1
    private var lineStart = 0

    init(bytes: [UInt8], file: String) {
        self.bytes = bytes
        self.file = file
    }

    private enum Quote { case none, single, double }

    /// A word that is being read: where its bytes begin, and where it stands.
    private struct Start {
        var position: Int
        var place: NginxPlace
    }

    private func place(of position: Int) -> NginxPlace {
        NginxPlace(file: self.file, line: self.line, column: position - self.lineStart + 1)
    }

    private mutating func take() -> UInt8? {
        guard self.position < self.bytes.count else { return nil }
        let byte = self.bytes[self.position]
        self.position += 1
        return byte
    }

    /// What comes next, up to a `;`, a brace or the end.
    mutating func next() throws(NginxProblem) -> Token {
        var words: [NginxWord] = []
        while true {
            guard let byte = self.take() else {
                guard words.isEmpty else { throw self.unexpectedEnd() }
                return .end(self.place(of: self.position))
            }
            switch byte {
            case 0x0A:
                self.startLine()
            case 0x20, 0x09, 0x0D:
                continue
            case 0x23:  // #
                self.skipComment()
            case 0x3B:  // ;
                guard !words.isEmpty else { throw self.unexpected(byte) }
                return .statement(words)
            case 0x7B:  // {
                guard !words.isEmpty else { throw self.unexpected(byte) }
                return .open(words)
            case 0x7D:  // }
                guard words.isEmpty else { throw self.unexpected(byte) }
                return .close(self.place(of: self.position - 1))
            default:
                let (word, end) = try self.word(startingWith: byte)
                words.append(word)
                if end == 0x3B { return .statement(words) }
                if end == 0x7B { return .open(words) }
            }
        }
    }

    private mutating func startLine() {
        self.line += 1
        self.lineStart = self.position
    }

    private mutating func skipComment() {
        while let byte = self.take() {
            if byte == 0x0A {
                self.startLine()
                return
            }
        }
    }

    /// A word and the byte that ended it, which has been taken.
    private mutating func word(startingWith first: UInt8) throws(NginxProblem) -> (NginxWord, UInt8) {
        var start = Start(position: self.position - 1, place: self.place(of: self.position - 1))
        var quote = Quote.none
        var isEscaped = false
        // Behind a "$", a "{" belongs to the name of a variable.
        var isVariable = false
        switch first {
        case 0x22: (quote, start.position) = (.double, self.position)
        case 0x27: (quote, start.position) = (.single, self.position)
        case 0x5C: isEscaped = true
        case 0x24: isVariable = true
        default: break
        }
        while true {
            if self.position - start.position >= Self.longestWord, self.position < self.bytes.count {
                throw self.tooLong(start, quote)
            }
            guard let byte = self.take() else { throw self.unexpectedEnd() }
            if byte == 0x0A { self.startLine() }
            if isEscaped {
                isEscaped = false
                continue
            }
            if byte == 0x7B, isVariable { continue }
            isVariable = false
            if byte == 0x5C {
                isEscaped = true
                continue
            }
            if byte == 0x24 {
                isVariable = true
                continue
            }
            switch quote {
            case .double where byte == 0x22, .single where byte == 0x27:
                let word = self.finish(start)
                return (word, try self.endOfQuoted())
            case .double, .single:
                continue
            case .none:
                if byte == 0x20 || byte == 0x09 || byte == 0x0D || byte == 0x0A || byte == 0x3B || byte == 0x7B {
                    return (self.finish(start), byte)
                }
            }
        }
    }

    /// Behind a closing quote a space, `;`, `{` or `)` has to follow. The last begins a word of its own.
    private mutating func endOfQuoted() throws(NginxProblem) -> UInt8 {
        guard let byte = self.take() else { throw self.unexpectedEnd() }
        switch byte {
        case 0x0A: self.startLine()
        case 0x20, 0x09, 0x0D, 0x3B, 0x7B: break
        case 0x29: self.position -= 1
        default: throw self.unexpected(byte)
        }
        return byte
    }

    /// The bytes from the start to before the one that was taken last, without their escapes.
    private func finish(_ start: Start) -> NginxWord {
        var bytes: [UInt8] = []
        var rest = self.bytes[start.position..<max(start.position, self.position - 1)]
        while let byte = rest.popFirst() {
            guard byte == 0x5C, let next = rest.first else {
                bytes.append(byte)
                continue
            }
            switch next {
            case 0x22, 0x27, 0x5C: bytes.append(next)
            case 0x74: bytes.append(0x09)
            case 0x72: bytes.append(0x0D)
            case 0x6E: bytes.append(0x0A)
            default:
                bytes.append(byte)
                continue
            }
            rest.removeFirst()
        }
        return NginxWord(bytes: bytes, place: start.place)
    }

    private func unexpected(_ byte: UInt8) -> NginxProblem {
        NginxProblem(
            "unexpected \"\(String(decoding: [byte], as: UTF8.self))\"",
            at: self.place(of: self.position - 1),
            hint: byte == 0x7D ? "a directive before it may lack its \";\"" : nil
        )
    }

    private func unexpectedEnd() -> NginxProblem {
        NginxProblem("unexpected end of file, expecting \";\" or \"}\"", at: self.place(of: self.position))
    }

    private func tooLong(_ start: Start, _ quote: Quote) -> NginxProblem {
        let message: String
        switch quote {
        case .none:
            let head = self.bytes[start.position...].prefix(10)
            message = "too long parameter \"\(String(decoding: head, as: UTF8.self))...\" started"
        case .single: message = "too long parameter, probably missing terminating \"'\" character"
        case .double: message = "too long parameter, probably missing terminating \"\"\" character"
        }
        return NginxProblem(message, at: start.place, hint: "at most \(Self.longestWord - 1) bytes")
    }
}
