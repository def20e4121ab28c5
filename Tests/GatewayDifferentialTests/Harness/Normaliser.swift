/// Takes out of an observation what two runs of the same gateway have no choice but to say differently: ports, the date,
/// identifiers, the name and version of the software.
struct Normaliser {
    private let ports: [(Bytes, Bytes)]

    init(_ ports: [String: Int]) {
        self.ports = ports.sorted { $0.key < $1.key }.map { (Bytes("\($0.value)"), Bytes("{\($0.key)}")) }
    }

    func normalised(_ observation: Observation) -> Observation {
        var result = observation
        result.answers = observation.answers.map(self.normalised)
        result.received = observation.received.map { received in
            var received = received
            received.head = self.withoutIdentifiers(self.withoutPorts(received.head))
            return received
        }
        return result
    }

    private func withoutPorts(_ bytes: Bytes) -> Bytes {
        self.ports.reduce(bytes) { $0.replacing($1.0, with: $1.1) }
    }

    /// 32 digits of base 16 are a `$request_id`.
    private func withoutIdentifiers(_ head: Bytes) -> Bytes {
        guard head.firstIndex(of: Bytes("-ID: ")) != nil else { return head }
        let lines = head.split(separator: 10, omittingEmptySubsequences: false).map { line in
            let value = line.drop { $0 != 32 }.dropFirst().prefix { $0 != 13 }
            return Self.isIdentifier(value.latin) ? line.prefix { $0 != 32 } + Bytes(" {id}\r") : line
        }
        return Bytes(lines.joined(separator: Bytes("\n")))
    }

    /// Heads among bytes that are no answer: an upstream's 1xx that was taken for its last one, an answer of HTTP/0.9.
    private static func withoutDates(_ bytes: Bytes) -> Bytes {
        let lines = bytes.split(separator: 10, omittingEmptySubsequences: false).filter { line in
            !line.starts(with: Bytes("Date: ")) && !line.starts(with: Bytes("Server: "))
        }
        return Bytes(lines.joined(separator: Bytes("\n")))
    }

    private static func isIdentifier(_ text: String) -> Bool {
        text.utf8.count == 32 && text.utf8.allSatisfy { (48...57).contains($0) || (97...102).contains($0) }
    }

    private func normalised(_ answer: Answer) -> Answer {
        var result = answer
        let ownPages = ["nginx/1.22.1", "nginx", "parley/0.1.0", "parley"].map { Bytes("<center>\($0)</center>") }
        result.body = self.withoutPorts(answer.body)
        for page in ownPages { result.body = result.body.replacing(page, with: Bytes("<center>{server}</center>")) }
        result.rest = Self.withoutDates(self.withoutPorts(answer.rest))
        result.interim = answer.interim.map { self.normalised($0) }
        result.head = answer.head.map { head in
            var head = self.normalised(head)
            // A length that was right is right for what stands here.
            for index in head.fields.indices where head.fields[index].name.lowercased() == "content-length" {
                if head.fields[index].value == "\(answer.body.count)" {
                    head.fields[index].value = "\(result.body.count)"
                }
            }
            return head
        }
        // Which of the two it is depends on what was still unread when the connection closed.
        if answer.ending == .reset { result.ending = .closed }
        return result
    }

    private func normalised(_ head: Answer.Head) -> Answer.Head {
        var result = head
        result.fields = head.fields.map { field in
            let name = field.name.lowercased()
            return Field(name: name, value: self.value(of: name, field.value))
        }
        // Fields of one name keep their order, the names do not matter.
        result.fields = result.fields.enumerated().sorted {
            ($0.element.name, $0.offset) < ($1.element.name, $1.offset)
        }
        .map(\.element)
        return result
    }

    private func value(of name: String, _ value: String) -> String {
        switch name {
        case "date", "expires": return value.contains(" 2024 ") ? value : "{now}"
        case "server": return value.hasPrefix("nginx") || value.hasPrefix("parley") ? "{server}" : value
        default:
            return Self.isIdentifier(value)
                ? "{id}" : self.withoutPorts(Bytes(value.unicodeScalars.map { UInt8($0.value & 0xFF) })).latin
        }
    }
}
