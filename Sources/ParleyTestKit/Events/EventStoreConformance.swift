internal import ParleyCore
public import ParleyEventStore

/// What every ``ParleyEventStore/EventStore`` promises, one named case a promise.
public enum EventStoreConformance {
    public typealias Case = ConformanceCase<any EventStore>
    typealias Bench = ConformanceBench<any EventStore>

    /// - Parameters:
    ///   - isDurable: Whether everything is there again when a handle was closed and another is opened.
    ///   - isShared: Whether several handles can be opened on the fixture's storage.
    public static func cases(isDurable: Bool = false, isShared: Bool = false) -> [Case] {
        Self.appending + Self.repeating + Self.reading + Self.following + (isShared ? Self.sharing : [])
            + (isDurable ? Self.durability : [])
    }

    static let appending: [Case] = [
        Case("an event comes back whole", Self.roundTrip),
        Case("versions and positions begin at 1 and have no gaps", Self.numbers),
        Case("each expected version holds where it should, and only there", Self.expectedVersions),
        Case("an append that is refused says where the stream is, and stores nothing", Self.refused),
        Case("of many that expect the same version one wins", Self.race),
        Case("of many that create a stream one wins", Self.creationRace),
        Case("many that expect nothing all append, side by side", Self.crowd),
        Case("what is at a limit is stored, what is beyond it is refused", Self.limits),
        Case("events that no store takes are refused", Self.invalid),
    ]

    // MARK: Appending

    private static func roundTrip(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let events = [
            EventData(
                id: "!~",
                type: "order.placed/v1",
                data: Array(0...255) + [0, 0],
                metadata: ["user": "„Jo“ \u{1F4E6}\n\0'\"", "empty": "", "ключ": "значение"]
            ),
            EventData(type: "empty", data: []),
        ]
        let before = SystemTimeSource().wallTime
        let result = try await scene.store.append(events, to: scene.stream, expecting: .noStream)
        let wanted = AppendResult(
            firstVersion: 1,
            positions: [GlobalPosition(1), GlobalPosition(2)],
            isRepetition: false
        )
        try expect(result, equals: wanted, "the answer")
        try expect(result.lastVersion, equals: 2, "the last version")
        let read = try await scene.store.read(scene.stream, from: 1, limit: 10)
        for (index, event) in read.enumerated() {
            try expect(event.stream, equals: scene.stream, "the stream of event \(index)")
            try expect(event.version, equals: Int64(index) + 1, "the version of event \(index)")
            try expect(event.position, equals: wanted.positions[index], "the position of event \(index)")
            if !bench.fixture.followsTime {
                let distance = event.recordedAt - before
                try expect(distance > .seconds(-60) && distance < .seconds(60), "the time to be about now")
            }
        }
        try expect(read.map(\.asData), equals: events, "the events")
        try expect(try await scene.all(), equals: read, "the same among the events of all streams")
    }

    private static func numbers(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        var wanted: [String] = []
        for round in 1...5 {
            for name in ["a", "b"] {
                let events = scene.events(round)
                wanted += events.map { "\(name) \($0.id)" }
                let result = try await scene.store.append(events, to: scene.stream(name), expecting: .any)
                try expect(result.lastVersion, equals: Int64(round * (round + 1) / 2), "the version of \(name)")
                try expect(result.positions.last?.number, equals: Int64(wanted.count), "the newest position")
                try expect(try await scene.store.head(), equals: GlobalPosition(Int64(wanted.count)), "the head")
            }
        }
        let all = try await scene.all()
        try expect(all.map { "\($0.stream) \($0.id)" }, equals: wanted, "the events, in order")
        try expect(all.map(\.position.number), equals: Array(1...Int64(wanted.count)), "their positions")
        for name in ["a", "b"] {
            let versions = try await scene.read(scene.stream(name)).map(\.version)
            try expect(versions, equals: Array(1...15), "the versions of \(name)")
            try expect(try await scene.store.version(of: scene.stream(name)), equals: 15, "the version of \(name)")
        }
    }

