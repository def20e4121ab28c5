internal import ParleyDiscovery
internal import Testing

@Suite(.timeLimit(.minutes(5))) struct DNSCodecTests {
    private static func label(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }

    /// A response as another implementation writes it, byte for byte.
    @Test func readsAResponseWithEverythingCompressed() throws {
        var bytes: [UInt8] = [0x12, 0x34, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 1]
        bytes += Self.label("web") + Self.label("service") + Self.label("consul") + [0, 0, 33, 0, 1]
        // SRV, its target compressed, which old servers do: `n1.node`, and from byte 24 on `consul`.
        bytes += [0xC0, 0x0C, 0, 33, 0, 1, 0, 0, 0, 5, 0, 16, 0, 1, 0, 10, 0x1F, 0x90]
        bytes += Self.label("n1") + Self.label("node") + [0xC0, 24]
        bytes += [0xC0, 0x0C, 0, 16, 0, 1, 0, 0, 0, 0, 0, 4] + Self.label("a=b")
        // The target is at byte 54.
        bytes += [0xC0, 54, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 10, 0, 0, 1]
        let message = try DNSMessage(decoding: bytes)
        #expect(message.id == 0x1234)
        #expect(message.isResponse && message.isAuthoritative && message.recursionDesired && message.recursionAvailable)
        #expect(!message.isTruncated)
        #expect(message.questions == [DNSQuestion(try DNSName("web.service.consul"), .srv)])
        let target = try DNSName("n1.node.consul")
        let location = DNSServiceLocation(priority: 1, weight: 10, port: 8_080, target: target)
        #expect(message.answers.map(\.data) == [.srv(location), .txt([Array("a=b".utf8)])])
        #expect(message.answers.first?.ttl == 5)
        #expect(message.additionals == [DNSRecord(target, .address(.v4(0x0A00_0001)))])
    }

    @Test func writesAQueryAsTheStandardSays() throws {
        let question = DNSQuestion(try DNSName("Web.consul"), .aaaa)
        let plain = DNSMessage(id: 0xABCD, asking: question)
        var expected: [UInt8] = [0xAB, 0xCD, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
        expected += Self.label("Web") + Self.label("consul") + [0, 0, 28, 0, 1]
        #expect(plain.encoded().bytes == expected)
        let extended = DNSMessage(id: 0xABCD, asking: question, edns: DNSExtension(udpPayloadSize: 1_232))
        var withOPT = expected
        withOPT[11] = 1
        #expect(extended.encoded().bytes == withOPT + [0, 0, 41, 0x04, 0xD0, 0, 0, 0, 0, 0, 0])
    }

    @Test(arguments: 0..<20) func whatIsWrittenIsReadTheSame(_ seed: UInt64) throws {
        var random = RandomDNS(seed: seed)
        for _ in 0..<100 {
            let message = random.message()
            let encoded = message.encoded()
            #expect(encoded.isWhole)
            let read = try DNSMessage(decoding: encoded.bytes)
            #expect(read == message)
            // Names compare without their case; the bytes show that it is kept.
            #expect(read.encoded().bytes == encoded.bytes)
            #expect(read.answers.map(\.name.wire) == message.answers.map(\.name.wire))
        }
    }

    @Test(arguments: 0..<10) func whatDoesNotFitIsLeftOutByWholeRecords(_ seed: UInt64) throws {
        var random = RandomDNS(seed: 1_000 + seed)
        for _ in 0..<20 {
            var message = random.message()
            message.isTruncated = false
            message.answers += random.records(upTo: 30)
            message.questions = Array(message.questions.prefix(1))
            for limit in stride(from: 512, through: 4_096, by: 97) {
                let encoded = message.encoded(limit: limit)
                #expect(encoded.bytes.count <= limit)
                let read = try DNSMessage(decoding: encoded.bytes)
                let all = message.answers + message.authorities + message.additionals
                let sent = read.answers + read.authorities + read.additionals
                #expect(sent == Array(all.prefix(sent.count)))
                #expect(all.count - sent.count == encoded.omitted + encoded.omittedAdditionals)
                #expect(read.isTruncated == (encoded.omitted > 0))
                #expect(read.edns == message.edns)
                #expect(read.questions == message.questions)
                // Nothing was left out that would have fitted: the next record has at least 11 bytes.
                if sent.count < all.count {
                    var more = read
                    switch sent.count {
                    case ..<message.answers.count: more.answers.append(all[sent.count])
                    case ..<(message.answers.count + message.authorities.count):
                        more.authorities.append(all[sent.count])
                    default: more.additionals.append(all[sent.count])
                    }
                    #expect(more.encoded().bytes.count > limit)
                }
            }
        }
    }

    @Test func missingAdditionalRecordsAreNoTruncation() throws {
        let name = try DNSName("a.b")
        var message = DNSMessage(id: 1)
        message.answers = [DNSRecord(name, .address(.v4(1)))]
        message.additionals = (0..<50).map { _ in DNSRecord(name, .txt([[UInt8](repeating: 1, count: 100)])) }
        let read = try DNSMessage(decoding: message.encoded(limit: 512).bytes)
        #expect(!read.isTruncated)
        #expect(read.answers.count == 1)
        #expect((1..<50).contains(read.additionals.count))
    }

    @Test func truncationNeedNotBeMarked() throws {
        var message = DNSMessage(id: 1)
        message.answers = (0..<100).map { DNSRecord(.root, .address(.v4($0))) }
        #expect(try DNSMessage(decoding: message.encoded(limit: 512).bytes).isTruncated)
        let unmarked = message.encoded(limit: 512, marksTruncation: false)
        #expect(unmarked.omitted > 0)
        #expect(try !DNSMessage(decoding: unmarked.bytes).isTruncated)
    }

    @Test func compressesAllNamesButTheTargetsOfSRV() throws {
        let name = try DNSName("web.service.consul")
        var message = DNSMessage(id: 1)
        message.answers = (0..<10).map { DNSRecord(name, .address(.v4($0))) }
        // The header, the name once with ten bytes and the address, then two bytes instead of the name.
        #expect(message.encoded().bytes.count == 12 + 20 + 14 + 9 * 16)
        let location = DNSServiceLocation(priority: 1, weight: 1, port: 1, target: name)
        message.answers = [DNSRecord(name, .srv(location)), DNSRecord(name, .cname(name))]
        #expect(message.encoded().bytes.count == 12 + (20 + 10 + 6 + 20) + (2 + 10 + 2))
    }

    @Test func neverGivesANameTheCaseOfAnother() throws {
        let question = DNSQuestion(try DNSName("wEb.Consul"), .a)
        var message = DNSMessage(id: 1, asking: question)
        message.answers = [DNSRecord(try DNSName("web.consul"), .cname(try DNSName("x.Consul")))]
        let read = try DNSMessage(decoding: message.encoded().bytes)
        #expect(read.questions.first?.name.description == "wEb.Consul.")
        #expect(read.answers.first?.name.description == "web.consul.")
        #expect(read.answers.first?.data == .cname(try DNSName("x.Consul")))
    }

    @Test func namesBehindThe16thKilobyteAreNotPointedTo() throws {
        var message = DNSMessage(id: 1)
        message.answers = (0..<400).map { number in
            DNSRecord(.root, .txt([[UInt8](repeating: UInt8(number % 251), count: 60)]))
        }
        let late = try DNSName("late.example")
        message.answers += [DNSRecord(late, .address(.v4(1))), DNSRecord(late, .address(.v4(2)))]
        let encoded = message.encoded()
        #expect(encoded.bytes.count > 0x4000)
        #expect(try DNSMessage(decoding: encoded.bytes) == message)
    }

    @Test func longAndMissingStringsAreMadeSuchAsCanBeSent() throws {
        var message = DNSMessage(id: 1)
        let long = [UInt8](repeating: 7, count: 600)
        message.answers = [DNSRecord(.root, .txt([long])), DNSRecord(.root, .txt([]))]
        let read = try DNSMessage(decoding: message.encoded().bytes)
        #expect(
            read.answers.map(\.data) == [
                .txt([Array(long[..<255]), Array(long[..<255]), Array(long[..<90])]), .txt([[]]),
            ]
        )
        // What no record can hold is left out.
        message.answers = [
            DNSRecord(.root, .opaque(DNSRecordType(rawValue: 999), [UInt8](repeating: 1, count: 70_000)))
        ]
        #expect(message.encoded().omitted == 1)
    }

    @Test func addressesOfOtherClassesAreOpaque() throws {
        var message = DNSMessage(id: 1)
        message.answers = [DNSRecord(.root, .opaque(.a, [1, 2, 3]), recordClass: .chaos)]
        #expect(try DNSMessage(decoding: message.encoded().bytes) == message)
    }
}
