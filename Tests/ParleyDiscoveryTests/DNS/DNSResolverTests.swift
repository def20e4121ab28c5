internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyTestKit
internal import Testing

@Suite(.timeLimit(.minutes(3))) struct DNSResolverTests {
    private static func locations(_ server: Endpoint...) -> DNSResolver.Configuration {
        Self.configuration(server, .locations(domain: "service.consul"))
    }

    private static func configuration(
        _ servers: [Endpoint],
        _ lookup: DNSResolver.Lookup
    ) -> DNSResolver.Configuration {
        var configuration = DNSResolver.Configuration(nameServers: servers, lookup: lookup)
        // What really waits waits on a busy machine.
        configuration.attemptTimeout = .seconds(30)
        return configuration
    }

    private static func name(_ text: String) -> DNSName { (try? DNSName(text)) ?? .root }

    private static func location(
        _ name: DNSName,
        _ target: String,
        port: UInt16,
        weight: UInt16 = 1,
        priority: UInt16 = 1,
        ttl: UInt32 = 0
    ) -> DNSRecord {
        let location = DNSServiceLocation(priority: priority, weight: weight, port: port, target: Self.name(target))
        return DNSRecord(name, ttl: ttl, .srv(location))
    }

    private static func address(_ name: String, _ address: String, ttl: UInt32 = 0) -> DNSRecord {
        DNSRecord(Self.name(name), ttl: ttl, .address(IPAddress(address) ?? .v4(0)))
    }

    /// Two instances with everything in one answer.
    private static let two: ScriptedNameServer.Script = { query in
        var answer = query.answer
        answer.answers = [
            Self.location(query.name, "n1.node.consul", port: 8_001, weight: 10, ttl: 30),
            Self.location(query.name, "n2.node.consul", port: 8_002, ttl: 30),
        ]
        answer.additionals = [
            Self.address("n1.node.consul", "10.0.0.1", ttl: 30), Self.address("N2.node.consul", "10.0.0.2", ttl: 30),
        ]
        return [answer.encoded().bytes]
    }

    @Test func findsInstancesByTheirLocations() async throws {
        try await ScriptedNameServer.with(Self.two) { server, script in
            let instances = try await DNSResolver(Self.locations(server)).resolve("web")
            #expect(instances.map(\.endpoint.description) == ["10.0.0.1:8001", "10.0.0.2:8002"])
            #expect(instances.map(\.id) == ["web@10.0.0.1:8001", "web@10.0.0.2:8002"])
            #expect(instances.allSatisfy { $0.service == "web" })
            #expect(instances.first?.metadata == ["dns.host": "n1.node.consul.", "weight": "10"])
            let query = try #require(script.queries.first)
            #expect(query.message.questions == [DNSQuestion(Self.name("web.service.consul"), .srv)])
            #expect(query.message.recursionDesired && !query.message.isResponse)
            #expect(query.message.edns?.udpPayloadSize == 1_232)
        }
    }

    @Test func asksUnderThePrefix() async throws {
        try await ScriptedNameServer.with(Self.two) { server, script in
            let lookup = DNSResolver.Lookup.locations(domain: "svc.cluster.local.", prefix: "_http._tcp")
            _ = try await DNSResolver(Self.configuration([server], lookup)).resolve("web")
            #expect(script.queries.map(\.name) == [Self.name("_http._tcp.web.svc.cluster.local")])
        }
    }

    @Test func onlyTheLowestPriorityCounts() async throws {
        try await ScriptedNameServer.with({ query in
            var answer = query.answer
            answer.answers = [
                Self.location(query.name, "b", port: 2, priority: 20),
                Self.location(query.name, "a", port: 1, priority: 10),
                Self.location(query.name, "a", port: 0, priority: 10),
            ]
            answer.additionals = [Self.address("a", "10.0.0.1"), Self.address("b", "10.0.0.2")]
            return [answer.encoded().bytes]
        }) { server, _ in
            let instances = try await DNSResolver(Self.locations(server)).resolve("web")
            #expect(instances.map(\.endpoint.description) == ["10.0.0.1:1"])
        }
    }

    @Test func aTargetThatIsTheRootIsNobody() async throws {
        try await ScriptedNameServer.with({ query in
            var answer = query.answer
            answer.answers = [Self.location(query.name, ".", port: 80)]
            return [answer.encoded().bytes]
        }) { server, _ in
            let instances = try await DNSResolver(Self.locations(server)).resolve("web")
            #expect(instances.isEmpty)
        }
    }

    @Test func asksForTheHostsThatCameWithoutAddresses() async throws {
        try await ScriptedNameServer.with({ query in
            var answer = query.answer
            switch (query.type, query.name.words.first) {
            case (.srv, _):
                answer.answers = (0..<20).map { Self.location(query.name, "h\($0).x", port: 80) }
            // A host with both families, one with IPv6 only behind a CNAME, one that does not exist.
            case (.a, "h0"): answer.answers = [Self.address("h0.x", "10.0.0.9"), Self.address("h0.x", "10.0.0.8")]
            case (.a, "h1"): answer.answers = [DNSRecord(query.name, .cname(Self.name("other.x")))]
            case (.a, "other"): break
            case (.aaaa, "h1"):
                answer.answers = [
                    DNSRecord(query.name, .cname(Self.name("other.x"))), Self.address("other.x", "fd00::1"),
                ]
            case (.a, "h2"): answer.responseCode = .nameError
            default: answer.responseCode = .refused
            }
            return [answer.encoded().bytes]
        }) { server, _ in
            let endpoints = try await DNSResolver(Self.locations(server)).resolve("web").map(\.endpoint.description)
            #expect(Set(endpoints) == ["10.0.0.9:80", "10.0.0.8:80", "[fd00::1]:80"])
        }
    }

    @Test func findsInstancesByAddressesAndAPort() async throws {
        try await ScriptedNameServer.with({ query in
            var answer = query.answer
            answer.answers = [
                DNSRecord(query.name, ttl: 60, .cname(Self.name("Alias.x"))),
                Self.address("alias.X", "10.0.0.1", ttl: 60), Self.address("alias.x", "10.0.0.1"),
                Self.address("unrelated.x", "10.6.6.6"),
            ]
            return [answer.encoded().bytes]
        }) { server, script in
            let lookup = DNSResolver.Lookup.addresses(domain: "x", port: 8_080)
            let instances = try await DNSResolver(Self.configuration([server], lookup)).resolve("web")
            #expect(instances.map(\.endpoint.description) == ["10.0.0.1:8080"])
            #expect(script.queries.map(\.type) == [.a])
        }
    }

    @Test func aliasesThatGoRoundAreGivenUp() async throws {
        try await ScriptedNameServer.with({ query in
            var answer = query.answer
            let next = query.name == Self.name("a.x") ? "b.x" : "a.x"
            answer.answers = [DNSRecord(query.name, .cname(Self.name(next)))]
            return [answer.encoded().bytes]
        }) { server, script in
            let lookup = DNSResolver.Lookup.addresses(domain: "x", port: 8_080)
            let instances = try await DNSResolver(Self.configuration([server], lookup)).resolve("a")
            #expect(instances.isEmpty)
            #expect(script.queries.count <= 2 * (DNSResolved.maximumAliases + 1))
        }
    }

    @Test func fetchesByTCPWhatDoesNotFitADatagram() async throws {
        try await ScriptedNameServer.with({ query in
            var answer = query.answer
            answer.answers = (1...1_000).map { Self.location(query.name, "n.node.consul", port: UInt16($0)) }
            answer.additionals = [Self.address("n.node.consul", "10.0.0.1")]
            return [answer.encoded(limit: query.isTCP ? 65_535 : 1_232).bytes]
        }) { server, script in
            let instances = try await DNSResolver(Self.locations(server)).resolve("web")
            #expect(Set(instances.map(\.endpoint.port)) == Set(1...1_000))
            #expect(script.queries.map(\.isTCP) == [false, true])
            #expect(Set(script.queries.map(\.message.id)).count == 2)
        }
    }

    @Test func anAnswerThatIsCutInARecordIsFetchedByTCP() async throws {
        try await ScriptedNameServer.with({ query in
            guard !query.isTCP else { return Self.two(query) }
            var bytes = Self.two(query)[0].dropLast(9)
            bytes[2] |= 0x02
            return [Array(bytes)]
        }) { server, _ in
            let instances = try await DNSResolver(Self.locations(server)).resolve("web")
            #expect(instances.count == 2)
        }
    }

    @Test func passesOverWhatDoesNotAnswerTheQuestion() async throws {
        try await ScriptedNameServer.with({ query in
            var forged = query.answer
            forged.answers = [Self.location(query.name, "evil", port: 666)]
            forged.additionals = [Self.address("evil", "6.6.6.6")]
            var otherID = forged
            otherID.id &+= 1
            var otherName = forged
            otherName.questions = [DNSQuestion(Self.name("other.service.consul"), .srv)]
            var otherType = forged
            otherType.questions = [DNSQuestion(query.name, .a)]
            var noQuestion = forged
            noQuestion.questions = []
            var query2 = forged
            query2.isResponse = false
            let strangers = [otherID, otherName, otherType, noQuestion, query2].map { $0.encoded().bytes }
            return [[], [1], Array(forged.encoded().bytes.dropLast())] + strangers + Self.two(query)
        }) { server, script in
            let instances = try await DNSResolver(Self.locations(server)).resolve("web")
            #expect(instances.map(\.endpoint.port) == [8_001, 8_002])
            #expect(script.queries.count == 1)
        }
    }

    @Test func asksByTCPWhenStrangersFloodIt() async throws {
        try await ScriptedNameServer.with({ query in
            guard !query.isTCP else { return Self.two(query) }
            return Array(repeating: [0, 0, 0], count: 100)
        }) { server, _ in
            let instances = try await DNSResolver(Self.locations(server)).resolve("web")
            #expect(instances.count == 2)
        }
    }

    @Test func idsAndPortsAreChosenAnew() async throws {
        try await ScriptedNameServer.with(Self.two) { server, script in
            let resolver = try DNSResolver(Self.locations(server))
            for number in 0..<40 { _ = try await resolver.resolve(try #require(ServiceName("s\(number)"))) }
            #expect(Set(script.queries.map(\.message.id)).count > 35)
            #expect(Set(script.queries.map(\.port)).count > 20)
        }
    }

    @Test func noSuchServiceIsAnEmptyListAndIsKept() async throws {
        let clock = ManualClock()
        try await ScriptedNameServer.with({ query in
            var answer = query.answer
            answer.responseCode = .nameError
            let soa = DNSStartOfAuthority(
                server: .root,
                mailbox: .root,
                serial: 1,
                refresh: 1,
                retry: 1,
                expire: 1,
                minimum: 4
            )
            answer.authorities = [DNSRecord(Self.name("consul"), ttl: 60, .soa(soa))]
            return [answer.encoded().bytes]
        }) { server, script in
            let resolver = try DNSResolver(Self.locations(server), time: clock)
            #expect(try await resolver.resolve("web").isEmpty)
            clock.advance(by: .milliseconds(3_900))
            #expect(try await resolver.resolve("web").isEmpty)
            #expect(script.queries.count == 1)
            clock.advance(by: .milliseconds(200))
            script.answer(Self.two)
            #expect(try await resolver.resolve("web").count == 2)
        }
    }

    @Test func keepsAnswersForTheirTTLWithinItsLimits() async throws {
        let clock = ManualClock()
        let ttl: @Sendable (UInt32, UInt32) -> ScriptedNameServer.Script = { first, second in
            { query in
                var answer = query.answer
                answer.answers = [Self.location(query.name, "a", port: 1, ttl: first)]
                answer.additionals = [Self.address("a", "10.0.0.1", ttl: second)]
                return [answer.encoded().bytes]
            }
        }
        // The shorter of the two; no less than a second; no more than five minutes; what is no TTL is 0.
        let cases: [(UInt32, UInt32, Duration)] = [
            (30, 20, .seconds(20)), (0, 0, .seconds(1)), (86_400, 90_000, .seconds(300)),
            (0x8000_0000, 100, .seconds(1)),
        ]
        for (first, second, expected) in cases {
            try await ScriptedNameServer.with(ttl(first, second)) { server, script in
                let resolver = try DNSResolver(Self.locations(server), time: clock)
                _ = try await resolver.resolve("web")
                clock.advance(by: expected - .milliseconds(1))
                _ = try await resolver.resolve("web")
                #expect(script.queries.count == 1)
                clock.advance(by: .milliseconds(1))
                _ = try await resolver.resolve("web")
                #expect(script.queries.count == 2)
            }
        }
    }

    @Test func keepsTheLastInstancesWhenNobodyAnswers() async throws {
        let clock = ManualClock()
        try await ScriptedNameServer.with(Self.two) { server, script in
            let resolver = try DNSResolver(Self.locations(server), time: clock)
            #expect(try await resolver.resolve("web").count == 2)
            clock.advance(by: .seconds(31))
            script.answer { query in
                var answer = query.answer
                answer.responseCode = .serverFailure
                return [answer.encoded().bytes]
            }
            // Asked once, then not for a while.
            for _ in 0..<3 { #expect(try await resolver.resolve("web").count == 2) }
            #expect(script.queries.count == 2)
            clock.advance(by: .seconds(6))
            #expect(try await resolver.resolve("web").count == 2)
            #expect(script.queries.count == 3)
            clock.advance(by: .seconds(86_400))
            #expect(try await resolver.resolve("web").count == 2)
            // It is an answer when they are gone.
            clock.advance(by: .seconds(6))
            script.answer { [$0.answer.encoded().bytes] }
            #expect(try await resolver.resolve("web").isEmpty)
        }
    }

    @Test func whenNothingIsKnownSilenceIsAnError() async throws {
        let clock = ManualClock()
        try await ScriptedNameServer.with({ _ in [] }) { server, script in
            let resolver = try DNSResolver(Self.locations(server), time: clock)
            async let answer = resolver.resolve("web")
            for attempt in 1...3 {
                try await script.wait(forQueries: attempt)
                await clock.waitForSleepers(1)
                clock.advance(by: .seconds(30))
            }
            do {
                _ = try await answer
                Issue.record("silence was taken for an answer")
            } catch let error as DiscoveryError {
                #expect(error.code == .registryUnavailable)
                #expect(error.retry == .notSent)
                #expect(error.message.contains("no answer within 30.0 seconds"))
            }
            // Nobody else waits as long for the same.
            await #expect(throws: DiscoveryError.self) { _ = try await resolver.resolve("web") }
            #expect(script.queries.count == 3)
        }
    }

    @Test func goesOnToTheNextServerAndStaysThere() async throws {
        let refusing: ScriptedNameServer.Script = { query in
            var answer = query.answer
            answer.responseCode = .refused
            return [answer.encoded().bytes]
        }
        try await ScriptedNameServer.with(refusing) { first, firstScript in
            try await ScriptedNameServer.with(Self.two) { second, secondScript in
                let resolver = try DNSResolver(Self.locations(first, second))
                #expect(try await resolver.resolve("web").count == 2)
                #expect(try await resolver.resolve("shop").count == 2)
                #expect(firstScript.queries.count == 1)
                #expect(secondScript.queries.count == 2)
            }
        }
    }

    @Test func aPortWhereNobodyListensIsKnownAtOnce() async throws {
        let gone = try await ScriptedNameServer.with(Self.two) { server, _ in server }
        try await ScriptedNameServer.with(Self.two) { server, _ in
            let instances = try await DNSResolver(Self.locations(gone, server)).resolve("web")
            #expect(instances.count == 2)
        }
        await #expect(throws: DiscoveryError.self) { _ = try await DNSResolver(Self.locations(gone)).resolve("web") }
    }

    @Test func truncationWithoutTCPIsAnError() async throws {
        try await ScriptedNameServer.with(isOverTCP: false) { query in
            var answer = query.answer
            answer.isTruncated = true
            return [answer.encoded().bytes]
        } _: { server, script in
            let resolver = try DNSResolver(Self.locations(server))
            await #expect(throws: DiscoveryError.self) { _ = try await resolver.resolve("web") }
            #expect(script.queries.count == 3)
        }
    }

    @Test func asksWithoutEDNSWhoDoesNotKnowIt() async throws {
        try await ScriptedNameServer.with({ query in
            guard query.message.edns != nil else { return Self.two(query) }
            var answer = query.answer
            answer.responseCode = .formatError
            answer.questions = []
            return [answer.encoded().bytes]
        }) { server, script in
            let instances = try await DNSResolver(Self.locations(server)).resolve("web")
            #expect(instances.count == 2)
            #expect(script.queries.map { $0.message.edns == nil } == [false, true])
        }
    }

    @Test func aReferralIsNoAnswer() async throws {
        try await ScriptedNameServer.with({ query in
            var answer = query.answer
            answer.isAuthoritative = false
            answer.authorities = [DNSRecord(Self.name("com"), .ns(Self.name("a.gtld")))]
            return [answer.encoded().bytes]
        }) { server, _ in
            await #expect(throws: DiscoveryError.self) {
                _ = try await DNSResolver(Self.locations(server)).resolve("web")
            }
        }
    }

    @Test func ofManyWhoAskAtOnceOneLooksUp() async throws {
        try await ScriptedNameServer.with(Self.two) { server, script in
            let resolver = try DNSResolver(Self.locations(server))
            let counts = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<200 { group.addTask { try await resolver.resolve("web").count } }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(counts == Array(repeating: 2, count: 200))
            #expect(script.queries.count == 1)
        }
    }

    @Test func whoIsCancelledLeavesTheLookupToTheOthers() async throws {
        try await ScriptedNameServer.with({ _ in [] }) { server, script in
            let resolver = try DNSResolver(Self.locations(server))
            try await withThrowingTaskGroup(of: Int.self) { group in
                group.addTask {
                    try await withThrowingTaskGroup(of: Int.self) { inner in
                        inner.addTask { try await resolver.resolve("web").count }
                        try await script.wait(forQueries: 1)
                        inner.cancelAll()
                        let result = await inner.nextResult()
                        #expect(throws: CancellationError.self) { _ = try result?.get() }
                        return 0
                    }
                }
                try await script.wait(forQueries: 1)
                script.answer(Self.two)
                group.addTask { try await resolver.resolve("web").count }
                #expect(try await group.reduce(0, +) == 2)
            }
        }
    }

    @Test(arguments: [
        DNSResolver.Configuration(nameServers: [], lookup: .locations(domain: "consul")),
        .init(nameServers: [Endpoint(host: "localhost", port: 53)], lookup: .locations(domain: "consul")),
        .init(nameServers: [Endpoint(host: "127.0.0.1", port: 0)], lookup: .locations(domain: "consul")),
        .init(nameServers: [Endpoint(host: "127.0.0.1", port: 53)], lookup: .locations(domain: "a..b")),
        .init(nameServers: [Endpoint(host: "127.0.0.1", port: 53)], lookup: .addresses(domain: "b", port: 0)),
    ])
    func refusesAConfigurationThatCannotWork(_ configuration: DNSResolver.Configuration) {
        let error = #expect(throws: DiscoveryError.self) { try DNSResolver(configuration) }
        #expect(error?.code == .invalidConfiguration)
    }

    @Test func aNameThatIsTooLongForDNSIsAnError() async throws {
        let domain = Array(repeating: String(repeating: "d", count: 60), count: 4).joined(separator: ".")
        let server = Endpoint(host: "127.0.0.1", port: 53)
        let resolver = try DNSResolver(.init(nameServers: [server], lookup: .locations(domain: domain)))
        let error = await #expect(throws: DiscoveryError.self) { _ = try await resolver.resolve("a-long-service-name") }
        #expect(error?.code == .invalidConfiguration)
    }
}

@Suite struct DNSAnswerCacheTests {
    @Test func holdsNoMoreServicesThanItsLimit() async throws {
        let clock = ManualClock()
        try await ScriptedNameServer.with({ [$0.answer.encoded().bytes] }) { server, script in
            var configuration = DNSResolver.Configuration(nameServers: [server], lookup: .locations(domain: "x"))
            configuration.maximumServices = 2
            configuration.minimumTTL = .seconds(60)
            configuration.maximumNegativeTTL = .seconds(60)
            let resolver = try DNSResolver(configuration, time: clock)
            for service in ["a", "b", "c"] as [ServiceName] {
                _ = try await resolver.resolve(service)
                clock.advance(by: .seconds(1))
            }
            #expect(script.queries.count == 3)
            // The oldest had to go; the others are known.
            for service in ["b", "c"] as [ServiceName] { _ = try await resolver.resolve(service) }
            #expect(script.queries.count == 3)
            _ = try await resolver.resolve("a")
            #expect(script.queries.count == 4)
        }
    }
}
