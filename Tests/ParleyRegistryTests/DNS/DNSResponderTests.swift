internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyTestKit
internal import Testing

@testable internal import ParleyRegistry

@Suite(.timeLimit(.minutes(3))) struct DNSResponderTests {
    private func responder(
        _ source: ShopRegistry,
        _ change: (inout DNSResponder.Limits) -> Void = { _ in }
    ) throws -> DNSResponder {
        var limits = DNSResponder.Limits()
        change(&limits)
        return DNSResponder(
            zone: DNSZone(settings: .init(domain: try DNSName("consul"), datacenter: "dc1", nodeName: "n1")),
            source: source,
            limits: limits,
            time: ManualClock(),
            random: SeededRandomSource(seed: 1)
        )
    }

    private func query(
        _ name: String = "web.service.consul",
        _ type: DNSRecordType = .a,
        size: UInt16? = nil
    ) throws -> DNSMessage {
        let edns = size.map { DNSExtension(udpPayloadSize: $0) }
        return DNSMessage(id: 9, asking: DNSQuestion(try DNSName(name), type), edns: edns)
    }

    private func answer(
        _ query: DNSMessage,
        from responder: DNSResponder,
        over transport: DNSResponder.Transport = .udp,
        atMost limit: Int
    ) throws -> DNSMessage {
        let bytes = try #require(responder.respond(to: query.encoded().bytes, over: transport))
        #expect(bytes.count <= limit)
        return try DNSMessage(decoding: bytes)
    }

    // MARK: How much is sent

    @Test func withoutEDNSAFewAnswersAreSent() throws {
        let responder = try self.responder(ShopRegistry(RegistryDNSInstance.many(40)))
        let short = try self.answer(self.query(), from: responder, atMost: 512)
        #expect(short.answers.count == 3 && short.isTruncated && short.edns == nil)
        let long = try self.answer(self.query(), from: responder, over: .tcp, atMost: 65_535)
        #expect(long.answers.count == 40 && !long.isTruncated)
        let few = try self.responder(ShopRegistry(RegistryDNSInstance.many(3)))
        #expect(try !self.answer(self.query(), from: few, atMost: 512).isTruncated)
        let more = try self.responder(ShopRegistry(RegistryDNSInstance.many(40))) { $0.udpAnswers = 8 }
        #expect(try self.answer(self.query(), from: more, atMost: 512).answers.count == 8)
    }

    @Test func theSizeOfEDNSIsUsed() throws {
        let responder = try self.responder(ShopRegistry(RegistryDNSInstance.many(40)))
        let all = try self.answer(self.query(size: 1_232), from: responder, atMost: 1_232)
        #expect(all.answers.count == 40 && !all.isTruncated)
        #expect(all.edns == DNSExtension(udpPayloadSize: 4_096))
        // Each location needs its address, so 19 of them fit; all do where there is room.
        let some = try self.answer(self.query(type: .srv, size: 1_232), from: responder, atMost: 1_232)
        #expect(some.answers.count == 19 && some.additionals.count == 19 && some.isTruncated)
        let wide = try self.answer(self.query(type: .srv, size: 4_096), from: responder, atMost: 4_096)
        #expect(wide.answers.count == 40 && wide.additionals.count == 40 && !wide.isTruncated)
        // 512 and less is as good as nothing.
        for size in [0, 100, 512] as [UInt16] {
            #expect(try self.answer(self.query(size: size), from: responder, atMost: 512).answers.count == 3)
        }
    }

    private func query(type: DNSRecordType, size: UInt16) throws -> DNSMessage {
        try self.query("web.service.consul", type, size: size)
    }

    @Test func noDatagramIsLargerThanTheServerAllows() throws {
        let responder = try self.responder(ShopRegistry(RegistryDNSInstance.many(2_000))) { $0.datagram = 1_400 }
        let answer = try self.answer(self.query(size: 65_535), from: responder, atMost: 1_400)
        #expect(answer.isTruncated && answer.answers.count > 80)
        #expect(answer.edns?.udpPayloadSize == 1_400)
    }

    @Test func truncationNeedNotBeMarked() throws {
        let responder = try self.responder(ShopRegistry(RegistryDNSInstance.many(400))) { $0.marksTruncation = false }
        #expect(try !self.answer(self.query(), from: responder, atMost: 512).isTruncated)
        #expect(try !self.answer(self.query(size: 1_232), from: responder, atMost: 1_232).isTruncated)
    }

    @Test func overTCPAsManyAsAMessageHolds() throws {
        let thousand = try self.responder(ShopRegistry(RegistryDNSInstance.many(1_000)))
        let srv = try self.query("web.service.consul", .srv)
        let all = try self.answer(srv, from: thousand, over: .tcp, atMost: 65_535)
        #expect(all.answers.count == 1_000 && all.additionals.count > 900 && !all.isTruncated)
        let more = try self.responder(ShopRegistry(RegistryDNSInstance.many(10_000)))
        let addresses = try self.answer(self.query(), from: more, over: .tcp, atMost: 65_535)
        #expect(addresses.answers.count > 4_000 && addresses.isTruncated)
        let some = try self.answer(srv, from: more, over: .tcp, atMost: 65_535)
        #expect(some.answers.count > 1_400 && some.additionals.isEmpty && some.isTruncated)
    }

    @Test func whatIsTooMuchForOneAnswerStillGivesTheAnswer() throws {
        let meta = Dictionary(uniqueKeysWithValues: (0..<50).map { ("key\($0)", String(repeating: "v", count: 200)) })
        let node = RegistryDNSNode(name: "n2", address: "10.0.0.1", meta: meta)
        let responder = try self.responder(ShopRegistry([.web("", node: node)]))
        let answer = try self.answer(self.query("web.service.consul", .srv), from: responder, atMost: 512)
        #expect(answer.answers.count == 1)
        #expect(answer.additionals.first?.type == .a)
    }

    // MARK: What is not a question

    @Test func whatIsNoQueryIsNotAnswered() throws {
        let responder = try self.responder(ShopRegistry())
        for length in 0..<12 { #expect(responder.respond(to: [UInt8](repeating: 0, count: length), over: .udp) == nil) }
        var response = try self.query()
        response.isResponse = true
        #expect(responder.respond(to: response.encoded().bytes, over: .udp) == nil)
        #expect(responder.respond(to: [UInt8](repeating: 0xFF, count: 100), over: .tcp) == nil)
    }

    @Test func damagedQueriesAreAFormatError() throws {
        let responder = try self.responder(ShopRegistry(RegistryDNSInstance.many(2)))
        let good = try self.query().encoded().bytes
        for length in 12..<good.count {
            let answer = try #require(responder.respond(to: Array(good.prefix(length)), over: .udp))
            let message = try DNSMessage(decoding: answer)
            #expect(message.responseCode == .formatError && message.id == 9 && message.questions.isEmpty)
            #expect(answer.count == 12)
        }
        for count in [0, 2] {
            var query = try self.query()
            query.questions = Array(repeating: try #require(query.questions.first), count: count)
            #expect(try self.answer(query, from: responder, atMost: 512).responseCode == .formatError)
        }
    }

    @Test func otherOperationsAreNotImplemented() throws {
        let responder = try self.responder(ShopRegistry())
        for opcode in 1..<16 as Range<UInt8> {
            var query = try self.query()
            query.opcode = DNSOpcode(rawValue: opcode)
            let answer = try self.answer(query, from: responder, atMost: 512)
            #expect(answer.responseCode == .notImplemented && answer.opcode.rawValue == opcode)
        }
    }

    @Test func otherVersionsOfEDNSAreSaidToBeUnknown() throws {
        let responder = try self.responder(ShopRegistry(RegistryDNSInstance.many(2)))
        var query = try self.query(size: 1_232)
        query.edns?.version = 1
        let answer = try self.answer(query, from: responder, atMost: 1_232)
        #expect(answer.responseCode == .badVersion && answer.edns?.version == 0 && answer.answers.isEmpty)
    }

    @Test func theFlagsOfTheQueryComeBackAsTheyShould() throws {
        let responder = try self.responder(ShopRegistry(RegistryDNSInstance.many(2)))
        var query = try self.query(size: 1_232)
        query.recursionDesired = false
        query.checkingDisabled = true
        query.isAuthenticData = true
        query.isTruncated = true
        query.edns?.dnssecOK = true
        let answer = try self.answer(query, from: responder, atMost: 1_232)
        #expect(!answer.recursionDesired && answer.checkingDisabled && answer.edns?.dnssecOK == true)
        #expect(!answer.isAuthenticData && !answer.isTruncated && !answer.recursionAvailable && answer.isAuthoritative)
    }

    @Test(arguments: 0..<4) func damageNeverStopsIt(_ seed: UInt64) throws {
        let registry = ShopRegistry(RegistryDNSInstance.many(20) + [.web("host.example", service: "other")])
        let responder = try self.responder(registry)
        let random = SeededRandomSource(seed: seed)
        let names = [
            "web.service.consul", "_web._tcp.service.consul", "0a000001.addr.consul", "1.0.0.127.in-addr.arpa",
        ]
        var answered = 0
        for round in 0..<5_000 {
            let edns = random.next() % 2 == 0 ? UInt16(truncatingIfNeeded: random.next()) : nil
            let type = DNSRecordType(rawValue: UInt16(random.next() % 260))
            var bytes = try self.query(names[round % names.count], type, size: edns).encoded().bytes
            for _ in 0..<random.next() % 4 {
                bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            }
            for transport in [.udp, .tcp] as [DNSResponder.Transport] {
                guard let answer = responder.respond(to: bytes, over: transport) else { continue }
                answered += 1
                // What it says can be read, and answers what came.
                let message = try DNSMessage(decoding: answer)
                #expect(message.isResponse && answer.prefix(2).elementsEqual(bytes.prefix(2)))
                if transport == .udp { #expect(answer.count <= 4_096) }
            }
        }
        #expect(answered > 5_000)
    }
}
