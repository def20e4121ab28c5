import ParleyCore
import Testing

@testable import ParleyRegistry

@Suite(.timeLimit(.minutes(1))) struct StateMachineTests {
    @Test func aRegistrationTakesOneIndexForAllOfIt() throws {
        var machine = try machine()
        let before = machine.index
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1"), ttlCheck("b", of: "w1")])
        #expect(machine.index == before + 1)
        #expect(machine.services[key("w1")]?.createIndex == machine.index)
        #expect(machine.checks[key("a")]?.modifyIndex == machine.index)
        #expect(machine.index(of: .service("web")) == machine.index)
    }

    @Test func theSameAgainChangesNothing() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1")])
        let (index, watcher) = (machine.index, try watch(.service("web"), in: &machine))
        let effects = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1")])
        #expect(machine.index == index)
        #expect(effects.woken.isEmpty)
        #expect(effects.dirty.isEmpty)
        machine.unwatch(watcher)
        #expect(machine.watcherCount == 0)
    }

    @Test func onlyThoseWhomItConcernsAreWoken() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1")])
        _ = try machine.register(service("d1", "db"), checks: [])
        let web = try watch(.service("web"), in: &machine)
        _ = try watch(.service("db"), in: &machine)
        let checks = try watch(.checks, in: &machine)
        let node = try watch(.node(local), in: &machine)
        let effects = machine.update(key("a"), status: .passing, output: "")
        #expect(effects.woken == [web, checks, node].sorted())
        #expect(machine.watcherCount == 1)
    }

    @Test func outputAloneWakesNobodyAndIsShown() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1", .passing)])
        let (index, version) = (machine.index, machine.version)
        _ = try watch(.service("web"), in: &machine)
        let effects = machine.update(key("a"), status: .passing, output: "still here")
        #expect(effects.woken.isEmpty)
        #expect(effects.dirty == [.check(key("a"))])
        #expect(machine.index == index)
        #expect(machine.version > version)
        #expect(machine.checks[key("a")]?.output == "still here")
    }

    @Test func registeringAgainKeepsStatusAndOutput() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1", .passing)])
        _ = machine.update(key("a"), status: .critical, output: "TTL expired")
        _ = try machine.register(
            service("w1", "web", port: 81),
            checks: [ttlCheck("a", of: "w1", .passing)]
        )
        #expect(machine.checks[key("a")]?.status == .critical)
        #expect(machine.checks[key("a")]?.output == "TTL expired")
    }

    @Test func checksThatAreNotMentionedStayUnlessTheyAreReplaced() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1"), ttlCheck("b", of: "w1")])
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1")])
        #expect(machine.checks(ofService: key("w1")).map(\.id) == ["a", "b"])
        let effects = try machine.register(
            service("w1", "web"),
            checks: [ttlCheck("a", of: "w1")],
            replacingChecks: true
        )
        #expect(machine.checks(ofService: key("w1")).map(\.id) == ["a"])
        #expect(effects.unplanned == [key("b")])
    }

    @Test func whatIsGoneAnswersWithTheIndexOfItsEnd() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [])
        let before = machine.index(of: .service("web"))
        let watcher = try watch(.service("web"), in: &machine)
        let effects = machine.deregister(key("w1"))
        #expect(effects.woken == [watcher])
        let after = machine.index(of: .service("web"))
        #expect(after > before)
        // Nobody ever asked about it, and it is never 0.
        #expect(machine.index(of: .service("never")) == after)
        _ = try machine.register(service("w1", "web"), checks: [])
        #expect(machine.index(of: .service("web")) > after)
    }

    @Test func anotherNameUnderTheSameIDConcernsBoth() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1")])
        let old = try watch(.service("web"), in: &machine)
        let new = try watch(.service("shop"), in: &machine)
        let effects = try machine.register(service("w1", "shop"), checks: [])
        #expect(effects.woken.contains(old) && effects.woken.contains(new))
        #expect(machine.instances(of: "web").isEmpty)
        #expect(machine.checks[key("a")]?.serviceName == "shop")
    }

    /// A check shows its service's name and tags, the list of services nothing but these.
    @Test func whoSeesAChangeOfAServiceIsWoken() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web", tags: ["v1"]), checks: [ttlCheck("a", of: "w1")])
        let services = try watch(.services, in: &machine)
        let checks = try watch(.checks, in: &machine)
        let before = (machine.index(of: .services), machine.index(of: .checks))
        let port = try machine.register(service("w1", "web", port: 81, tags: ["v1"]), checks: [])
        #expect(port.woken.isEmpty)
        #expect((machine.index(of: .services), machine.index(of: .checks)) == before)
        let tags = try machine.register(service("w1", "web", port: 81, tags: ["v2"]), checks: [])
        #expect(tags.woken == [services, checks].sorted())
        #expect(machine.checks[key("a")]?.modifyIndex == machine.index)
        #expect(machine.checks[key("a")]?.serviceTags == ["v2"])
        let (again, more) = (try watch(.services, in: &machine), try watch(.checks, in: &machine))
        let name = try machine.register(service("w1", "site", port: 81, tags: ["v2"]), checks: [])
        #expect(name.woken == [again, more].sorted())
        // Without checks the list of services is all that there is to see.
        _ = try machine.register(service("d1", "db"), checks: [])
        let (third, _) = (try watch(.services, in: &machine), try watch(.checks, in: &machine))
        #expect(try machine.register(service("d1", "db", tags: ["x"]), checks: []).woken == [third])
    }

    /// `é` in one character or two: one thing to whoever asks, and always the row that it was first written to.
    @Test func anotherSpellingIsWrittenToTheSameRow() throws {
        let (one, two) = ("caf\u{E9}", "cafe\u{301}")
        var machine = try machine()
        _ = try machine.put(one, value: [1], flags: 0, condition: .always)
        let changed = try machine.put(two, value: [2], flags: 0, condition: .always)
        #expect(changed?.dirty == [.kv(one), .indexes])
        #expect(machine.record(.kv(one)) != nil)
        #expect(machine.record(.kv(two)) == nil)
        #expect(machine.delete(two, condition: .always)?.dirty == [.kv(one), .indexes])
        #expect(try machine.put(two, value: [2], flags: 0, condition: .always)?.dirty == [.kv(two), .indexes])
        #expect(machine.record(.kv(one)) == nil)
        #expect(machine.deleteAll(prefix: "caf").dirty == [.kv(two), .indexes])

        _ = try machine.register(service(one, "web"), checks: [ttlCheck(one, of: one)])
        let again = try machine.register(service(two, "web", port: 81), checks: [ttlCheck(two, of: two)])
        #expect(again.dirty == [.service(key(one)), .indexes])
        #expect(machine.update(key(two), status: .passing, output: "").dirty == [.check(key(one)), .indexes])
        let gone = machine.deregister(key(two)).dirty
        #expect(gone == [.service(key(one)), .check(key(one)), .indexes])
        _ = try machine.setNode(NodeRecord(name: one, address: "10.0.0.1"))
        #expect(try machine.setNode(NodeRecord(name: two, address: "10.0.0.2")).dirty == [.node(one), .indexes])
        #expect(machine.deregisterNode(two).dirty == [.node(one), .indexes])
    }

    /// A file from before may hold one thing twice: the newer one counts, and the other row goes.
    @Test func twoRowsOfOneThingBecomeOne() throws {
        let (one, two) = ("caf\u{E9}", "cafe\u{301}")
        var saved = RegistryStateMachine.Saved()
        saved.nodes = [NodeRecord(name: local, address: "127.0.0.1")]
        saved.entries = [
            KVRecord(key: two, value: [2], modifyIndex: 9), KVRecord(key: one, value: [1], modifyIndex: 3),
        ]
        saved.services = [service(two, "db"), service(one, "web")]
        saved.services[0].modifyIndex = 9
        var check = ttlCheck(one, of: one)
        saved.checks = [check]
        check.id = two
        check.serviceID = ""
        check.modifyIndex = 9
        saved.checks.append(check)
        var machine = RegistryStateMachine(localNode: local, limits: RegistryLimits(), floor: 100)
        let effects = machine.restore(saved)
        #expect(effects.dirty == [.kv(one), .service(key(one)), .check(key(one))])
        #expect(effects.dirty.allSatisfy { machine.record($0) == nil })
        #expect(machine.kv[one]?.value == [2])
        #expect(machine.services(named: "web").isEmpty && machine.services(named: "db").count == 1)
        #expect(machine.checks(ofService: key(one)).isEmpty && machine.checks(ofNode: local).count == 1)
    }

    @Test func aCheckOfTheNodeConcernsAllItsServices() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [])
        let web = try watch(.service("web"), in: &machine)
        let check = CheckRecord(node: local, id: "_node_maintenance", name: "m", status: .critical)
        #expect(try machine.register(check).woken == [web])
        #expect(machine.instances(of: "web", onlyPassing: true).isEmpty)
        _ = machine.deregisterCheck(key("_node_maintenance"))
        #expect(machine.instances(of: "web", onlyPassing: true).count == 1)
    }

    @Test func tagsMustAllBeThereInAnyCase() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web", tags: ["v1", "Primary"]), checks: [])
        _ = try machine.register(service("w2", "web", tags: ["v1"]), checks: [])
        #expect(machine.instances(of: "WEB", tags: ["V1", "primary"]).map(\.service.id) == ["w1"])
    }

    @Test func aliasesFollowTheirService() throws {
        var machine = try machine()
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1", .passing)])
        var alias = CheckRecord(node: local, id: "alias", name: "alias", status: .critical)
        alias.serviceID = "p1"
        alias.plan = CheckPlan(probe: .alias(service: "w1"), interval: .seconds(1), timeout: .seconds(1))
        _ = try machine.register(service("p1", "proxy"), checks: [alias])
        #expect(machine.checks[key("alias")]?.status == .passing)
        let proxy = try watch(.service("proxy"), in: &machine)
        #expect(machine.update(key("a"), status: .critical, output: "x").woken.contains(proxy))
        #expect(machine.checks[key("alias")]?.status == .critical)
        _ = machine.deregister(key("w1"))
        #expect(machine.checks[key("alias")]?.output == "Service w1 could not be found on node \(local)")
    }

    @Test func twoThatFollowEachOtherEnd() throws {
        var machine = try machine()
        for (own, other) in [("x", "y"), ("y", "x")] {
            var alias = CheckRecord(node: local, id: own, name: own, status: .critical)
            alias.serviceID = own
            alias.plan = CheckPlan(probe: .alias(service: other), interval: .seconds(1), timeout: .seconds(1))
            _ = try machine.register(service(own, own), checks: [alias])
        }
        #expect(machine.checks[key("x")] != nil)
    }

    @Test func limitsRefuseAndChangeNothing() throws {
        var limits = RegistryLimits()
        limits.maximumServices = 2  // the registry itself is one
        limits.maximumChecks = 2
        limits.maximumNodes = 1
        limits.maximumKeys = 1
        limits.maximumWatchers = 1
        var machine = try machine(limits: limits)
        _ = try machine.register(service("w1", "web"), checks: [ttlCheck("a", of: "w1")])
        let index = machine.index
        #expect(throws: RegistryStateMachine.Refusal.tooManyServices) {
            try machine.register(service("w2", "web"), checks: [])
        }
        #expect(throws: RegistryStateMachine.Refusal.tooManyChecks) {
            try machine.register(service("w1", "web"), checks: [ttlCheck("b", of: "w1")])
        }
        #expect(throws: RegistryStateMachine.Refusal.tooManyNodes) {
            try machine.setNode(NodeRecord(name: "other", address: "10.0.0.1"))
        }
        _ = try machine.put("k", value: [1], flags: 0, condition: .always)
        #expect(throws: RegistryStateMachine.Refusal.tooManyKeys) {
            try machine.put("l", value: [1], flags: 0, condition: .always)
        }
        #expect(machine.watch(.services) != nil)
        #expect(machine.watch(.services) == nil)
        #expect(machine.index == index + 1)
        // At the limit, what is there can still be changed.
        _ = try machine.register(service("w1", "web", port: 81), checks: [ttlCheck("a", of: "w1")])
    }

    @Test func theBytesOfAllKeysAreBounded() throws {
        var limits = RegistryLimits()
        limits.maximumKVBytes = 10
        var machine = try machine(limits: limits)
        _ = try machine.put("a", value: [1, 2, 3, 4], flags: 0, condition: .always)
        _ = try machine.put("b", value: [1, 2, 3, 4], flags: 0, condition: .always)
        #expect(machine.kvBytes == 10)
        let index = machine.index
        #expect(throws: RegistryStateMachine.Refusal.tooManyKVBytes) {
            try machine.put("a", value: [1, 2, 3, 4, 5], flags: 0, condition: .always)
        }
        #expect(throws: RegistryStateMachine.Refusal.tooManyKVBytes) {
            try machine.put("c", value: [], flags: 0, condition: .always)
        }
        #expect(machine.index == index && machine.kvBytes == 10)
        _ = try machine.put("a", value: [1], flags: 0, condition: .always)
        _ = machine.delete("b", condition: .always)
        #expect(machine.kvBytes == 2)
    }

    @Test func aServiceHasNoMoreChecksThanItMayHoweverTheyCome() throws {
        var limits = RegistryLimits()
        limits.maximumChecksPerService = 2
        var machine = try machine(limits: limits)
        let web = service("w1", "web")
        _ = try machine.register(web, checks: [ttlCheck("a", of: "w1"), ttlCheck("b", of: "w1")])
        let full = RegistryStateMachine.Refusal.tooManyChecksOfService("w1")
        #expect(throws: full) { try machine.register(ttlCheck("c", of: "w1")) }
        #expect(throws: full) { try machine.register(web, checks: [ttlCheck("c", of: "w1")]) }
        #expect(throws: full) {
            try machine.registerInCatalog(nodeName: local, node: nil, service: nil, checks: [ttlCheck("c", of: "w1")])
        }
        // What is known may be said again, maintenance is always possible, and all may be replaced.
        _ = try machine.register(ttlCheck("a", of: "w1"))
        var maintenance = ttlCheck("m", of: "w1")
        maintenance.type = "maintenance"
        _ = try machine.register(maintenance)
        _ = try machine.register(web, checks: [ttlCheck("c", of: "w1")], replacingChecks: true)
        #expect(machine.checks(ofService: key("w1")).map(\.id) == ["c"])
    }

    @Test func keysAreComparedAndSet() throws {
        var machine = try machine()
        #expect(try machine.put("k", value: [1], flags: 0, condition: .index(0)) != nil)
        #expect(try machine.put("k", value: [2], flags: 0, condition: .index(0)) == nil)
        let index = try #require(machine.kv["k"]?.modifyIndex)
        #expect(try machine.put("k", value: [2], flags: 7, condition: .index(index)) != nil)
        #expect(machine.delete("k", condition: .index(index)) == nil)
        let now = try #require(machine.kv["k"]?.modifyIndex)
        #expect(machine.delete("k", condition: .index(now)) != nil)
        #expect(machine.index(of: .kv("k")) > now)
    }

    @Test func aPrefixIsWokenByItsKeysAlone() throws {
        var machine = try machine()
        _ = try machine.put("a/1", value: [1], flags: 0, condition: .always)
        let under = try watch(.kvPrefix("a/"), in: &machine)
        #expect(try machine.put("b/1", value: [1], flags: 0, condition: .always)?.woken == [])
        #expect(try machine.put("a/2", value: [1], flags: 0, condition: .always)?.woken == [under])
        let again = try watch(.kvPrefix("a/"), in: &machine)
        let before = machine.index(of: .kvPrefix("a/"))
        #expect(machine.deleteAll(prefix: "a/").woken == [again])
        #expect(machine.index(of: .kvPrefix("a/")) > before)
    }

    @Test func afterARestartNoIndexIsBelowTheFloor() throws {
        var machine = RegistryStateMachine(localNode: local, limits: RegistryLimits(), floor: 1_000)
        var node = NodeRecord(name: local, address: "127.0.0.1")
        node.modifyIndex = 3
        var known = service("w1", "web")
        known.modifyIndex = 5
        machine.restore(RegistryStateMachine.Saved(nodes: [node], services: [known]))
        for topic in [RegistryStateMachine.Topic.services, .nodes, .checks, .service("web"), .service("x"), .kv("k")] {
            #expect(machine.index(of: topic) == 1_000)
        }
        _ = machine.deregister(key("w1"))
        #expect(machine.index(of: .service("web")) == 1_001)
    }

    /// Against a model that looks at everything: whatever happens, an index never goes back, a change that can be seen
    /// moves it and wakes who waits, and one that cannot leaves it alone.
    @Test(arguments: 0..<20) func indexesFollowWhatCanBeSeen(_ seed: Int) throws {
        let random = SeededRandomSource(seed: UInt64(seed))
        func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
        var machine = try machine()
        let names = ["web", "db", "mail"]
        func seen(_ name: String) -> [String] {
            machine.instances(of: name).map { view in
                let checks = view.checks.map { "\($0.id)=\($0.status)" }
                return "\(view.service.id):\(view.service.port):\(view.service.tags):\(checks)"
            }
        }
        for _ in 0..<400 {
            let before = names.map { (seen($0), machine.index(of: .service($0))) }
            let watchers = names.map { machine.watch(.service($0)) }
            let id = "s\(pick(5))"
            var effects = RegistryStateMachine.Effects()
            switch pick(6) {
            case 0, 1:
                let checks = (0..<pick(3)).map { ttlCheck("\(id)-\($0)", of: id) }
                effects = try machine.register(
                    service(id, names[pick(3)], port: pick(2)),
                    checks: checks,
                    replacingChecks: pick(2) == 0
                )
            case 2: effects = machine.deregister(key(id))
            case 3:
                let status = [CheckStatus.passing, .warning, .critical][pick(3)]
                effects = machine.update(key("\(id)-\(pick(3))"), status: status, output: "\(pick(3))")
            case 4: effects = machine.deregisterCheck(key("\(id)-\(pick(3))"))
            default:
                let check = CheckRecord(node: local, id: "node", name: "node", status: .critical)
                effects = pick(2) == 0 ? try machine.register(check) : machine.deregisterCheck(key("node"))
            }
            for (position, name) in names.enumerated() {
                let (old, index) = before[position]
                let isWoken = watchers[position].map { effects.woken.contains($0) } ?? false
                let now = machine.index(of: .service(name))
                #expect(now >= index)
                if seen(name) != old {
                    #expect(isWoken && now > index, "\(name) changed unseen")
                } else if isWoken {
                    // The tags or the weights may be what has changed; the index then says so.
                    #expect(now > index)
                }
                if let watcher = watchers[position] { machine.unwatch(watcher) }
            }
        }
        #expect(machine.watcherCount == 0)
    }
}
