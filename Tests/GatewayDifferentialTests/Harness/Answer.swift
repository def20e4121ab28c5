/// What a client got, taken apart so that it can be compared.
struct Answer: Sendable, Equatable {
    enum Ending: String, Sendable, Equatable {
        /// Complete, and the connection may go on.
        case open
        case closed
        case reset
        /// Said that it would close, and did not.
        case stillOpen = "still open"
        /// Neither an answer nor an end came in time.
        case hangs
    }

    /// Answers with 1xx that came before: each a status line and fields.
    var interim: [Head] = []
    var head: Head?
    var body: Bytes = []
    var trailer: Bytes = []
    /// Bytes that belong to no answer.
    var rest: Bytes = []
    var ending: Ending = .open

    struct Head: Sendable, Equatable {
        var line: String
        var fields: [Field]

        var status: Int { self.line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0 }

        func values(_ name: String) -> [String] {
            self.fields.filter { $0.name.lowercased() == name }.map(\.value)
        }
    }

    var status: Int { self.head?.status ?? 0 }

    var saysClose: Bool {
        guard let head else { return true }
        let connection = head.values("connection").joined(separator: ",").lowercased()
        return connection.contains("close") || head.line.hasPrefix("HTTP/1.0")
    }
}

/// Takes an answer out of what a connection has given so far.
struct AnswerParser {
    enum Outcome: Equatable {
        /// So many bytes belong to it.
        case complete(Answer, taken: Int)
        case needsMore
        /// It does not begin as an answer does.
        case noAnswer
    }

    static func parse(_ bytes: Bytes, toHead: Bool, atEnd: Bool) -> Outcome {
        var answer = Answer()
        var at = 0
        while true {
            guard bytes[at...].starts(with: Bytes("HTTP/")) || bytes.count - at < 5,
                let end = bytes.firstIndex(of: Bytes.headEnd, from: at)
            else {
                guard atEnd else { return bytes.count - at < 5 ? .needsMore : Self.unclear(bytes, at) }
                answer.rest = Bytes(bytes[at...])
                return .complete(answer, taken: bytes.count)
            }
            let line = bytes[at...].prefix { $0 != 13 && $0 != 10 }
            let head = Answer.Head(line: line.latin, fields: Fields.parse(bytes[(at + line.count)..<end]))
            at = end + 4
            guard (100..<200).contains(head.status), head.status != 101, !Self.hasBody(head) else {
                answer.head = head
                break
            }
            answer.interim.append(head)
        }
        return Self.body(of: answer, bytes, at, toHead: toHead, atEnd: atEnd)
    }

    /// What does not begin as an answer is not one, whatever follows.
    private static func unclear(_ bytes: Bytes, _ at: Int) -> Outcome {
        bytes[at...].starts(with: Bytes("HTTP/")) ? .needsMore : .noAnswer
    }

    /// An old nginx hands an upstream's 1xx on as if it were the last one.
    private static func hasBody(_ head: Answer.Head) -> Bool {
        !head.values("connection").isEmpty && head.values("upgrade").isEmpty
    }

    private static func body(of head: Answer, _ bytes: Bytes, _ at: Int, toHead: Bool, atEnd: Bool) -> Outcome {
        var answer = head
        guard let fields = head.head else { return .needsMore }
        let isEmpty = toHead || [101, 204, 304].contains(fields.status)
        if isEmpty { return .complete(answer, taken: at) }
        if fields.values("transfer-encoding").contains("chunked") {
            let chunks = Chunks(bytes, from: at)
            answer.body = chunks.body
            answer.trailer = chunks.trailer
            if chunks.isComplete { return .complete(answer, taken: at + chunks.taken) }
            guard atEnd else { return .needsMore }
            answer.rest = Bytes(bytes[(at + chunks.taken)...])
            return .complete(answer, taken: bytes.count)
        }
        let length = fields.values("content-length").first.flatMap { Int($0) }
        if let length, bytes.count - at >= length {
            answer.body = Bytes(bytes[at..<(at + length)])
            return .complete(answer, taken: at + length)
        }
        guard atEnd else { return .needsMore }
        answer.body = Bytes(bytes[at...])
        return .complete(answer, taken: bytes.count)
    }
}
