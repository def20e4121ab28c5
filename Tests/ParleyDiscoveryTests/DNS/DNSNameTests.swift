internal import ParleyDiscovery
internal import Testing

@Suite struct DNSNameTests {
    @Test func keepsTheCaseAndDoesNotCompareIt() throws {
        let name = try DNSName("Web.Service.CONSUL")
        #expect(name.description == "Web.Service.CONSUL.")
        #expect(try name == DNSName("web.service.consul."))
        #expect(try Set([name, DNSName("WEB.service.Consul")]).count == 1)
        #expect(try name != DNSName("web.service.consul.x"))
        #expect(name.words == ["web", "service", "consul"])
        // Only letters have a case: `@` and a backquote are 32 apart as well, so are `[` and `{`.
        #expect(try DNSName("a@[") != DNSName("a`{"))
    }

    @Test func isWithinItsAncestorsOnly() throws {
        let domain = try DNSName("consul")
        for inside in ["consul", "CONSUL.", "web.service.consul"] { #expect(try DNSName(inside).isWithin(domain)) }
        for outside in ["xconsul", "consul.example", "."] { #expect(try !DNSName(outside).isWithin(domain)) }
        // A label that merely ends with those bytes.
        #expect(try !DNSName("x\\.consul").isWithin(domain))
        #expect(try DNSName("anything").isWithin(.root))
    }

    @Test(arguments: [
        ("a\\.b.c", [Array("a.b".utf8), Array("c".utf8)]), ("\\000\\255", [[0, 255]]), ("\\\\", [Array("\\".utf8)]),
        ("h\u{E9}", [Array("h\u{E9}".utf8)]), (".", []),
    ])
    func readsEscapes(_ text: String, _ labels: [[UInt8]]) throws {
        let name = try DNSName(text)
        #expect(name.labels.map { Array($0) } == labels)
        #expect(try DNSName(name.description).wire == name.wire)
    }

    @Test(arguments: ["", "a..b", ".a", "..", "a\\", "a\\1", "a\\25", "a\\256", "a\\1x3"])
    func refusesWhatIsNoName(_ text: String) {
        #expect(throws: DNSFormatError.self) { try DNSName(text) }
    }

    @Test func labelsHaveUpTo63Bytes() throws {
        let longest = String(repeating: "x", count: 63)
        #expect(try DNSName(longest).wire.count == 65)
        let error = #expect(throws: DNSFormatError.self) { try DNSName("a." + longest + "x") }
        #expect(error?.reason == .labelTooLong)
        #expect(throws: DNSFormatError.self) { try DNSName(labels: [[UInt8](repeating: 1, count: 64)]) }
        #expect(throws: DNSFormatError.self) { try DNSName(labels: [[UInt8]()]) }
    }

    @Test func namesHaveUpTo255Bytes() throws {
        let label = String(repeating: "x", count: 63)
        let most = [label, label, label, String(repeating: "y", count: 61)].joined(separator: ".")
        #expect(try DNSName(most).wire.count == DNSName.maximumLength)
        let error = #expect(throws: DNSFormatError.self) { try DNSName(most + "y") }
        #expect(error?.reason == .nameTooLong)
        // 127 labels of one byte, and one more; and far more than would be kept.
        #expect(try DNSName(Array(repeating: "a", count: 127).joined(separator: ".")).labels.count == 127)
        #expect(throws: DNSFormatError.self) { try DNSName(Array(repeating: "a", count: 128).joined(separator: ".")) }
        #expect(throws: DNSFormatError.self) { try DNSName(String(repeating: "a.", count: 100_000)) }
        #expect(throws: DNSFormatError.self) { try DNSName(String(repeating: "a", count: 1_000_000)) }
    }
}

@Suite struct IPAddressTests {
    @Test(arguments: [
        ("10.0.0.1", [10, 0, 0, 1]), ("255.255.255.255", [255, 255, 255, 255]),
        ("2001:db8::1", [0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ("::", [UInt8](repeating: 0, count: 16)),
        ("::ffff:1.2.3.4", [UInt8](repeating: 0, count: 10) + [255, 255, 1, 2, 3, 4]),
    ])
    func isReadAndWritten(_ text: String, _ bytes: [UInt8]) {
        let address = IPAddress(text)
        #expect(address?.bytes == bytes)
        #expect(address?.description == text)
        #expect(IPAddress(bytes: bytes) == address)
    }

    @Test func hasOneForm() {
        #expect(IPAddress("2001:0DB8:0:0:0::0001")?.description == "2001:db8::1")
    }

    @Test(arguments: [
        "", "10.0.0", "10.0.0.256", "010.0.0.1", "10.0.0.1 ", " 10.0.0.1", "localhost", "fe80::1%eth0", "::g",
        "1::2::3",
        "10.0.0.1\0x", String(repeating: "1", count: 100_000),
    ])
    func isNothingElse(_ text: String) {
        #expect(IPAddress(text) == nil)
    }

    @Test func hasFourOrSixteenBytes() {
        for count in 0...20 where count != 4 && count != 16 {
            #expect(IPAddress(bytes: [UInt8](repeating: 1, count: count)) == nil)
        }
    }
}
