internal import ParleyCore
internal import ParleyMessaging
public import ParleySagas

/// What every ``ParleySagas/ChoreographyStore`` promises, one named case a promise. The fixture's handles need
/// transactions.
public enum ChoreographyStoreConformance {
    public typealias Case = ConformanceCase<any ChoreographyStore>
    typealias Bench = ConformanceBench<any ChoreographyStore>

    /// - Parameter isShared: Whether several handles can be opened on the fixture's storage.
    public static func cases(isShared: Bool = false) -> [Case] {
        let cases = [
            Case("an instance, its events and interventions come back whole", Self.roundTrip),
            Case("a message comes back whole, with its body", Self.messages),
            Case("what is read in a transaction is what it has written", Self.ownWrites),
            Case("a transaction that fails writes nothing", Self.rollback),
            Case("instances of two choreographies with one id are two", Self.twoTypes),
            Case("of many that change one instance none is lost", Self.race),
            Case("a copy is counted and no event of its own", Self.copies),
            Case("lists put stuck ones first, then late ones, then the oldest", Self.order),
            Case("lists are filtered by every condition and limited", Self.filters),
            Case("what is due is found, the longest overdue first, and when the next is", Self.due),
            Case("what is over and old is forgotten, and nothing else", Self.forget),
            Case("the interventions are bounded, the newest stay", Self.interventions),
        ]
        return cases + (isShared ? [Case("another handle sees what was written", Self.sharing)] : [])
    }

    // MARK: Writing

    private static func roundTrip(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        var instance = scene.instance("i „1“ \u{1F4E6}'")
        instance.status = .late
        instance.reason = "waits for „x“\n"
        instance.dueAt = Timestamp(microseconds: 1_767_225_600_000_007)
        instance.dropped = 3
        instance.updatedAt = Timestamp(microseconds: 1_767_225_600_000_009)
        var event = scene.event("order.created")
        event.causationID = "cause"
        event.replayOf = "original"
        event.injectedBy = "ada „\n"
        event.time = Timestamp(microseconds: 1_767_225_600_000_001)
        let intervention = ChoreographyIntervention(
            kind: .replayed,
            at: instance.updatedAt,
            by: "ada",
            because: "„because“\n",
            events: ["order.created", "x"],
            messageIDs: ["m1", #"m"2"#]
        )
        instance.events = [event]
        instance.interventions = [intervention]
        var change = scene.change(instance, added: scene.message(event))
        change.intervention = intervention
        try await scene.write(change)
        try expect(try await scene.load(instance.id), equals: instance, "the instance as it was written")
        try expect(try await scene.definition(), equals: scene.definition, "its choreography")
        try expect(try await scene.load("other"), equals: nil, "an unknown one")
        var summary = instance
        summary.events = []
        summary.interventions = []
        try expect(
            try await scene.store.instances(matching: ChoreographyQuery()),
            equals: [summary],
            "the list, without events"
        )
        // Changed once more, without an event.
        instance.status = .completed
        instance.dueAt = nil
        instance.reason = nil
        try await scene.write(scene.change(instance))
        try expect(try await scene.load(instance.id), equals: instance, "the instance after a change")
    }

    private static func messages(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        var instance = scene.instance("1")
        let event = scene.event("order.created")
        var message = scene.message(event)
        message.data = [0, 255, 10, 34]
        message.dataContentType = nil
        message.key = nil
        message.subject = nil
        message.headers = ["a": "„\"\n", "correlationid": "1"]
        instance.events = [event]
        try await scene.write(scene.change(instance, added: message))
        try expect(try await scene.message(event.id, of: "1"), equals: message, "the message as it was observed")
        try expect(try await scene.message("other", of: "1"), equals: nil, "an unknown message")
        try expect(try await scene.message(event.id, of: "2"), equals: nil, "the message of another instance")
    }

    private static func ownWrites(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        let change = scene.change(scene.instance("1"))
        let seen = try await scene.transactions.withTransaction { transaction in
            try scene.store.write(change, in: transaction)
            return try scene.store.instance("1", of: scene.type, in: transaction)
        }
        try expect(seen, equals: change.instance, "what the same transaction reads")
    }

    private struct Oops: Error {}

    private static func rollback(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        var instance = scene.instance("1")
        let first = scene.event("order.created")
        instance.events = [first]
        try await scene.write(scene.change(instance, added: scene.message(first)))
        var changed = instance
        let second = scene.event("order.confirmed", arrival: 2)
        changed.events.append(second)
        changed.status = .completed
        let change = scene.change(changed, added: scene.message(second))
        let fresh = scene.change(scene.instance("2"))
        try await expectError("the transaction's own error", .ofType(Oops.self)) {
            try await scene.transactions.withTransaction { transaction in
                try scene.store.write(change, in: transaction)
                try scene.store.write(fresh, in: transaction)
                throw Oops()
            }
        }
        try expect(try await scene.load("1"), equals: instance, "the instance as it was before")
        try expect(try await scene.message(second.id, of: "1"), equals: nil, "the message that was taken back")
        try expect(try await scene.load("2"), equals: nil, "the instance that was taken back")
    }

    private static func twoTypes(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        let first = scene.instance("1")
        var second = scene.instance("1")
        second.type = "other"
        second.status = .stuck
        try await scene.write(scene.change(first))
        try await scene.write(scene.change(second))
        try expect(try await scene.load("1"), equals: first, "the first")
        try expect(try await scene.load("1", of: "other"), equals: second, "the second")
    }

    private static func race(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for number in 0..<40 {
                group.addTask {
                    try await scene.transactions.withTransaction { transaction in
                        var instance =
                            try scene.store.instance("1", of: scene.type, in: transaction) ?? scene.instance("1")
                        let event = scene.event(
                            "order.created",
                            id: "m\(number)",
                            arrival: instance.events.count + 1
                        )
                        instance.events.append(event)
                        try scene.store.write(scene.change(instance, added: scene.message(event)), in: transaction)
                    }
                }
            }
            try await group.waitForAll()
        }
        let events = try require(try await scene.load("1"), "the instance").events
        try expect(Set(events.map(\.id)).count, equals: 40, "how many events there are")
        try expect(events.map(\.arrival), equals: Array(1...40), "their places")
    }

