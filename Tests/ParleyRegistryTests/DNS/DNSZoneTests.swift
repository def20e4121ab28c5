internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyTestKit
internal import Testing

@testable internal import ParleyRegistry

/// The rules of the answers, one by one.
@Suite(.timeLimit(.minutes(2))) struct DNSZoneTests {
    private static let settings = DNSZone.Settings(
        domain: (try? DNSName("consul")) ?? .root,
        datacenter: "dc1",
        nodeName: "n1"
    )
    private static let now = Timestamp(microseconds: 1_700_000_000_999_999)

    private func name(_ text: String) throws -> DNSName { try DNSName(text) }

    /// The response, with all that goes with its answers.
    private func ask(
        _ name: String,
        _ type: DNSRecordType = .a,
        of registry: ShopRegistry,
        settings: DNSZone.Settings = Self.settings,
        recordClass: DNSClass = .internet,
        seed: UInt64 = 1
    ) throws -> DNSMessage {
        let query = DNSMessage(id: 7, asking: DNSQuestion(try self.name(name), type, recordClass: recordClass))
        let answer = DNSZone(settings: settings).answer(
            query,
            from: registry,
            at: Self.now,
            random: SeededRandomSource(seed: seed)
        )
        var message = answer.message
        message.additionals += answer.companions.joined().uniqued()
        #expect(message.id == 7 && message.isResponse && !message.recursionAvailable && message.recursionDesired)
        #expect(message.questions.map(\.name.wire) == query.questions.map(\.name.wire))
        // It can be sent, and whoever reads it reads the same.
        #expect(try DNSMessage(decoding: message.encoded().bytes) == message)
        return message
    }

    private func addresses(_ message: DNSMessage) -> Set<String> {
        Set(message.answers.compactMap { if case .address(let address) = $0.data { address.description } else { nil } })
    }

    private func locations(_ message: DNSMessage) -> [DNSServiceLocation] {
        message.answers.compactMap { if case .srv(let location) = $0.data { location } else { nil } }
    }

    private func isNoName(_ message: DNSMessage) throws -> Bool {
        try message.responseCode == .nameError && message.isAuthoritative && message.answers.isEmpty
            && message.authorities == [self.startOfAuthority()]
    }

    /// The name is there, the type is not.
    private func isEmpty(_ message: DNSMessage) throws -> Bool {
        try message.responseCode == .noError && message.isAuthoritative && message.answers.isEmpty
            && message.authorities == [self.startOfAuthority()]
    }

    private func startOfAuthority() throws -> DNSRecord {
        let soa = DNSStartOfAuthority(
            server: try self.name("ns.consul"),
            mailbox: try self.name("hostmaster.consul"),
            serial: 1_700_000_000,
            refresh: 3_600,
            retry: 600,
            expire: 86_400,
            minimum: 0
        )
        return DNSRecord(try self.name("consul"), ttl: 0, .soa(soa))
    }

    // MARK: Services

    private let shop = ShopRegistry([
        .web("10.0.0.1", tags: ["v1", "a.b"]), .web("10.0.0.2", tags: ["V2"], .warning),
        .web("10.0.0.3", tags: ["v1", "dead"], .critical), .web("fd00::1", tags: ["v6"]),
        .web("10.0.0.1", port: 81, tags: ["second"]),
    ])

    @Test func aServiceIsItsHealthyInstancesOfTheFamily() throws {
        let answer = try self.ask("web.service.consul", of: self.shop)
        #expect(answer.responseCode == .noError && answer.isAuthoritative)
        // Each address once, the critical one not, the one that warns too.
        #expect(answer.answers.count == 2)
        #expect(self.addresses(answer) == ["10.0.0.1", "10.0.0.2"])
        #expect(answer.answers.allSatisfy { $0.ttl == 0 })
        #expect(self.addresses(try self.ask("web.service.consul", .aaaa, of: self.shop)) == ["fd00::1"])
        #expect(self.addresses(try self.ask("web.service.consul", .any, of: self.shop)).count == 3)
    }

    @Test func theDatacenterMayBeNamed() throws {
        #expect(self.addresses(try self.ask("web.service.dc1.consul", of: self.shop)).count == 2)
        #expect(self.addresses(try self.ask("v1.web.service.DC1.consul", of: self.shop)) == ["10.0.0.1"])
        #expect(try self.isNoName(self.ask("web.service.dc2.consul", of: self.shop)))
        #expect(try self.isNoName(self.ask("web.service.dc1.dc1.consul", of: self.shop)))
    }

    @Test func caseMeansNothingAndIsEchoed() throws {
        let answer = try self.ask("V1.wEB.Service.CONSUL", of: self.shop)
        #expect(self.addresses(answer) == ["10.0.0.1"])
        #expect(answer.answers.first?.name.description == "V1.wEB.Service.CONSUL.")
        #expect(self.addresses(try self.ask("v2.web.service.consul", of: self.shop)) == ["10.0.0.2"])
    }

    @Test func tagsMayHaveDots() throws {
        #expect(self.addresses(try self.ask("a.b.web.service.consul", of: self.shop)) == ["10.0.0.1"])
        #expect(try self.isNoName(self.ask("b.web.service.consul", of: self.shop)))
        #expect(try self.isNoName(self.ask("a.web.service.consul", of: self.shop)))
    }

    @Test(arguments: [
        "nope.service.consul", "nope.web.service.consul", "dead.web.service.consul", "web.consul", "d1.web.consul",
        "nope.node.consul", "n1.node.dc2.consul", "x.consul", "service.dc2.consul", "ns.consul",
        "v6.v1.web.service.consul",
        "_web.service.consul", "web.service.service.consul", "0a0000zz.addr.consul", "0a00.addr.consul",
        "0a000001.addr.dc2.consul", "x.0a000001.addr.consul", "web.service.consul.consul",
    ])
    func whatIsNotThereIsNoName(_ name: String) throws {
        for type in [.a, .srv, .txt, .any] as [DNSRecordType] {
            #expect(try self.isNoName(self.ask(name, type, of: self.shop)))
        }
    }

    @Test func aServiceWithoutAHealthyInstanceIsNoName() throws {
        let registry = ShopRegistry([.web("10.0.0.1", .critical), .web("10.0.0.2", .critical)])
        #expect(try self.isNoName(self.ask("web.service.consul", of: registry)))
        #expect(try self.isNoName(self.ask("web.service.consul", .srv, of: registry)))
    }

    @Test func aTypeThatIsNotThereIsAnEmptyAnswer() throws {
        #expect(try self.isEmpty(self.ask("web.service.consul", .txt, of: self.shop)))
        #expect(try self.isEmpty(self.ask("web.service.consul", DNSRecordType(rawValue: 15), of: self.shop)))
        #expect(try self.isEmpty(self.ask("v1.web.service.consul", .aaaa, of: self.shop)))
        #expect(try self.isEmpty(self.ask("n1.node.consul", .aaaa, of: self.shop)))
        #expect(try self.isEmpty(self.ask("0a000001.addr.consul", .aaaa, of: self.shop)))
    }

    @Test(arguments: ["service.consul", "node.consul", "addr.consul", "dc1.consul", "service.dc1.consul"])
    func whatIsBetweenDomainAndServicesIsEmpty(_ name: String) throws {
        for type in [.a, .ns, .soa, .any] as [DNSRecordType] {
            #expect(try self.isEmpty(self.ask(name, type, of: self.shop)))
        }
    }

    @Test func warningMayBeLeftOut() throws {
        var settings = Self.settings
        settings.onlyPassing = true
        let answer = try self.ask("web.service.consul", of: self.shop, settings: settings)
        #expect(self.addresses(answer) == ["10.0.0.1"])
    }

    @Test func theOrderIsByLot() throws {
        let registry = ShopRegistry(RegistryDNSInstance.many(5))
        var firsts: [DNSRecordData: Int] = [:]
        for seed in 0..<500 as Range<UInt64> {
            let answer = try self.ask("web.service.consul", of: registry, seed: seed)
            #expect(self.addresses(answer).count == 5)
            if let first = answer.answers.first { firsts[first.data, default: 0] += 1 }
            #expect(try answer == self.ask("web.service.consul", of: registry, seed: seed))
        }
        #expect(firsts.count == 5)
        #expect(firsts.values.allSatisfy { (60...140).contains($0) })
    }

    @Test func ttlsAreWhatWasConfigured() throws {
        var settings = Self.settings
        settings.serviceTTL = 30
        settings.nodeTTL = 60
        let service = try self.ask("web.service.consul", .srv, of: self.shop, settings: settings)
        #expect(service.answers.allSatisfy { $0.ttl == 30 } && service.additionals.allSatisfy { $0.ttl == 60 })
        #expect(try self.ask("n1.node.consul", of: self.shop, settings: settings).answers.map(\.ttl) == [60])
        // "Not there" is never kept.
        #expect(try self.isNoName(self.ask("x.service.consul", of: self.shop, settings: settings)))
    }

    // MARK: SRV

    @Test(arguments: ["web.service.consul", "_web._tcp.service.consul", "_WEB._TCP.service.dc1.consul"])
    func locationsNameHostsByTheirAddresses(_ name: String) throws {
        let answer = try self.ask(name, .srv, of: self.shop)
        #expect(
            Set(self.locations(answer).map { "\($0.priority) \($0.weight) \($0.port) \($0.target)" }) == [
                "1 1 80 0a000001.addr.dc1.consul.", "1 1 81 0a000001.addr.dc1.consul.",
                "1 1 80 0a000002.addr.dc1.consul.", "1 1 80 fd000000000000000000000000000001.addr.dc1.consul.",
            ]
        )
        // Each target's address comes along, once.
        #expect(
            Set(answer.additionals.map { "\($0.name) \($0.data)" }).count == 3 && answer.additionals.count == 3
        )
        let additional = try #require(answer.additionals.first { $0.name.words.first == "0a000002" })
        #expect(additional.data == .address(.v4(0x0A00_0002)))
    }

    @Test func theSecondWordOfRFC2782IsATagUnlessItIsTCP() throws {
        #expect(self.locations(try self.ask("_web._v2.service.consul", .srv, of: self.shop)).count == 1)
        #expect(try self.isNoName(self.ask("_web._udp.service.consul", .srv, of: self.shop)))
        // A tag that happens to be called tcp is asked for in the other form.
        let registry = ShopRegistry([.web("10.0.0.1", tags: ["tcp"]), .web("10.0.0.2")])
        #expect(self.locations(try self.ask("_web._tcp.service.consul", .srv, of: registry)).count == 2)
        #expect(self.locations(try self.ask("tcp.web.service.consul", .srv, of: registry)).count == 1)
    }

    @Test func weightsAreThoseOfTheState() throws {
        let weights = RegistryDNSInstance.Weights(passing: 10, warning: 2)
        let registry = ShopRegistry([
            .web("10.0.0.1", weights: weights), .web("10.0.0.2", weights: weights, .warning),
            .web("10.0.0.3", port: 70_000, weights: .init(passing: 1_000_000)),
            .web("10.0.0.4", port: -1, weights: .init(passing: -5)),
        ])
        let answer = try self.ask("web.service.consul", .srv, of: registry)
        let weightsByHost = self.locations(answer).map { "\($0.target.words[0]) \($0.weight) \($0.port)" }
        #expect(
            Set(weightsByHost) == ["0a000001 10 80", "0a000002 2 80", "0a000003 65535 65535", "0a000004 0 0"]
        )
    }

    @Test func withoutAnAddressOfItsOwnTheTargetIsTheNode() throws {
        let registry = ShopRegistry([.web("")])
        let answer = try self.ask("web.service.consul", .srv, of: registry)
        #expect(self.locations(answer).map(\.target) == [try self.name("n1.node.dc1.consul")])
        let node = try self.name("n1.node.dc1.consul")
        #expect(
            answer.additionals == [
                DNSRecord(node, .address(.v4(0x7F00_0001))), DNSRecord(node, .txt([Array("rack=a".utf8)])),
                DNSRecord(node, .txt([Array("zone=b".utf8)])),
            ]
        )
        #expect(self.addresses(try self.ask("web.service.consul", of: registry)) == ["127.0.0.1"])
        // A node whose name cannot be in DNS is named by its address.
        let odd = RegistryDNSNode(name: String(repeating: "x", count: 64), address: "10.0.0.9")
        let other = try self.ask("web.service.consul", .srv, of: ShopRegistry([.web("", node: odd)]))
        #expect(self.locations(other).map(\.target) == [try self.name("0a000009.addr.dc1.consul")])
    }

    @Test func onePlaceIsOneLocation() throws {
        let registry = ShopRegistry([.web("10.0.0.1"), .web("10.0.0.1"), .web("10.0.0.1", port: 81)])
        #expect(self.locations(try self.ask("web.service.consul", .srv, of: registry)).count == 2)
    }

    // MARK: Host names

    @Test func aHostNameIsACNAMEWhereNobodyHasAnAddress() throws {
        let host = try self.name("db.example.com")
        let registry = ShopRegistry([.web("db.example.com"), .web("db2.example.com")])
        for type in [.a, .aaaa, .cname] as [DNSRecordType] {
            let answer = try self.ask("web.service.consul", type, of: registry)
            // One, and it may be either.
            #expect(answer.answers.count == 1 && answer.answers.first?.type == .cname)
        }
        let one = ShopRegistry([.web("db.example.com")])
        #expect(try self.ask("web.service.consul", of: one).answers.map(\.data) == [.cname(host)])
        #expect(self.locations(try self.ask("web.service.consul", .srv, of: one)).map(\.target) == [host])
        #expect(try self.isEmpty(self.ask("web.service.consul", .txt, of: one)))
        one.add([.web("10.0.0.1")])
        #expect(self.addresses(try self.ask("web.service.consul", of: one)) == ["10.0.0.1"])
        #expect(try self.isEmpty(self.ask("web.service.consul", .aaaa, of: one)))
        #expect(self.locations(try self.ask("web.service.consul", .srv, of: one)).count == 2)
    }

    @Test func aHostNameInTheDomainIsFollowed() throws {
        let registry = ShopRegistry([.web("n1.node.consul"), .web("api.service.consul", service: "shop")])
        let answer = try self.ask("web.service.consul", of: registry)
        #expect(answer.answers.map(\.type) == [.cname, .a])
        #expect(answer.answers.last?.name == (try self.name("n1.node.consul")))
        // To nobody.
        #expect(try self.ask("shop.service.consul", of: registry).answers.map(\.type) == [.cname])
    }

    @Test func hostNamesThatGoRoundHaveAnEnd() throws {
        let registry = ShopRegistry([.web("shop.service.consul"), .web("web.service.consul", service: "shop")])
        #expect((2...10).contains(try self.ask("web.service.consul", of: registry).answers.count))
    }

    @Test func addressesThatAreNothingAreLeftOut() throws {
        let registry = ShopRegistry([.web("not a..name"), .web("."), .web("10.0.0.1")])
        #expect(self.addresses(try self.ask("web.service.consul", of: registry)) == ["10.0.0.1"])
        #expect(self.locations(try self.ask("web.service.consul", .srv, of: registry)).count == 1)
        #expect(try self.isEmpty(self.ask("web.service.consul", of: ShopRegistry([.web("not a..name")]))))
    }

    // MARK: Nodes and addresses

    @Test func aNodeIsItsAddressAndItsFacts() throws {
        #expect(self.addresses(try self.ask("N1.node.dc1.consul", of: self.shop)) == ["127.0.0.1"])
        let texts = try self.ask("n1.node.consul", .txt, of: self.shop)
        #expect(texts.answers.map(\.data) == [.txt([Array("rack=a".utf8)]), .txt([Array("zone=b".utf8)])])
        #expect(try self.ask("n1.node.consul", .any, of: self.shop).answers.map(\.type) == [.a, .txt, .txt])
        let long = RegistryDNSNode(
            name: "a.b",
            address: "host.example",
            meta: ["k": String(repeating: "v", count: 700)]
        )
        let registry = ShopRegistry(nodes: [long])
        guard case .txt(let strings) = try self.ask("a.b.node.consul", .txt, of: registry).answers.first?.data else {
            Issue.record("no text")
            return
        }
        #expect(strings.joined().count == 702)
        #expect(try self.ask("a.b.node.consul", of: registry).answers.map(\.type) == [.cname])
    }

    @Test func anAddressInHexadecimalDigitsIsThatAddress() throws {
        #expect(self.addresses(try self.ask("0A000001.addr.dc1.consul", of: self.shop)) == ["10.0.0.1"])
        #expect(self.addresses(try self.ask("c0a80102.addr.consul", .any, of: self.shop)) == ["192.168.1.2"])
        let long = "20010db8000000000000000000000001.addr.consul"
        #expect(self.addresses(try self.ask(long, .aaaa, of: self.shop)) == ["2001:db8::1"])
    }

    @Test func addressesHaveNames() throws {
        func names(_ question: String) throws -> [String] {
            let answer = try self.ask(question, .ptr, of: self.shop)
            guard answer.isAuthoritative else { return ["\(answer.responseCode)"] }
            return answer.answers.map { if case .ptr(let name) = $0.data { name.description } else { "?" } }
        }
        #expect(try names("1.0.0.127.in-addr.arpa") == ["n1.node.dc1.consul."])
        #expect(try names("1.0.0.10.IN-ADDR.arpa") == ["web.service.dc1.consul."])
        let nibbles = Array("fd000000000000000000000000000001").reversed().map { String($0) }.joined(separator: ".")
        #expect(try names(nibbles + ".ip6.arpa") == ["web.service.dc1.consul."])
        // Everybody else's addresses are not this server's to speak of.
        for other in [
            "9.9.9.9.in-addr.arpa", "0.0.10.in-addr.arpa", "256.0.0.10.in-addr.arpa", "arpa", nibbles + ".in-addr.arpa",
            "0" + nibbles + ".ip6.arpa",
        ] {
            #expect(try names(other) == ["REFUSED"])
        }
    }

    // MARK: The domain

    @Test func theDomainHasAnAuthorityAndAServer() throws {
        let node = try self.name("n1.node.dc1.consul")
        let server = DNSRecord(try self.name("consul"), .ns(node))
        let glue = DNSRecord(node, .address(.v4(0x7F00_0001)))
        let soa = try self.ask("consul", .soa, of: self.shop)
        #expect(soa.answers == [try self.startOfAuthority()])
        #expect(soa.authorities == [server] && soa.additionals == [glue])
        let ns = try self.ask("consul", .ns, of: self.shop)
        #expect(ns.answers == [server] && ns.authorities.isEmpty && ns.additionals == [glue])
        #expect(try self.ask("consul", .any, of: self.shop).answers.map(\.type) == [.soa, .ns])
        #expect(try self.isEmpty(self.ask("consul", .a, of: self.shop)))
    }

    @Test(arguments: ["example.com", ".", "com", "xconsul", "consul.com", "service"])
    func otherDomainsAreRefused(_ name: String) throws {
        let answer = try self.ask(name, of: self.shop)
        #expect(answer.responseCode == .refused && !answer.isAuthoritative)
        #expect(answer.answers.isEmpty && answer.authorities.isEmpty && answer.additionals.isEmpty)
    }

    @Test func otherClassesAreRefused() throws {
        #expect(try self.ask("web.service.consul", of: self.shop, recordClass: .chaos).responseCode == .refused)
        #expect(try self.ask("web.service.consul", of: self.shop, recordClass: .any).answers.count == 2)
    }

    @Test func zonesAreNotGivenAway() throws {
        for type in [.axfr, .ixfr] as [DNSRecordType] {
            #expect(try self.ask("consul", type, of: self.shop).responseCode == .notImplemented)
        }
    }

    @Test func theDomainMayHaveSeveralLabels() throws {
        var settings = Self.settings
        settings.domain = try self.name("Svc.Example.Org")
        let answer = try self.ask("web.service.svc.example.org", .srv, of: self.shop, settings: settings)
        #expect(self.locations(answer).count == 4)
        #expect(answer.additionals.first?.name.isWithin(settings.domain) == true)
        #expect(try self.ask("web.service.consul", of: self.shop, settings: settings).responseCode == .refused)
    }
}
