import NIOCore
import ParleyCore
import RedisTestSupport
import Testing

@testable import ParleyRESP

@Suite struct ParserTests {
    /// The types of RESP2 and RESP3, as the specification writes them.
    static let examples: [(String, RESPValue)] = [
        ("+OK\r\n", .simpleString("OK")),
        ("+\r\n", .simpleString("")),
        ("-ERR unknown command 'x'\r\n", .simpleError("ERR unknown command 'x'")),
        (":1234\r\n", .number(1_234)),
        (":+7\r\n", .number(7)),
        (":-9223372036854775808\r\n", .number(.min)),
        (":9223372036854775807\r\n", .number(.max)),
        ("$11\r\nhello\r\nyou!\r\n", .bulkString(Array("hello\r\nyou!".utf8))),
        ("$0\r\n\r\n", .bulkString([])),
        ("$-1\r\n", .null),
        ("*-1\r\n", .null),
        ("_\r\n", .null),
        (",1.25\r\n", .double(1.25)),
        (",-2e3\r\n", .double(-2_000)),
        (",10\r\n", .double(10)),
        (",inf\r\n", .double(.infinity)),
        (",-inf\r\n", .double(-.infinity)),
        ("#t\r\n", .boolean(true)),
        ("#f\r\n", .boolean(false)),
        ("!8\r\nERR a\r\nb\r\n", .bulkError("ERR a\r\nb")),
        ("=8\r\ntxt:Some\r\n", .verbatimString(format: "txt", Array("Some".utf8))),
        (
            "(-3492890328409238509324850943850943825024385\r\n",
            .bigNumber("-3492890328409238509324850943850943825024385")
        ),
        ("*0\r\n", .array([])),
        ("*2\r\n:1\r\n*1\r\n+a\r\n", .array([.number(1), .array([.simpleString("a")])])),
        ("~1\r\n:1\r\n", .set([.number(1)])),
        ("%1\r\n+k\r\n_\r\n", .map([RESPPair(key: .simpleString("k"), value: .null)])),
        (">2\r\n+invalidate\r\n*0\r\n", .push([.simpleString("invalidate"), .array([])])),
        (
            "|1\r\n+ttl\r\n:3\r\n*1\r\n:1\r\n",
            .attributed([RESPPair(key: .simpleString("ttl"), value: .number(3))], .array([.number(1)]))
        ),
        (
            "*2\r\n:1\r\n|1\r\n+a\r\n+b\r\n:2\r\n",
            .array([
                .number(1), .attributed([RESPPair(key: .simpleString("a"), value: .simpleString("b"))], .number(2)),
            ])
        ),
    ]

    @Test(arguments: examples) func readsEveryType(_ text: String, _ expected: RESPValue) throws {
        var parser = RESPParser()
        var buffer = ByteBuffer(string: text)
        #expect(try parser.next(from: &buffer) == expected)
        #expect(buffer.readableBytes == 0)
        #expect(parser.isBetweenValues)
    }

    @Test func notANumberIsADouble() throws {
        var parser = RESPParser()
        var buffer = ByteBuffer(string: ",nan\r\n")
        guard case .double(let value)? = try parser.next(from: &buffer) else {
            Issue.record("no double")
            return
        }
        #expect(value.isNaN)
    }

    @Test(arguments: [
        "?\r\n", "hello\r\n", "\r\n", "\n", "+a\nb\r\n", "+a\rb\r\n", ":\r\n", ":+\r\n", ":1a\r\n", ": 1\r\n",
        ":9223372036854775808\r\n", ":-9223372036854775809\r\n", "$\r\n", "$-2\r\n", "$+1\r\n", "$1a\r\n", "$?\r\n",
        "$2\r\nabc\r\n", "$99999999999999999999\r\n", "*?\r\n", "*-2\r\n", "%-1\r\n", "~-1\r\n", ">-1\r\n", "!-1\r\n",
        "#x\r\n", "#\r\n", "#tt\r\n", "_x\r\n", ",\r\n", ",0x1p3\r\n", ",infinity\r\n", ",1.2.3\r\n", "(\r\n",
        "(1.5\r\n",
        "(-\r\n", "=3\r\ntxt\r\n", "=4\r\ntxt \r\n", "*1\r\n>1\r\n+a\r\n", "|1\r\n+a\r\n+b\r\n>0\r\n",
        "HTTP/1.1 200 OK\r\n",
        "\u{16}\u{3}\u{1}", "*999999999999999999\r\n", "$999999999999999999\r\n",
    ]) func refusesWhatIsNotRESP(_ text: String) {
        var parser = RESPParser()
        // Whatever follows, the damage is seen; and it is seen for ever.
        var buffer = ByteBuffer(string: text + "\r\n\r\n+OK\r\n")
        #expect(throws: RESPProtocolError.self) { while try parser.next(from: &buffer) != nil {} }
        var good = ByteBuffer(string: "+OK\r\n")
        #expect(throws: RESPProtocolError.self) { try parser.next(from: &good) }
    }