    private static func copies(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        var instance = scene.instance("1")
        let event = scene.event("order.created")
        instance.events = [event]
        try await scene.write(scene.change(instance, added: scene.message(event)))
        instance.events[0].copies = 3
        var change = scene.change(instance)
        change.repeated = event.id
        try await scene.write(change)
        try expect(try await scene.load("1"), equals: instance, "the event with its copies")
    }

    private static func interventions(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        var instance = scene.instance("1")
        let limit = ChoreographyMachine.maximumInterventions
        for number in 0...limit {
            let intervention = ChoreographyIntervention(
                kind: .compensated,
                at: instance.createdAt,
                by: "ada",
                because: "\(number)",
                events: [],
                messageIDs: []
            )
            instance.interventions = (instance.interventions + [intervention]).suffix(limit)
            var change = scene.change(instance)
            change.intervention = intervention
            try await scene.write(change)
        }
        let kept = try require(try await scene.load("1"), "the instance").interventions
        try expect(kept.map(\.because), equals: (1...limit).map { "\($0)" }, "the newest, in their order")
    }

    // MARK: Looking

    private static func order(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        let statuses: [ChoreographyStatus] = [.completed, .late, .running, .stuck, .failed, .stuck, .late]
        for (number, status) in statuses.enumerated() {
            var instance = scene.instance("\(number)", age: number)
            instance.status = status
            try await scene.write(scene.change(instance))
        }
        let all = try await scene.store.instances(matching: ChoreographyQuery())
        try expect(all.map(\.id), equals: ["3", "5", "1", "6", "0", "2", "4"], "the order")
        let some = try await scene.store.instances(matching: ChoreographyQuery(limit: 3))
        try expect(some.map(\.id), equals: ["3", "5", "1"], "the first three")
    }

    private static func filters(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        for number in 0..<6 {
            var instance = scene.instance("\(number)", age: number)
            instance.businessKey = "key-\(number % 3)"
            instance.type = number < 3 ? scene.type : "other"
            instance.status = number % 2 == 0 ? .stuck : .running
            try await scene.write(scene.change(instance))
        }
        func ids(_ query: ChoreographyQuery) async throws -> [String] {
            try await scene.store.instances(matching: query).map(\.id)
        }
        try expect(try await ids(ChoreographyQuery(id: "4")), equals: ["4"], "by id")
        try expect(try await ids(ChoreographyQuery(businessKey: "key-1")), equals: ["4", "1"], "by business key")
        try expect(try await ids(ChoreographyQuery(type: "other")), equals: ["4", "3", "5"], "by choreography")
        try expect(try await ids(ChoreographyQuery(status: .running)), equals: ["1", "3", "5"], "by status")
        try expect(
            try await ids(ChoreographyQuery(type: "other", businessKey: "key-0", status: .stuck)),
            equals: [],
            "by all of them"
        )
    }

