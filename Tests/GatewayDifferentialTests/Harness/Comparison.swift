/// What differs between what nginx and the subject did with one exchange.
struct Comparison {
    private(set) var differences: [String] = []

    init(_ exchange: Exchange, nginx: Observation, subject: Observation) {
        if exchange.compared.contains(.answers) { self.compareAnswers(exchange, nginx, subject) }
        if exchange.compared.contains(.received) { self.compareReceived(exchange, nginx, subject) }
        if exchange.compared.contains(.answers), nginx.closedSilently != subject.closedSilently {
            self.note("the connection afterwards", Self.fate(nginx), Self.fate(subject))
        }
    }

    private static func fate(_ observation: Observation) -> String {
        observation.closedSilently ? "closed without a word" : "goes on"
    }

    private mutating func note(_ what: String, _ nginx: String, _ subject: String) {
        guard nginx != subject else { return }
        self.differences.append("\(what)\n      nginx:   \(nginx.indented)\n      subject: \(subject.indented)")
    }

    private mutating func compareAnswers(_ exchange: Exchange, _ nginx: Observation, _ subject: Observation) {
        self.note("number of answers", "\(nginx.answers.count)", "\(subject.answers.count)")
        for (index, pair) in zip(nginx.answers, subject.answers).enumerated() {
            let (left, right) = pair
            let place = nginx.answers.count > 1 ? "answer \(index + 1): " : ""
            self.note(place + "status line", left.head?.line ?? "none", right.head?.line ?? "none")
            self.note(place + "interim answers", "\(left.interim.map(\.text))", "\(right.interim.map(\.text))")
            self.compareFields(place, left.head?.fields ?? [], right.head?.fields ?? [])
            if exchange.compared.contains(.bodies) {
                self.note(place + "body", left.body.printable, right.body.printable)
                self.note(place + "trailer", left.trailer.printable, right.trailer.printable)
                self.note(place + "bytes beside", left.rest.printable, right.rest.printable)
                if left.body.count != right.body.count {
                    self.note(place + "body's length", "\(left.body.count)", "\(right.body.count)")
                }
            }
            self.note(place + "the connection", left.ending.rawValue, right.ending.rawValue)
        }
    }

    private mutating func compareFields(_ place: String, _ nginx: [Field], _ subject: [Field]) {
        let names = Set((nginx + subject).map(\.name)).sorted()
        for name in names {
            let left = nginx.filter { $0.name == name }.map(\.value)
            let right = subject.filter { $0.name == name }.map(\.value)
            if left != right { self.note(place + "field \(name)", left.shown, right.shown) }
        }
    }

    private mutating func compareReceived(_ exchange: Exchange, _ nginx: Observation, _ subject: Observation) {
        self.note("requests that came to upstreams", nginx.received.listed, subject.received.listed)
        guard nginx.received.count == subject.received.count else { return }
        let inOrder = exchange.compared.contains(.inOrder)
        let left = inOrder ? nginx.received : nginx.received.sorted(by: Received.areInOrder)
        let right = inOrder ? subject.received : subject.received.sorted(by: Received.areInOrder)
        for (index, pair) in zip(left, right).enumerated() {
            let place = left.count > 1 ? "forwarded request \(index + 1): " : "forwarded request: "
            self.note(place + "bytes", pair.0.head.printable, pair.1.head.printable)
            if exchange.compared.contains(.instances) {
                self.note(place + "instance", pair.0.instance, pair.1.instance)
            }
            if exchange.compared.contains(.connections) {
                self.note(place + "connection", pair.0.place, pair.1.place)
            }
            if exchange.compared.contains(.bodies) {
                self.note(place + "body", pair.0.body.printable, pair.1.body.printable)
                self.note(place + "body's length", "\(pair.0.body.count)", "\(pair.1.body.count)")
                self.note(place + "complete", "\(pair.0.isComplete)", "\(pair.1.isComplete)")
                self.note(place + "trailer", pair.0.trailer.printable, pair.1.trailer.printable)
            }
        }
    }
}

extension Received {
    fileprivate static func areInOrder(_ left: Received, _ right: Received) -> Bool {
        (left.head.latin, left.instance) < (right.head.latin, right.instance)
    }

    fileprivate var place: String { "\(self.instance) connection \(self.connection) request \(self.ordinal)" }
}

extension [Received] {
    fileprivate var listed: String { "\(self.count)" }
}

extension Answer.Head {
    fileprivate var text: String {
        ([self.line] + self.fields.map { "\($0.name): \($0.value)" }).joined(separator: "; ")
    }
}

extension [String] {
    fileprivate var shown: String {
        self.isEmpty
            ? "none" : self.map { $0.count > 300 ? $0.prefix(300) + "… (\($0.count))" : $0 }.joined(separator: " | ")
    }
}

extension String {
    fileprivate var indented: String {
        self.contains("\n")
            ? "\n          "
                + self.split(separator: "\n", omittingEmptySubsequences: false)
                .joined(separator: "\n          ") : self
    }
}

/// How a test tells what it found: the first differing item of each exchange first, then what was sent.
enum Report {
    static func text(
        _ scenario: Scenario,
        _ found: [(exchange: Exchange, differences: [String])],
        log: String
    ) -> String {
        let shown = found.prefix(8).map { item in
            let sent = item.exchange.steps.map(Self.text).joined(separator: "\n")
            return """

                --- \(item.exchange.label.prefix(300))
                \(item.differences.prefix(6).map { "  * " + $0 }.joined(separator: "\n"))
                    sent:
                      \(sent.split(separator: "\n", omittingEmptySubsequences: false).joined(separator: "\n          "))
                """
        }
        return """
            \(scenario.name): \(found.count) of \(scenario.exchanges.count) exchanges differ from nginx
            \(shown.joined(separator: "\n"))
            \(found.count > shown.count ? "\n… and \(found.count - shown.count) more" : "")
            The subject's last lines:
            \(log)
            """
    }

    private static func text(_ step: ClientStep) -> String {
        switch step {
        case .send(let number, let bytes): "on connection \(number):\n" + bytes.printable
        case .answer, .text, .ended, .received, .cut: ""
        default: "\(step)"
        }
    }
}