    @Test func limitsHoldAtTheLimitAndNotBeyond() throws {
        let limits = RESPLimits(depth: 3, stringLength: 4, lineLength: 32, values: 6, replyLength: 64)
        func parse(_ text: String) throws -> RESPValue? {
            var parser = RESPParser(limits: limits)
            var buffer = ByteBuffer(string: text)
            return try parser.next(from: &buffer)
        }
        #expect(try parse("*1\r\n*1\r\n*1\r\n:1\r\n") != nil)
        #expect(throws: RESPProtocolError.self) { try parse("*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n") }
        #expect(try parse("$4\r\nabcd\r\n") != nil)
        #expect(throws: RESPProtocolError.self) { try parse("$5\r\n") }
        #expect(try parse("+" + String(repeating: "a", count: 31) + "\r\n") != nil)
        #expect(throws: RESPProtocolError.self) { try parse("+" + String(repeating: "a", count: 32) + "\r\n") }
        #expect(try parse("*5\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n") != nil)
        #expect(throws: RESPProtocolError.self) { try parse("*6\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n:1\r\n") }
        #expect(throws: RESPProtocolError.self) { try parse("%4\r\n") }
        let long = "+" + String(repeating: "a", count: 20) + "\r\n"
        #expect(try parse("*2\r\n" + long + long) != nil)
        #expect(throws: RESPProtocolError.self) { try parse("*3\r\n" + long + long + long) }
    }

    @Test func aPromisedLengthTakesNoMemory() throws {
        var parser = RESPParser()
        var buffer = ByteBuffer(string: "*4000000\r\n$500000000\r\nab")
        #expect(try parser.next(from: &buffer) == nil)
        #expect(!parser.isBetweenValues)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>) func anyCutGivesTheSame(_ seed: UInt64) throws {
        let random = SeededRandomSource(seed: seed)
        for _ in 0..<100 {
            let values = (0...Int(random.next() % 5)).map { _ in randomValue(random, depth: 4, isTop: true) }
            var bytes: [UInt8] = []
            for value in values { encode(value, into: &bytes) }
            #expect(try outcome(of: bytes, random: random).values == values)
        }
    }

    @Test(.timeLimit(.minutes(2))) func garbageIsAnErrorAndNeverATrap() throws {
        let random = SeededRandomSource(seed: 42)
        var refused = 0
        for round in 0..<100_000 {
            var bytes: [UInt8] = []
            if round.isMultiple(of: 2) {
                // Bytes that look like RESP more often than chance would.
                let alphabet = Array("+-:$*~%|>_,#(!=0123456789\r\n\r\n\r\ntf?.e".utf8) + [0, 255]
                for _ in 0..<(random.next() % 40) {
                    bytes.append(alphabet[Int(random.next() % UInt64(alphabet.count))])
                }
            } else {
                // Something valid with a few bytes changed.
                encode(randomValue(random, depth: 2, isTop: true), into: &bytes)
                for _ in 0...(random.next() % 3) where !bytes.isEmpty {
                    bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
                }
            }
            let whole = try outcome(of: bytes, random: nil)
            if round.isMultiple(of: 10) {
                // However it is cut, the same values and the same error come out.
                let cut = try outcome(of: bytes, random: random)
                #expect(cut.values.count == whole.values.count && cut.error == whole.error, "\(bytes)")
            }
            if whole.error != nil { refused += 1 }
        }
        #expect(refused > 30_000)
    }
}

