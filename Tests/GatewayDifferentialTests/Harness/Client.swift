internal import Foundation
internal import ParleyCore

/// What came of one exchange, on both ends of the gateway.
struct Observation: Sendable, Equatable {
    var answers: [Answer] = []
    var received: [Received] = []
    /// The connection that goes on from exchange to exchange was closed after this one, without a word.
    var closedSilently = false

    /// A scenario that lets nginx say nothing at all tests the patience of the harness.
    var waitedInVain: Bool {
        self.answers.contains { $0.ending == .hangs && $0.head == nil && $0.rest.isEmpty }
    }
}

/// Plays exchanges against one gateway, on a thread of its own: its reads wait.
struct Client {
    struct Failure: Error, CustomStringConvertible {
        var description: String
    }

    private struct Connection {
        var descriptor: Int32
        var input: Bytes = []
        /// What was sent on it in this exchange, in case the gateway has closed it since the last one.
        var sent: Bytes = []
        var isFromBefore = false
        var ending: Answer.Ending?
    }

    private let port: Int
    private let upstreams: UpstreamSet
    private let time = SystemTimeSource()
    private var connections: [Int: Connection] = [:]
    private var seen = 0
    /// How long an answer may take: far above every timeout of the configurations.
    private let patience: Duration = .seconds(8)

    init(port: Int, upstreams: UpstreamSet) {
        self.port = port
        self.upstreams = upstreams
    }

    mutating func play(_ exchanges: [Exchange]) throws -> [Observation] {
        var observations: [Observation] = []
        for exchange in exchanges {
            var observation = Observation()
            for step in exchange.steps {
                let wasClosed = try self.play(step, &observation)
                if wasClosed, !observations.isEmpty { observations[observations.count - 1].closedSilently = true }
            }
            for number in self.connections.keys where number != 0 { self.drop(number) }
            // What is left over, or still to come, must not be taken for the answer to the next request.
            let isClean = self.connections[0]?.input.isEmpty == true && observation.answers.last?.ending == .open
            if self.connections[0]?.ending != nil || !isClean { self.drop(0) }
            self.connections[0]?.isFromBefore = true
            self.connections[0]?.sent = []
            let records = self.upstreams.settled()
            observation.received = Array(records[self.seen...])
            self.seen = records.count
            observations.append(observation)
        }
        for number in self.connections.keys { self.drop(number) }
        return observations
    }

    /// - Returns: Whether the gateway had closed the connection since the exchange before.
    private mutating func play(_ step: ClientStep, _ observation: inout Observation) throws -> Bool {
        switch step {
        case .open(let number, let source):
            self.connections[number] = Connection(descriptor: try Socket.opened(to: self.port, from: source))
        case .send(let number, let bytes):
            try self.send(number, bytes)
        case .answer(let number, let toHead):
            let (answer, wasClosed) = try self.answer(number, toHead: toHead)
            observation.answers.append(answer)
            return wasClosed
        case .text(let number, let text):
            observation.answers.append(self.read(number, until: Bytes(text)))
        case .ended(let number):
            observation.answers.append(self.read(number, until: nil))
        case .closeWriting(let number):
            if let connection = self.connections[number] { Socket.closeWriting(connection.descriptor) }
        case .close(let number):
            self.drop(number)
        case .reset(let number):
            if let connection = self.connections.removeValue(forKey: number) { Socket.reset(connection.descriptor) }
        case .received(let count):
            try self.waits("for \(count) requests at the upstreams") { $0.count - self.seen >= count }
        case .cut:
            try self.waits("for an upstream's connection to be cut") { $0[self.seen...].contains(where: \.isCut) }
        case .curl(let curl):
            observation.answers += try curl.answers(port: self.port)
        case .pause(let milliseconds):
            var none: [pollfd] = []
            Socket.wait(&none, Int32(milliseconds))
        }
        return false
    }

    private func waits(_ what: String, _ holds: ([Received]) -> Bool) throws {
        let end = self.time.now.advanced(by: self.patience)
        while !holds(self.upstreams.settled()) {
            guard self.time.now < end else { throw Failure(description: "waited in vain " + what) }
            var none: [pollfd] = []
            Socket.wait(&none, 1)
        }
    }

