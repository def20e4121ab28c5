internal import ParleyGateway
internal import Testing

@Suite struct CIDRTests {
    @Test(arguments: [
        ("10.0.0.0/8", "10.1.2.3", true), ("10.0.0.0/8", "11.0.0.0", false), ("10.1.2.3/8", "10.9.9.9", true),
        ("192.168.1.0/24", "192.168.1.255", true), ("192.168.1.0/24", "192.168.2.0", false),
        ("192.168.1.128/25", "192.168.1.127", false), ("192.168.1.128/25", "192.168.1.128", true),
        ("172.16.0.0/12", "172.31.255.255", true), ("172.16.0.0/12", "172.32.0.0", false), ("1.2.3.4", "1.2.3.4", true),
        ("1.2.3.4", "1.2.3.5", false), ("1.2.3.4/32", "1.2.3.4", true), ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "::1", false), ("::/0", "1.2.3.4", false), ("::/0", "fe80::1", true), ("::1", "::1", true),
        ("fd00::/8", "fdff::1", true), ("fd00::/8", "fe00::1", false), ("2001:db8::/33", "2001:db8:7fff::", true),
        ("2001:db8::/33", "2001:db8:8000::", false), ("10.0.0.0/8", "::ffff:10.1.2.3", true),
        ("10.0.0.0/8", "::ffff:a01:203", true), ("::ffff:10.0.0.0/104", "10.1.2.3", true),
        ("::ffff:10.0.0.0/104", "11.1.2.3", false), ("fe80::/10", "fe80::1%eth0", true),
        ("10.0.0.0/8", "nonsense", false),
        ("10.0.0.0/8", "", false), ("1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8", true),
        ("1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0", true),
        ("::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8", true), ("64:ff9b::1.2.3.4", "64:ff9b::102:304", true),
    ])
    func holdsItsAddresses(_ block: String, _ address: String, _ expected: Bool) throws {
        #expect(try #require(CIDR(block)).contains(address) == expected)
    }

    @Test(arguments: [
        "", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8/8", "10.0.0.0/0008",
        "10.0.0/8",
        "10.0.0.0.0", "256.0.0.1", "010.0.0.1", "1.2.3.a", " 1.2.3.4", "1.2.3.4 ", "::/129", ":", ":::", "1::2::3",
        "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "12345::", "g::", "::1.2.3", "1.2.3.4::",
        "::1.2.3.4:5",
        "::ffff:10.0.0.0/95", "localhost", "1:2:3:4:5:6:7:1.2.3.4",
    ])
    func refusesWhatIsNoBlock(_ text: String) {
        #expect(CIDR(text) == nil)
    }

    @Test func loopbackIsBothFamilies() {
        for address in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            #expect(CIDR.loopback.contains { $0.contains(address) })
        }
        #expect(!CIDR.loopback.contains { $0.contains("128.0.0.1") || $0.contains("::2") })
    }

    @Test func writesItselfSoThatItCanBeReadAgain() {
        for text in ["10.0.0.0/8", "::1", "2001:db8::/32", "1.2.3.4"] {
            let block = CIDR(text)
            #expect(block.flatMap { CIDR($0.description) } == block)
        }
    }

    @Test func survivesEveryCutAndEveryByteChanged() {
        for text in ["::ffff:10.0.0.0/104", "10.20.30.40/16", "2001:db8::1%eth0/64"].map({ Array($0.utf8) }) {
            for index in text.indices {
                _ = CIDR(String(decoding: text[..<index], as: UTF8.self))
                for byte in UInt8.min...UInt8.max {
                    var changed = text
                    changed[index] = byte
                    _ = CIDR(String(decoding: changed, as: UTF8.self))
                }
            }
        }
    }
}
