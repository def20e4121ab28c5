internal import ParleyCore

/// One connection of an upstream: takes requests apart, plays their scripts. It never waits; ``UpstreamSet`` calls it
/// when there is something to read, room to write, or when its time has come.
struct UpstreamConnection {
    let descriptor: Int32
    let instance: String
    let number: Int
    /// Where its current request stands in the record.
    private(set) var record: Int?
    private(set) var wakesAt: ContinuousClock.Instant?
    private(set) var isOver = false

    private var input: Bytes = []
    private var output: Bytes = []
    private var steps: ArraySlice<Script.Step>?
    private var ordinal = 0
    private var echoes = false
    private var drains = false

    init(_ descriptor: Int32, _ instance: String, _ number: Int) {
        self.descriptor = descriptor
        self.instance = instance
        self.number = number
    }

    var wantsToWrite: Bool { !self.output.isEmpty }

    /// - Returns: Whether there was anything to read.
    mutating func readable(_ records: inout [Received], _ scripts: [String: Script], _ time: any TimeSource) -> Bool {
        switch Socket.read(self.descriptor) {
        case .nothing:
            return false
        case .reset, .end:
            // No gateway closes one direction only, but for what has been upgraded.
            if let record { records[record].isCut = true }
            self.endAfterOutput()
        case .bytes(let bytes):
            if self.drains { return true }
            self.input += bytes
            self.advance(&records, scripts, time)
        }
        return true
    }

    mutating func writable() {
        guard let count = Socket.write(self.descriptor, self.output[...]) else { return self.end() }
        self.output.removeFirst(count)
    }

    mutating func advance(_ records: inout [Received], _ scripts: [String: Script], _ time: any TimeSource) {
        while !self.isOver {
            self.takeHead(&records)
            guard let record = self.record else { break }
            if !records[record].isComplete { self.takeBody(&records[record]) }
            if self.steps == nil {
                let script = Self.script(for: records[record], scripts)
                guard records[record].isComplete || script.isEarly else { break }
                self.steps = script.steps[...]
            }
            guard self.play(records[record], time), records[record].isComplete else { break }
            self.record = nil
            self.steps = nil
            if !records[record].isKeptAlive { self.endAfterOutput() }
        }
        if !self.isOver, self.wantsToWrite { self.writable() }
    }

    mutating func end(byReset: Bool = false) {
        guard !self.isOver else { return }
        if byReset { Socket.reset(self.descriptor) } else { Socket.end(self.descriptor) }
        self.isOver = true
    }

    /// What is still to be written goes first; a socket that has unread bytes would reset instead of ending.
    private mutating func endAfterOutput() {
        while !self.output.isEmpty, !self.isOver {
            guard Socket.isReady(self.descriptor, for: Socket.canWrite, within: 2_000) else { break }
            self.writable()
        }
        self.end()
    }

    private mutating func takeHead(_ records: inout [Received]) {
        guard self.record == nil, let end = self.input.firstIndex(of: Bytes.headEnd) else { return }
        self.ordinal += 1
        let head = Bytes(self.input[..<(end + 4)])
        self.input.removeFirst(end + 4)
        self.record = records.count
        records.append(
            Received(instance: self.instance, connection: self.number, ordinal: self.ordinal, head: head)
        )
    }

    private mutating func takeBody(_ received: inout Received) {
        if received.values("transfer-encoding").contains("chunked") {
            let chunks = Chunks(self.input)
            received.body += chunks.body
            received.trailer = chunks.trailer
            received.isComplete = chunks.isComplete
            self.input.removeFirst(chunks.taken)
        } else {
            let length = received.values("content-length").first.flatMap { Int($0) } ?? 0
            let part = Swift.min(length - received.body.count, self.input.count)
            received.body += self.input[..<part]
            self.input.removeFirst(part)
            received.isComplete = received.body.count == length
        }
    }

    private static func script(for received: Received, _ own: [String: Script]) -> Script {
        guard let value = received.values("x-script").first else { return .saying }
        for part in value.split(separator: ",") {
            let pair = part.split(separator: "=").map { $0.drop { $0 == " " } }
            if pair.count == 1 { return .named(String(pair[0]), in: own) }
            if pair[0] == received.instance { return .named(String(pair[1]), in: own) }
        }
        return .saying
    }

    /// - Returns: Whether the script is through.
    private mutating func play(_ received: Received, _ time: any TimeSource) -> Bool {
        if self.echoes {
            self.output += self.input
            self.input = []
            return false
        }
        if let wakesAt {
            guard time.now >= wakesAt else { return false }
            self.wakesAt = nil
        }
        while let step = self.steps?.popFirst() {
            switch step {
            case .answer(let status, let fields, let body, let framing):
                self.output += Self.answer(status, fields, body, framing, received)
                if case .close = framing { self.close(received) }
            case .raw(let text):
                self.output += Bytes(text)
            case .bytes(let count):
                self.output += Bytes(repeating: 120, count: count)
            case .wait(let milliseconds):
                if self.wantsToWrite { self.writable() }
                self.wakesAt = time.now.advanced(by: .milliseconds(milliseconds))
                return false
            case .closeWriting:
                self.flush()
                Socket.closeWriting(self.descriptor)
            case .close:
                self.close(received)
            case .reset:
                self.flush()
                self.end(byReset: true)
            case .echo:
                self.echoes = true
                return self.play(received, time)
            }
            if self.isOver || self.drains { return false }
        }
        return true
    }

    private mutating func close(_ received: Received) {
        guard !received.isComplete else { return self.endAfterOutput() }
        self.flush()
        Socket.closeWriting(self.descriptor)
        self.drains = true
    }

    private mutating func flush() {
        while !self.output.isEmpty, !self.isOver {
            guard Socket.isReady(self.descriptor, for: Socket.canWrite, within: 2_000) else { return }
            self.writable()
        }
    }

    private static func answer(
        _ status: String,
        _ fields: [String],
        _ text: String,
        _ framing: Script.Framing,
        _ received: Received
    ) -> Bytes {
        let body = Bytes(text).replacing(Bytes("{name}"), with: Bytes(received.instance))
            .replacing(Bytes("{line}"), with: received.line)
            .replacing(Bytes("{body}"), with: received.body)
        var head = Bytes("HTTP/1.1 \(status)\r\n")
        for field in fields { head += Bytes(field + "\r\n") }
        let hasBody = received.method != "HEAD"
        switch framing {
        case .length:
            return head + Bytes("Content-Length: \(body.count)\r\n\r\n") + (hasBody ? body : [])
        case .close:
            return head + Bytes("Connection: close\r\n\r\n") + (hasBody ? body : [])
        case .chunked(let trailer):
            head += Bytes("Transfer-Encoding: chunked\r\n\r\n")
            guard hasBody else { return head }
            // In two, so that the mark between them must be found.
            for part in [body[..<(body.count / 2)], body[(body.count / 2)...]] where !part.isEmpty {
                head += Bytes(String(part.count, radix: 16) + "\r\n") + part + Bytes.lineEnd
            }
            return head + Bytes("0\r\n\(trailer)\r\n")
        }
    }
}