    private static func expectedVersions(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let modes: [ExpectedVersion] = [
            .any, .noStream, .exists, .exactly(0), .exactly(1), .exactly(2), .exactly(3), .exactly(-1),
            .exactly(.max), .exactly(.min),
        ]
        for length in [0, 2] {
            for (index, mode) in modes.enumerated() {
                let stream = scene.stream("\(length)-\(index)")
                if length > 0 { _ = try await scene.store.append(scene.events(length), to: stream, expecting: .any) }
                let isTaken: Bool
                do {
                    _ = try await scene.store.append(scene.events(1), to: stream, expecting: mode)
                    isTaken = true
                } catch let error as EventStoreError where error.code == .wrongVersion {
                    isTaken = false
                }
                let wanted = length == 0 ? [0, 1, 3].contains(index) : [0, 2, 5].contains(index)
                try expect(isTaken, equals: wanted, "whether \(mode) holds for a stream of \(length) events")
                let version = try await scene.store.version(of: stream)
                try expect(version, equals: Int64(length + (wanted ? 1 : 0)), "the version after it")
            }
        }
    }

    private static func refused(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        _ = try await scene.store.append(scene.events(3), to: scene.stream, expecting: .noStream)
        for mode in [ExpectedVersion.noStream, .exactly(2), .exactly(4)] {
            let error = try await scene.refusal(scene.events(2), mode)
            try expect(error.code, equals: .wrongVersion, "the error")
            try expect(error.currentVersion, equals: 3, "the version that it names")
            try expect(error.retry, equals: .permanent, "whether trying again helps")
        }
        try expect(try await scene.all().count, equals: 3, "the events that are stored")
        let next = try await scene.store.append(scene.events(1), to: scene.stream, expecting: .exactly(3))
        try expect(next.positions, equals: [GlobalPosition(4)], "the position of the next")
    }

    private static func race(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        try await Self.race(scene, [scene.store], rounds: 20)
    }

    static func race(_ scene: EventScene, _ stores: [any EventStore], rounds: Int) async throws {
        for round in 0..<rounds {
            let outcomes = try await withThrowingTaskGroup(of: Bool.self) { group in
                for number in 0..<8 {
                    let store = stores[number % stores.count]
                    group.addTask {
                        do {
                            let expected = ExpectedVersion.exactly(Int64(round * 2))
                            _ = try await store.append(scene.events(2), to: scene.stream, expecting: expected)
                            return true
                        } catch let error as EventStoreError where error.code == .wrongVersion {
                            try expect(error.currentVersion, equals: Int64(round * 2 + 2), "the version it names")
                            return false
                        }
                    }
                }
                return try await group.reduce(into: [Bool]()) { $0.append($1) }
            }
            try expect(outcomes.count { $0 }, equals: 1, "how many appends won")
        }
        let all = try await scene.all()
        try expect(all.map(\.version), equals: Array(1...Int64(rounds * 2)), "the versions")
        try expect(all.map(\.position.number), equals: Array(1...Int64(rounds * 2)), "the positions")
    }