    private mutating func send(_ number: Int, _ bytes: Bytes) throws {
        if self.connections[number] == nil {
            self.connections[number] = Connection(descriptor: try Socket.opened(to: self.port))
        }
        self.connections[number]?.sent += bytes
        self.write(number, bytes)
    }

    /// A gateway that refuses a body may stop to read it: what has been sent until then is enough.
    private mutating func write(_ number: Int, _ bytes: Bytes) {
        var rest = bytes[...]
        let end = self.time.now.advanced(by: self.patience)
        while !rest.isEmpty, self.time.now < end, let connection = self.connections[number], connection.ending == nil {
            guard let count = Socket.write(connection.descriptor, rest) else { return }
            rest = rest.dropFirst(count)
            if count == 0 {
                // It may wait for us to read what it says.
                self.take(number, within: 20)
            }
        }
    }

    /// - Returns: Whether anything came.
    @discardableResult
    private mutating func take(_ number: Int, within milliseconds: Int32) -> Bool {
        guard var connection = self.connections[number], connection.ending == nil else { return false }
        guard Socket.isReady(connection.descriptor, for: Socket.canRead, within: milliseconds) else { return false }
        switch Socket.read(connection.descriptor) {
        case .bytes(let bytes): connection.input += bytes
        case .end: connection.ending = .closed
        case .reset: connection.ending = .reset
        case .nothing: return false
        }
        self.connections[number] = connection
        return true
    }

    private mutating func answer(_ number: Int, toHead: Bool) throws -> (Answer, wasClosed: Bool) {
        var wasClosed = false
        let end = self.time.now.advanced(by: self.patience)
        while let connection = self.connections[number] {
            let ending = connection.ending
            if ending != nil, connection.input.isEmpty, connection.isFromBefore {
                let sent = connection.sent
                self.drop(number)
                try self.send(number, sent)
                wasClosed = true
                continue
            }
            let outcome = AnswerParser.parse(connection.input, toHead: toHead, atEnd: ending != nil)
            if case .complete(var answer, let taken) = outcome {
                self.connections[number]?.input.removeFirst(taken)
                self.connections[number]?.isFromBefore = false
                answer.ending = ending ?? .open
                if ending == nil, answer.saysClose, answer.status != 101 { answer.ending = self.endOf(number) }
                return (answer, wasClosed)
            }
            guard self.time.now < end, ending == nil else { break }
            // What is no answer has no end of its own: it is over when nothing more comes.
            if !self.take(number, within: 200), outcome == .noAnswer { break }
        }
        var answer = Answer()
        answer.rest = self.connections[number]?.input ?? []
        answer.ending = self.connections[number]?.ending ?? .hangs
        return (answer, wasClosed)
    }

    /// Whether the gateway closes, as it has said.
    private mutating func endOf(_ number: Int) -> Answer.Ending {
        let end = self.time.now.advanced(by: .seconds(3))
        while self.connections[number]?.ending == nil {
            guard self.time.now < end, self.connections[number]?.input.isEmpty != false else { return .stillOpen }
            self.take(number, within: 100)
        }
        return self.connections[number]?.ending ?? .closed
    }

    private mutating func read(_ number: Int, until text: Bytes?) -> Answer {
        let end = self.time.now.advanced(by: self.patience)
        var answer = Answer()
        while let connection = self.connections[number] {
            if let text, let found = connection.input.firstIndex(of: text) {
                answer.rest = Bytes(connection.input[..<(found + text.count)])
                self.connections[number]?.input.removeFirst(found + text.count)
                return answer
            }
            if let ending = connection.ending {
                answer.ending = ending
                break
            }
            guard self.time.now < end else {
                answer.ending = .hangs
                break
            }
            self.take(number, within: 100)
        }
        answer.rest = self.connections[number]?.input ?? []
        self.connections[number]?.input = []
        return answer
    }

    private mutating func drop(_ number: Int) {
        if let connection = self.connections.removeValue(forKey: number) { Socket.end(connection.descriptor) }
    }
}