    private static func due(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        let now = scene.beginning
        for (id, seconds) in [("late", -1), ("later", -60), ("now", 0), ("next", 5), ("after", 9)] {
            var instance = scene.instance(id)
            instance.dueAt = now + .seconds(seconds)
            try await scene.write(scene.change(instance))
        }
        try await scene.write(scene.change(scene.instance("never")))
        let due = try await scene.store.due(at: now, limit: 10)
        try expect(due.instances.map(\.id), equals: ["later", "late", "now"], "what is due")
        try expect(due.next, equals: now + .seconds(5), "when the next is")
        try expect(try await scene.store.due(at: now, limit: 1).instances.map(\.id), equals: ["later"], "the first")
        try expect(try await scene.store.due(at: now + .seconds(99), limit: 10).next, equals: nil, "no next one")
    }

    private static func forget(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        let now = scene.beginning
        for (id, status, age) in [
            ("old", ChoreographyStatus.completed, 100), ("older", .failed, 200), ("young", .completed, 1),
            ("stuck", .stuck, 300), ("running", .running, 300), ("late", .late, 300),
        ] {
            var instance = scene.instance(id)
            instance.status = status
            instance.updatedAt = now + .seconds(-age)
            let event = scene.event("order.created", id: "m-\(id)")
            instance.events = [event]
            try await scene.write(scene.change(instance, added: scene.message(event)))
        }
        let limit = now + .seconds(-50)
        try expect(try await scene.store.forget(endedBefore: limit, limit: 1), equals: 1, "one at a time")
        try expect(try await scene.load("older"), equals: nil, "the oldest went first")
        try expect(try await scene.store.forget(endedBefore: limit, limit: 10), equals: 1, "the rest")
        try expect(try await scene.store.forget(endedBefore: limit, limit: 10), equals: 0, "nothing more")
        try expect(try await scene.message("m-old", of: "old"), equals: nil, "its messages went with it")
        let left = try await scene.store.instances(matching: ChoreographyQuery()).map(\.id)
        try expect(Set(left), equals: ["young", "stuck", "running", "late"], "what is left")
        try expect(try await scene.load("stuck")?.events.count, equals: 1, "the events of what is left")
    }

    private static func sharing(_ bench: Bench) async throws {
        let scene = try await ChoreographyScene(bench)
        let other = try await ChoreographyScene(bench)
        var instance = scene.instance("1")
        try await scene.write(scene.change(instance))
        try expect(try await other.load("1"), equals: instance, "what the other handle reads")
        instance.status = .stuck
        try await other.write(other.change(instance))
        try expect(try await scene.load("1"), equals: instance, "what was written there")
    }
}

/// A store with some shorthand.
private struct ChoreographyScene: Sendable {
    let store: any ChoreographyStore
    let transactions: any TransactionRunner
    let beginning = Timestamp(microseconds: 1_767_225_600_000_000)
    let type = "order_choreography"
    let definition = #"{"order_choreography":{}}"#

    init(_ bench: ChoreographyStoreConformance.Bench) async throws {
        let handle = try await bench.open()
        self.store = handle.port
        self.transactions = try bench.transactions(handle)
    }

    func instance(_ id: String, age number: Int = 0) -> ChoreographyInstance {
        ChoreographyInstance(
            id: id,
            type: self.type,
            businessKey: "order-\(id)",
            definition: "fingerprint",
            createdAt: self.beginning + .seconds(number),
            updatedAt: self.beginning + .seconds(number)
        )
    }

    func event(_ type: String, id: String? = nil, arrival: Int = 1) -> ObservedEvent {
        ObservedEvent(
            id: id ?? "m-\(type)",
            type: type,
            source: "order-service",
            time: self.beginning,
            observedAt: self.beginning + .milliseconds(5),
            arrival: arrival
        )
    }

    func message(_ event: ObservedEvent) -> Message {
        Message(
            id: event.id,
            source: event.source,
            type: event.type,
            subject: "order",
            time: event.time,
            data: Array("{}".utf8),
            key: "order"
        )
    }

    func change(_ instance: ChoreographyInstance, added: Message? = nil) -> ChoreographyChange {
        ChoreographyChange(instance: instance, definition: self.definition, added: added)
    }

    func write(_ change: ChoreographyChange) async throws {
        try await self.transactions.withTransaction { try self.store.write(change, in: $0) }
    }

    func load(_ id: String, of type: String? = nil) async throws -> ChoreographyInstance? {
        try await self.transactions.withTransaction { try self.store.instance(id, of: type ?? self.type, in: $0) }
    }

    func message(_ id: String, of instance: String) async throws -> Message? {
        try await self.transactions.withTransaction {
            try self.store.message(id, of: instance, type: self.type, in: $0)
        }
    }

    func definition() async throws -> String? {
        try await self.transactions.withTransaction { try self.store.definition("fingerprint", in: $0) }
    }
}