/// Feeds the bytes, in random pieces if there is chance, and collects what comes out.
private func outcome(
    of bytes: [UInt8],
    random: SeededRandomSource?
) throws -> (values: [RESPValue], error: RESPProtocolError?) {
    var parser = RESPParser()
    var buffer = ByteBuffer()
    var values: [RESPValue] = []
    var rest = bytes[...]
    while !rest.isEmpty {
        let size = random.map { 1 + Int($0.next() % 7) } ?? rest.count
        buffer.writeBytes(rest.prefix(size))
        rest = rest.dropFirst(size)
        do {
            while let value = try parser.next(from: &buffer) { values.append(value) }
        } catch {
            return (values, error)
        }
        if random?.next().isMultiple(of: 2) == true { buffer.discardReadBytes() }
    }
    return (values, nil)
}

private func randomValue(_ random: SeededRandomSource, depth: Int, isTop: Bool) -> RESPValue {
    func bytes() -> [UInt8] { (0..<(random.next() % 12)).map { _ in UInt8(truncatingIfNeeded: random.next()) } }
    func text() -> String {
        String((0..<(random.next() % 8)).map { _ in Character(Unicode.Scalar(UInt8(32 + random.next() % 90))) })
    }
    func many() -> [RESPValue] {
        (0..<(random.next() % 4)).map { _ in randomValue(random, depth: depth - 1, isTop: false) }
    }
    func pairs() -> [RESPPair] {
        (0..<(random.next() % 3)).map { _ in
            RESPPair(
                key: randomValue(random, depth: depth - 1, isTop: false),
                value: randomValue(random, depth: depth - 1, isTop: false)
            )
        }
    }
    switch random.next() % (depth > 0 ? (isTop ? 15 : 14) : 10) {
    case 0: return .simpleString(text())
    case 1: return .simpleError(text())
    case 2: return .number(Int64(bitPattern: random.next()))
    case 3, 4: return .bulkString(bytes())
    case 5: return .null
    case 6: return .double(Double(Int64(bitPattern: random.next()) >> 20) / 64)
    case 7: return .boolean(random.next().isMultiple(of: 2))
    case 8: return .bigNumber("-\(random.next())\(random.next())")
    case 9: return random.next().isMultiple(of: 2) ? .bulkError(text()) : .verbatimString(format: "mkd", bytes())
    case 10: return .array(many())
    case 11: return .set(many())
    case 12: return .map(pairs())
    case 13:
        let value = randomValue(random, depth: depth - 1, isTop: false)
        if case .attributed = value { return value }
        return .attributed(pairs(), value)
    default: return .push(many())
    }
}

/// Written apart from the sources, so that it cannot share their mistakes.
private func encode(_ value: RESPValue, into bytes: inout [UInt8]) {
    func line(_ text: String) { bytes += Array((text + "\r\n").utf8) }
    func blob(_ marker: String, _ content: [UInt8]) {
        line("\(marker)\(content.count)")
        bytes += content + [13, 10]
    }
    switch value {
    case .simpleString(let text): line("+\(text)")
    case .simpleError(let text): line("-\(text)")
    case .number(let number): line(":\(number)")
    case .bulkString(let content): blob("$", content)
    case .null: line("_")
    case .double(let number): line(",\(number)")
    case .boolean(let truth): line(truth ? "#t" : "#f")
    case .bigNumber(let digits): line("(\(digits)")
    case .bulkError(let text): blob("!", Array(text.utf8))
    case .verbatimString(let format, let content): blob("=", Array("\(format):".utf8) + content)
    case .array(let values):
        line("*\(values.count)")
        for value in values { encode(value, into: &bytes) }
    case .set(let values):
        line("~\(values.count)")
        for value in values { encode(value, into: &bytes) }
    case .push(let values):
        line(">\(values.count)")
        for value in values { encode(value, into: &bytes) }
    case .map(let pairs):
        line("%\(pairs.count)")
        for pair in pairs {
            encode(pair.key, into: &bytes)
            encode(pair.value, into: &bytes)
        }
    case .attributed(let pairs, let value):
        line("|\(pairs.count)")
        for pair in pairs {
            encode(pair.key, into: &bytes)
            encode(pair.value, into: &bytes)
        }
        encode(value, into: &bytes)
    }
}