    private static func creationRace(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        for round in 0..<10 {
            let stream = scene.stream("s\(round)")
            let winners = try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        do {
                            _ = try await scene.store.append(scene.events(1), to: stream, expecting: .noStream)
                            return 1
                        } catch let error as EventStoreError where error.code == .wrongVersion {
                            return 0
                        }
                    }
                }
                return try await group.reduce(0, +)
            }
            try expect(winners, equals: 1, "how many created the stream")
            try expect(try await scene.store.version(of: stream), equals: 1, "its version")
        }
    }

    private static func crowd(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let appended = try await withThrowingTaskGroup(of: [(Int64, [String])].self) { group in
            for number in 0..<10 {
                group.addTask {
                    var mine: [(Int64, [String])] = []
                    for round in 0..<10 {
                        let events = scene.events(1 + (number + round) % 3)
                        let result = try await scene.store.append(events, to: scene.stream, expecting: .any)
                        mine.append((result.firstVersion, events.map(\.id)))
                    }
                    return mine
                }
            }
            return try await group.reduce(into: [(Int64, [String])]()) { $0 += $1 }
        }
        let stored = try await scene.read(scene.stream).map(\.id)
        let wanted = appended.sorted { $0.0 < $1.0 }.flatMap(\.1)
        try expect(stored, equals: wanted, "each append's events side by side, where its answer says")
    }

    private static func limits(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let limits = scene.store.limits
        let whole = EventData(type: "t", data: Array(repeating: 7, count: limits.maximumEventBytes))
        var beyond = whole
        beyond.id = "beyond"
        beyond.metadata = ["m": ""]
        try expect(try await scene.refusal([beyond], .any).code, equals: .tooLarge, "the error for a long event")
        let many = scene.events(limits.maximumEventsPerAppend + 1)
        try expect(try await scene.refusal(many, .any).code, equals: .tooLarge, "the error for many events")
        let count = limits.maximumAppendBytes / limits.maximumEventBytes + 1
        let heavy = (0..<count).map { EventData(id: "\($0)", type: "t", data: whole.data) }
        try expect(try await scene.refusal(heavy, .any).code, equals: .tooLarge, "the error for a heavy append")
        try expect(try await scene.all(), equals: [], "what is stored of them")
        _ = try await scene.store.append([whole], to: scene.stream, expecting: .noStream)
        let full = try await scene.store.append(Array(many.dropLast()), to: scene.stream, expecting: .exactly(1))
        try expect(full.positions.count, equals: limits.maximumEventsPerAppend, "the events of a full append")
        let read = try await scene.store.read(scene.stream, from: 1, limit: 1)
        try expect(read.first?.data == whole.data, "the longest event, whole")
    }

    private static func invalid(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let crowded = Dictionary(uniqueKeysWithValues: (0...64).map { ("\($0)", "") })
        let wrong: [[EventData]] = [
            [],
            [EventData(id: "", type: "t", data: [])],
            [EventData(id: "a b", type: "t", data: [])],
            [EventData(id: String(repeating: "a", count: 65), type: "t", data: [])],
            [EventData(type: "", data: [])],
            [EventData(type: "tür", data: [])],
            [EventData(type: "t", data: [], metadata: ["": "x"])],
            [EventData(type: "t", data: [], metadata: crowded)],
            [EventData(id: "twice", type: "t", data: []), EventData(id: "twice", type: "u", data: [])],
        ]
        for (index, events) in wrong.enumerated() {
            let error = try await scene.refusal(events, .any)
            try expect(error.code, equals: .invalidEvent, "the error for example \(index)")
        }
        try expect(try await scene.store.head(), equals: .start, "the head")
    }
}

/// One store under test, with the words that most cases need.
struct EventScene: Sendable {
    let bench: EventStoreConformance.Bench
    let store: any EventStore
    let stream: StreamName

    init(_ bench: EventStoreConformance.Bench) async throws {
        self.bench = bench
        self.store = try await bench.open().port
        self.stream = try require(StreamName("order-1"), "a name")
    }

    /// `name` must be one.
    func stream(_ name: String) -> StreamName { StreamName(name) ?? self.stream }

    /// New ones, with ids of their own.
    func events(_ count: Int) -> [EventData] {
        (0..<count).map { EventData(type: "order.changed", data: Array("{\"n\":\($0)}".utf8)) }
    }

    func refusal(_ events: [EventData], _ expected: ExpectedVersion) async throws -> EventStoreError {
        do {
            let result = try await self.store.append(events, to: self.stream, expecting: expected)
            throw ConformanceFailure("an error", got: "\(result)")
        } catch let error as EventStoreError {
            return error
        }
    }

    /// A whole stream, page by page.
    func read(_ stream: StreamName, page: Int = 1_000) async throws -> [RecordedEvent] {
        var events: [RecordedEvent] = []
        while true {
            let next = try await self.store.read(stream, from: Int64(events.count) + 1, limit: page)
            if next.isEmpty { return events }
            events += next
        }
    }

    /// Everything, page by page.
    func all(page: Int = 1_000) async throws -> [RecordedEvent] {
        var events: [RecordedEvent] = []
        while true {
            let next = try await self.store.readAll(after: events.last?.position ?? .start, limit: page)
            if next.isEmpty { return events }
            events += next
        }
    }
}

extension RecordedEvent {
    var asData: EventData { EventData(id: self.id, type: self.type, data: self.data, metadata: self.metadata) }
}
