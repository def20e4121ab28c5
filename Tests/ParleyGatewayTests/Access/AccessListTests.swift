import NIOCore
import ParleyCore
import Testing

@testable import ParleyGateway

@Suite struct AccessListTests {
    private func rule(_ isAllowed: Bool, _ block: String) throws -> AccessRule {
        guard block != "all" else { return AccessRule(isAllowed: isAllowed, block: nil) }
        let cidr: CIDR = try #require(CIDR(block))
        return AccessRule(isAllowed: isAllowed, block: cidr)
    }

    private func list(_ rules: (Bool, String)...) throws -> AccessList {
        AccessList(try rules.map { try self.rule($0.0, $0.1) })
    }

    private func decide(_ list: AccessList, _ address: String) throws -> AddressDecision {
        list.decision(for: try SocketAddress(ipAddress: address, port: 1))
    }

    @Test func firstMatchWins() throws {
        let list = try self.list((false, "10.1.1.1"), (true, "10.1.0.0/16"), (true, "2001:db8::/32"), (false, "all"))
        #expect(try self.decide(list, "10.1.1.1") == .denied)
        #expect(try self.decide(list, "10.1.1.2") == .allowed)
        #expect(try self.decide(list, "10.2.0.0") == .denied)
        #expect(try self.decide(list, "2001:db8::7") == .allowed)
        #expect(try self.decide(list, "2001:db9::7") == .denied)
        #expect(list.decision(for: nil as SocketAddress?) == .denied)
    }

    @Test func whatNoRuleSpeaksOfPasses() throws {
        let list = try self.list((false, "192.168.1.0/24"))
        #expect(try self.decide(list, "192.168.2.1") == .unmentioned)
        #expect(try self.decide(list, "::1") == .unmentioned)
        #expect(try self.decide(AccessList([]), "1.2.3.4") == .unmentioned)
        #expect(AccessList([]).isEmpty)
    }

    @Test func anOuterRuleBeforeAnInnerOneHidesIt() throws {
        let list = try self.list((true, "10.0.0.0/8"), (false, "10.1.0.0/16"), (false, "0.0.0.0/0"))
        #expect(try self.decide(list, "10.1.2.3") == .allowed)
        #expect(try self.decide(list, "11.0.0.0") == .denied)
        #expect(try self.decide(list, "255.255.255.255") == .denied)
    }

    @Test func aMappedAddressIsOfTheListOfIPv4WhenThereIsOne() throws {
        let both = try self.list((true, "10.0.0.0/8"), (false, "::/0"))
        #expect(try self.decide(both, "::ffff:10.1.2.3") == .allowed)
        #expect(try self.decide(both, "::ffff:11.1.2.3") == .unmentioned)
        let only6 = try self.list((false, "::/0"))
        #expect(try self.decide(only6, "::ffff:10.1.2.3") == .denied)
    }

    @Test(arguments: [UInt64(1), 2, 3, 4]) func agreesWithALinearSearch(seed: UInt64) throws {
        let random = SeededRandomSource(seed: seed)
        func number(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
        for _ in 0..<40 {
            var rules: [AccessRule] = []
            for _ in 0..<number(30) {
                if number(20) == 0 {
                    rules.append(AccessRule(isAllowed: number(2) == 0, block: nil))
                } else if number(3) > 0 {
                    // Few values, so that blocks nest and repeat.
                    let text = "\(number(2) * 255).\(number(3)).\(number(4) * 64).\(number(256))/\(number(33))"
                    rules.append(try self.rule(number(2) == 0, text))
                } else {
                    rules.append(try self.rule(number(2) == 0, "2001:\(number(3))::\(number(9))/\(number(129))"))
                }
            }
            let list = AccessList(rules)
            for _ in 0..<200 {
                let isV4 = number(2) == 0
                let text =
                    isV4
                    ? "\(number(2) * 255).\(number(3)).\(number(256)).\(number(256))"
                    : "2001:\(number(3))::\(number(9))"
                let address = try #require(IPAddress(text))
                let first = rules.first { $0.block?.contains(address) ?? true }
                let expected = first.map { $0.isAllowed ? AddressDecision.allowed : .denied } ?? .unmentioned
                #expect(list.decision(for: address.bytes.span) == expected, "\(text) in \(rules)")
            }
        }
    }

    @Test func tenThousandBlocksAreAsGoodAsOne() throws {
        var rules: [AccessRule] = []
        for index in 0..<10_000 { rules.append(try self.rule(index % 2 == 0, "10.\(index / 256).\(index % 256).0/24")) }
        let list = AccessList(rules + [try self.rule(false, "all")])
        #expect(try self.decide(list, "10.0.2.9") == .allowed)
        #expect(try self.decide(list, "10.0.3.9") == .denied)
        #expect(try self.decide(list, "10.39.14.255") == .allowed)
        #expect(try self.decide(list, "10.39.16.0") == .denied)
    }
}

@Suite struct SatisfactionTests {
    private let yes = AccessDecision.allowed(identity: AccessIdentity(name: Array("u".utf8)))
    private let no401 = AccessDecision.refused(AccessRefusal(status: 401, challenge: .basic, reason: "no"))
    private let no403 = AccessDecision.refused(AccessRefusal(status: 403, reason: "no"))
    private let broken = AccessDecision.refused(AccessRefusal(status: 500, reason: "no"))

    private func decide(_ any: Bool, _ address: AddressDecision, _ credentials: AccessDecision...) -> AccessDecision {
        Satisfaction.decide(any: any, address: address, credentials: credentials)
    }

    @Test func all() {
        #expect(self.decide(false, .denied, self.yes).status == 403)
        #expect(self.decide(false, .allowed, self.yes).name == "u")
        #expect(self.decide(false, .unmentioned).name == "")
        #expect(self.decide(false, .allowed, self.no401).status == 401)
        #expect(self.decide(false, .allowed, self.yes, .pending).isPending)
        #expect(self.decide(false, .denied, .pending).status == 403)
    }

    @Test func any() {
        #expect(self.decide(true, .allowed, self.no401).name == "")
        #expect(self.decide(true, .denied, self.yes).name == "u")
        #expect(self.decide(true, .denied, self.no401).status == 401)
        #expect(self.decide(true, .denied, self.no403).status == 403)
        #expect(self.decide(true, .unmentioned, self.no403, self.no401).status == 401)
        #expect(self.decide(true, .unmentioned, self.no401, self.no403).status == 401)
        #expect(self.decide(true, .unmentioned, self.no401, self.yes).name == "u")
        #expect(self.decide(true, .denied, self.broken, self.yes).status == 500)
        #expect(self.decide(true, .denied, .pending).isPending)
        #expect(self.decide(true, .denied).status == 403)
    }

    @Test func theRealmCannotEndItsQuotes() {
        let value = AccessChallenge.basic.value(realm: "a\"b\\c\r\nX: y".utf8)
        #expect(value == Array(#"Basic realm="a\"b\\cX: y""#.utf8))
        #expect(AccessChallenge.none.value(realm: "a".utf8) == nil)
    }
}
