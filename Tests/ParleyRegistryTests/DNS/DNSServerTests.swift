internal import HTTPTestSupport
internal import NIOCore
internal import NIOPosix
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyRegistry
internal import ServiceLifecycle
internal import Testing

/// Over real sockets: `dig` asks, and what is not DNS is sent by hand.
@Suite(.timeLimit(.minutes(5))) struct DNSServerTests {
    private let shop = ShopRegistry([
        .web("10.0.0.1", tags: ["v1", "a.b"], weights: .init(passing: 10)), .web("10.0.0.2", .warning),
        .web("10.0.0.3", .critical), .web("fd00::1"),
    ])

    @Test func digFindsWhatIsThere() async throws {
        try await withDNSServer(self.shop) { server in
            let addresses = try await Dig.ask(server, "Web.service.consul")
            #expect(addresses.status == "NOERROR" && addresses.transport == "UDP")
            #expect(addresses.flags.isSuperset(of: ["qr", "aa"]) && addresses.flags.isDisjoint(with: ["ra", "tc"]))
            #expect(
                Set(addresses.answers) == [
                    "Web.service.consul. 0 IN A 10.0.0.1", "Web.service.consul. 0 IN A 10.0.0.2",
                ]
            )
            let tagged = try await Dig.ask(server, "a.b.web.service.dc1.consul", "SRV")
            #expect(tagged.answers == ["a.b.web.service.dc1.consul. 0 IN SRV 1 10 80 0a000001.addr.dc1.consul."])
            #expect(tagged.additionals == ["0a000001.addr.dc1.consul. 0 IN A 10.0.0.1"])
            #expect(try await Dig.ask(server, "_web._tcp.service.consul", "SRV", "+tcp").answers.count == 3)
            #expect(
                try await Dig.ask(server, "web.service.consul", "AAAA").answers == [
                    "web.service.consul. 0 IN AAAA fd00::1"
                ]
            )
            #expect(
                try await Dig.ask(server, "n1.node.consul", "TXT").answers == [
                    "n1.node.consul. 0 IN TXT \"rack=a\"", "n1.node.consul. 0 IN TXT \"zone=b\"",
                ]
            )
            #expect(
                try await Dig.ask(server, "-x", "10.0.0.2").answers == [
                    "2.0.0.10.in-addr.arpa. 0 IN PTR web.service.dc1.consul."
                ]
            )
            #expect(
                try await Dig.ask(server, "-x", "fd00::1").answers.first?.hasSuffix("PTR web.service.dc1.consul.")
                    == true
            )
            #expect(try await Dig.ask(server, "consul", "NS").answers == ["consul. 0 IN NS n1.node.dc1.consul."])
        }
    }

    @Test func digIsToldWhatIsNotThere() async throws {
        try await withDNSServer(self.shop) { server in
            let unknown = try await Dig.ask(server, "nope.service.consul")
            #expect(unknown.status == "NXDOMAIN" && unknown.flags.contains("aa") && unknown.answers.isEmpty)
            let soa = try #require(unknown.authorities.first).split(separator: " ").map(String.init)
            #expect(soa.prefix(6) == ["consul.", "0", "IN", "SOA", "ns.consul.", "hostmaster.consul."])
            #expect(soa.suffix(4) == ["3600", "600", "86400", "0"])
            // The time of day, in seconds.
            let serial = try #require(Int64(soa[6]))
            #expect(abs(serial - SystemTimeSource().wallTime.milliseconds / 1_000) < 600)
            let empty = try await Dig.ask(server, "web.service.consul", "MX")
            #expect(empty.status == "NOERROR" && empty.answers.isEmpty && empty.authorities.count == 1)
            let outside = try await Dig.ask(server, "example.com")
            #expect(outside.status == "REFUSED" && !outside.flags.contains("aa"))
            #expect(try await Dig.ask(server, "consul", "AXFR", "+tcp").text.contains("Transfer failed"))
            #expect(try await Dig.ask(server, "web.service.consul", "+opcode=status").status == "NOTIMP")
            #expect(
                try await Dig.ask(server, "web.service.consul", "+edns=1", "+noednsnegotiation").status == "BADVERS"
            )
            #expect(try await Dig.ask(server, "web.service.consul", "-c", "CH").status == "REFUSED")
        }
    }

    @Test func digAsksAgainOverTCPWhenTheAnswerIsTruncated() async throws {
        let many = ShopRegistry(RegistryDNSInstance.many(1_000))
        try await withDNSServer(many) { server in
            let cut = try await Dig.ask(server, "web.service.consul", "+ignore")
            #expect(cut.flags.contains("tc") && cut.transport == "UDP" && (60...100).contains(cut.answers.count))
            let all = try await Dig.ask(server, "web.service.consul")
            #expect(all.transport == "TCP" && Set(all.answers).count == 1_000 && !all.flags.contains("tc"))
            let locations = try await Dig.ask(server, "web.service.consul", "SRV")
            #expect(locations.transport == "TCP" && Set(locations.answers).count == 1_000)
            let small = try await Dig.ask(server, "web.service.consul", "+noedns", "+ignore")
            #expect(small.answers.count == 3 && small.flags.contains("tc"))
        }
        try await withDNSServer(many, { $0.marksTruncation = false }) { server in
            let cut = try await Dig.ask(server, "web.service.consul")
            #expect(cut.transport == "UDP" && !cut.flags.contains("tc") && (60...100).contains(cut.answers.count))
        }
    }

    @Test func theResolverFindsAThousandInstances() async throws {
        try await withDNSServer(ShopRegistry(RegistryDNSInstance.many(1_000))) { server in
            var configuration = DNSResolver.Configuration(
                nameServers: [server],
                lookup: .locations(domain: "service.consul")
            )
            configuration.attemptTimeout = .seconds(60)
            let resolver = try DNSResolver(configuration)
            let instances = try await resolver.resolve("web")
            #expect(Set(instances.map(\.endpoint.host)).count == 1_000)
            #expect(instances.allSatisfy { $0.endpoint.port == 8_000 })
            #expect(try await resolver.resolve("nope").isEmpty)
        }
    }

    @Test func aChangeIsAnsweredAtOnce() async throws {
        try await withDNSServer(self.shop) { server in
            let before = try await Dig.ask(server, "late.service.consul")
            self.shop.add([.web("10.9.9.9", service: "late")])
            let after = try await Dig.ask(server, "late.service.consul")
            #expect(before.status == "NXDOMAIN" && after.answers.count == 1)
        }
    }

    // MARK: What nobody should send

    @Test func answersAfterTenThousandDatagramsOfGarbage() async throws {
        let random = SeededRandomSource(seed: 11)
        let query = DNSMessage(id: 1, asking: DNSQuestion(try DNSName("web.service.consul"), .srv)).encoded().bytes
        let garbage = (0..<10_000).map { number in
            if number % 3 == 0 {
                var damaged = query
                damaged[Int(random.next() % UInt64(query.count))] = UInt8(truncatingIfNeeded: random.next())
                return damaged
            }
            return (0..<Int(random.next() % 600)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        }
        try await withDNSServer(self.shop) { server in
            try await sendDatagrams(garbage, to: server)
            #expect(try await Dig.ask(server, "web.service.consul").answers.count == 2)
        }
    }

    @Test func manyQueriesOnOneConnectionAreAnsweredInTheirOrder() async throws {
        try await withDNSServer(self.shop) { server in
            try await DNSStream.with(server) { stream in
                let question = DNSQuestion(try DNSName("web.service.consul"), .a)
                let queries = (0..<500 as Range<UInt16>).map { DNSMessage(id: $0, asking: question) }
                // Cut anywhere.
                let bytes = queries.flatMap { DNSStream.framed($0) }
                for start in stride(from: 0, to: bytes.count, by: 1_009) {
                    try await stream.send(Array(bytes[start..<min(start + 1_009, bytes.count)]))
                }
                for id in 0..<500 as Range<UInt16> {
                    let answer = try #require(try await stream.next())
                    #expect(answer.id == id && answer.answers.count == 2)
                }
            }
        }
    }

    @Test func whoSendsAndDoesNotReadHoldsLittle() async throws {
        // 2,000 answers of 60 KB would be 120 MB; the connection stands still instead, and others are answered.
        try await withDNSServer(ShopRegistry(RegistryDNSInstance.many(1_000))) { server in
            try await DNSStream.with(server) { stream in
                let query = DNSMessage(id: 1, asking: DNSQuestion(try DNSName("web.service.consul"), .srv))
                let framed = DNSStream.framed(query)
                try await stream.send((0..<2_000).flatMap { _ in framed })
                #expect(try await Dig.ask(server, "web.service.consul", "+tcp").answers.count == 1_000)
                // What was asked is answered when it is read.
                for _ in 0..<50 { #expect(try await stream.next()?.answers.count == 1_000) }
            }
        }
    }

    @Test(
        arguments: [
            [0, 3, 1, 2, 3], [0, 0], [0, 12] + [UInt8](repeating: 0xFF, count: 12),
        ] as [[UInt8]]
    )
    func aConnectionThatCarriesNoQueriesIsClosed(_ bytes: [UInt8]) async throws {
        try await withDNSServer(self.shop) { server in
            try await DNSStream.with(server) { stream in
                let query = DNSMessage(id: 1, asking: DNSQuestion(try DNSName("web.service.consul"), .a))
                try await stream.send(DNSStream.framed(query) + bytes)
                #expect(try await stream.next()?.answers.count == 2)
                #expect(try await stream.next() == nil)
            }
        }
    }

    @Test func aDamagedQueryOverTCPIsAFormatErrorAndNotTheEnd() async throws {
        try await withDNSServer(self.shop) { server in
            try await DNSStream.with(server) { stream in
                let query = DNSMessage(id: 1, asking: DNSQuestion(try DNSName("web.service.consul"), .a))
                try await stream.send([0, 13, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9] + DNSStream.framed(query))
                let error = try #require(try await stream.next())
                #expect(error.id == 2 && error.responseCode == .formatError)
                #expect(try await stream.next()?.answers.count == 2)
            }
        }
    }

    @Test func aConnectionWithoutAWholeQueryIsClosedAfterTheIdleTime() async throws {
        try await withDNSServer(self.shop, { $0.idleTimeout = .milliseconds(300) }) { server in
            // Nothing, and what is promised and never comes.
            for bytes in [[], [0, 100, 1]] as [[UInt8]] {
                try await DNSStream.with(server) { stream in
                    if !bytes.isEmpty { try await stream.send(bytes) }
                    let answer = try await stream.next()
                    #expect(answer == nil)
                }
            }
            let answers = try await Dig.ask(server, "web.service.consul", "+tcp").answers
            #expect(answers.count == 2)
        }
    }

    @Test func moreConnectionsThanTheLimitAreClosed() async throws {
        try await withDNSServer(self.shop, { $0.maximumConnections = 2 }) { server in
            let question = DNSQuestion(try DNSName("web.service.consul"), .a)
            let framed = DNSStream.framed(DNSMessage(id: 1, asking: question))
            try await DNSStream.with(server) { first in
                try await first.send(framed)
                #expect(try await first.next() != nil)
                try await DNSStream.with(server) { second in
                    try await second.send(framed)
                    #expect(try await second.next() != nil)
                    try await DNSStream.with(server) { third in
                        // Closed without an answer, or reset before it could be sent.
                        try? await third.send(framed)
                        let answer = try await third.next()
                        #expect(answer == nil)
                    }
                }
            }
            // There is room again.
            let answers = try await Dig.ask(server, "web.service.consul", "+tcp", "+retry=5").answers
            #expect(answers.count == 2)
        }
    }

    @Test func datagramsBeyondTheRateAreDropped() async throws {
        try await withDNSServer(self.shop, { $0.udpQueriesPerSecond = 1 }) { server in
            let query = DNSMessage(id: 1, asking: DNSQuestion(try DNSName("web.service.consul"), .a)).encoded().bytes
            let time = SystemTimeSource()
            let start = time.now
            try await sendDatagrams(Array(repeating: query, count: 50), to: server)
            // It is behind them, on the same socket, and asks until it is let in.
            let last = try await Dig.ask(server, "web.service.consul", "+time=1", "+tries=100")
            let seconds = Int(start.duration(to: time.now).components.seconds)
            #expect(last.answers.count == 2)
            #expect((2...(2 + seconds)).contains(self.shop.questions))
        }
    }

    // MARK: Starting and stopping

    @Test func aPortInUseIsAnErrorThatSaysSo() async throws {
        try await withDNSServer(self.shop) { taken in
            var configuration = DNSServer.Configuration(nodeName: "n1")
            configuration.port = taken.port
            let second = try DNSServer(configuration: configuration, source: self.shop, logger: testLogger)
            let error = await #expect(throws: DNSServerError.self) { try await second.run() }
            #expect(error?.code == .portInUse && error?.message.contains("\(taken.port)") == true)
            let other = await #expect(throws: DNSServerError.self) { _ = try await second.endpoint() }
            #expect(other?.code == .portInUse)
        }
    }

    @Test func anAddressThatIsNotOursIsAnError() async throws {
        var configuration = DNSServer.Configuration(nodeName: "n1")
        configuration.host = "192.0.2.1"
        configuration.port = 0
        let server = try DNSServer(configuration: configuration, source: self.shop, logger: testLogger)
        let error = await #expect(throws: DNSServerError.self) { try await server.run() }
        #expect(error?.code == .addressNotAvailable)
    }

    @Test func refusesAConfigurationThatCannotWork() {
        let changes: [(inout DNSServer.Configuration) -> Void] = [
            { $0.host = "localhost" }, { $0.port = 70_000 }, { $0.domain = "" }, { $0.domain = "." },
            { $0.domain = "a..b" }, { $0.datacenter = "" }, { $0.nodeName = "" }, { $0.nodeName = "a..b" },
            { $0.nodeName = String(repeating: "x", count: 64) }, { $0.udpAnswerLimit = 0 }, { $0.udpAnswerLimit = 9 },
            { $0.maximumDatagramSize = 511 }, { $0.maximumDatagramSize = 65_508 }, { $0.maximumConnections = 0 },
            { $0.idleTimeout = .zero }, { $0.udpQueriesPerSecond = 0 },
        ]
        for change in changes {
            var configuration = DNSServer.Configuration(nodeName: "n1")
            change(&configuration)
            let error = #expect(throws: DNSServerError.self) {
                try DNSServer(configuration: configuration, source: self.shop, logger: testLogger)
            }
            #expect(error?.code == .invalidConfiguration)
        }
    }

    @Test func aShutdownClosesBothSocketsAndLetsAnswersOut() async throws {
        var configuration = DNSServer.Configuration(nodeName: "n1")
        configuration.port = 0
        configuration.idleTimeout = .seconds(200)
        let server = try DNSServer(configuration: configuration, source: self.shop, logger: testLogger)
        let endpoint = try await withRunning(server) { group in
            let endpoint = try await server.endpoint()
            try await DNSStream.with(endpoint) { stream in
                let query = DNSMessage(id: 1, asking: DNSQuestion(try DNSName("web.service.consul"), .a))
                try await stream.send(DNSStream.framed(query))
                #expect(try await stream.next()?.answers.count == 2)
                await group.triggerGracefulShutdown()
                #expect(try await stream.next() == nil)
            }
            return endpoint
        }
        // Both are free again.
        var again = DNSServer.Configuration(nodeName: "n1")
        again.port = endpoint.port
        let next = try DNSServer(configuration: again, source: self.shop, logger: testLogger)
        try await withRunning(next) { _ in
            let listening = try await next.endpoint()
            #expect(listening == endpoint)
        }
    }

    @Test func aServerThatIsCancelledBeforeItListensEnds() async throws {
        var configuration = DNSServer.Configuration(nodeName: "n1")
        configuration.port = 0
        for _ in 0..<20 {
            let server = try DNSServer(configuration: configuration, source: self.shop, logger: testLogger)
            await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await server.run() }
                group.cancelAll()
                _ = await group.nextResult()
            }
            _ = try? await server.endpoint()
        }
    }
}
