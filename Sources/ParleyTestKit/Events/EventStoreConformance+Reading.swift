internal import ParleyCore
internal import ParleyEventStore

extension EventStoreConformance {
    static let reading: [Case] = [
        Case("what is not there reads as empty", Self.empty),
        Case("pages begin where they are asked to, and are never longer than asked for", Self.pages),
        Case("pages of long events come to the end", Self.longEvents),
        Case("ten thousand events of a hundred streams are all there, in order", Self.tenThousand),
    ]

    static let following: [Case] = [
        Case("a subscriber gets every event once and in order while many append", Self.subscriber),
        Case("a subscription begins behind its position", Self.subscribeBehind),
        Case("an append wakes who waits for events", Self.woken),
        Case("events that came before the wait are not missed", Self.notMissed),
        Case("a wait for events ends at its instant", Self.waitEnds),
        Case("a cancelled subscription ends", Self.cancelled),
    ]

    static let sharing: [Case] = [
        Case("what one handle appends another reads and is woken by", Self.acrossHandles),
        Case("of many on two handles that expect the same version one wins", Self.raceAcrossHandles),
    ]

    static let durability: [Case] = [
        Case("everything is there again after a restart, and goes on", Self.restart)
    ]

    // MARK: Reading

    private static func empty(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        for round in 0...1 {
            try expect(try await scene.store.read(scene.stream("none"), from: 1, limit: 10), equals: [], "no stream")
            try expect(try await scene.store.version(of: scene.stream("none")), equals: 0, "the version of no stream")
            for behind in [Int64(round), 99, .max] {
                let all = try await scene.store.readAll(after: GlobalPosition(behind), limit: 10)
                try expect(all, equals: [], "all events behind \(behind)")
            }
            for version in [Int64(round) + 1, 99, .max] {
                let read = try await scene.store.read(scene.stream, from: version, limit: 10)
                try expect(read, equals: [], "the stream from \(version) on")
            }
            try expect(try await scene.store.head().number, equals: Int64(round), "the head")
            if round == 0 { _ = try await scene.store.append(scene.events(1), to: scene.stream, expecting: .any) }
        }
    }

    private static func pages(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        _ = try await scene.store.append(scene.events(2), to: scene.stream("before"), expecting: .any)
        _ = try await scene.store.append(scene.events(5), to: scene.stream, expecting: .any)
        func versions(_ from: Int64, _ limit: Int) async throws -> [Int64] {
            try await scene.store.read(scene.stream, from: from, limit: limit).map(\.version)
        }
        try expect(try await versions(1, 2), equals: [1, 2], "the first two")
        try expect(try await versions(2, 3), equals: [2, 3, 4], "three from the second on")
        try expect(try await versions(4, 100), equals: [4, 5], "the rest")
        try expect(try await versions(1, .max), equals: [1, 2, 3, 4, 5], "with a limit without sense")
        try expect(try await versions(.min, 0), equals: [1], "from before the beginning, with the least limit")
        func positions(_ after: Int64, _ limit: Int) async throws -> [Int64] {
            try await scene.store.readAll(after: GlobalPosition(after), limit: limit).map(\.position.number)
        }
        try expect(try await positions(0, 3), equals: [1, 2, 3], "the first three of all")
        try expect(try await positions(3, 2), equals: [4, 5], "two behind the third")
        try expect(try await positions(.min, .min), equals: [1], "behind before the beginning, with the least limit")
        try expect(try await scene.read(scene.stream, page: 2).count, equals: 5, "a stream by pages")
    }

    private static func longEvents(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let size = min(1 << 20, scene.store.limits.maximumEventBytes)
        for number in 0..<20 {
            let event = EventData(type: "long", data: Array(repeating: UInt8(number), count: size))
            _ = try await scene.store.append([event], to: scene.stream, expecting: .exactly(Int64(number)))
        }
        let wanted = (0..<20).map { UInt8($0) }
        let read = try await scene.read(scene.stream)
        try expect(read.map { $0.data.last ?? 255 }, equals: wanted, "the stream")
        try expect(read.allSatisfy { $0.data.count == size }, "each event to be whole")
        try expect(try await scene.all() == read, "all events to be the same")
    }

    private static func tenThousand(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<10 {
                group.addTask {
                    for number in 0..<10 {
                        let stream = scene.stream("s-\(worker)-\(number)")
                        for part in 0..<2 {
                            let expected = ExpectedVersion.exactly(Int64(part * 50))
                            _ = try await scene.store.append(scene.events(50), to: stream, expecting: expected)
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        let all = try await scene.all(page: 777)
        try expect(all.map(\.position.number), equals: Array(1...10_000), "the positions")
        var versions: [StreamName: Int64] = [:]
        for event in all {
            try expect(event.version, equals: versions[event.stream, default: 0] + 1, "the version in \(event.stream)")
            versions[event.stream] = event.version
        }
        try expect(versions.count, equals: 100, "the streams")
        try expect(Set(all.map(\.id)).count, equals: 10_000, "the ids")
        try expect(try await scene.read(scene.stream("s-3-7"), page: 33).count, equals: 100, "one of the streams")
    }

    // MARK: Following

    /// Reads until it has seen the event with the id `last`.
    private static func follow(_ store: any EventStore, until last: String) async throws -> [RecordedEvent] {
        var seen: [RecordedEvent] = []
        for try await event in store.subscribe(after: .start, page: 7) {
            seen.append(event)
            if event.id == last { break }
        }
        return seen
    }

    private static func subscriber(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        async let first = Self.follow(scene.store, until: "last")
        async let second = Self.follow(scene.store, until: "last")
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<8 {
                group.addTask {
                    for round in 0..<25 {
                        let stream = scene.stream("s\((worker + round) % 5)")
                        let events = scene.events(1 + round % 3)
                        _ = try await scene.store.append(events, to: stream, expecting: .any)
                        if round % 4 == 0 { _ = try await scene.store.append(events, to: stream, expecting: .any) }
                    }
                }
            }
            try await group.waitForAll()
        }
        let last = EventData(id: "last", type: "t", data: [])
        _ = try await scene.store.append([last], to: scene.stream, expecting: .any)
        let stored = try await scene.all()
        try expect(stored.map(\.position.number), equals: Array(1...Int64(stored.count)), "the positions")
        try expect(try await first, equals: stored, "what a subscriber saw")
        try expect(try await second, equals: stored, "what another subscriber saw")
    }

    private static func subscribeBehind(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        _ = try await scene.store.append(scene.events(5), to: scene.stream, expecting: .any)
        var iterator = scene.store.subscribe(after: GlobalPosition(3), page: 1).makeAsyncIterator()
        try expect(try await iterator.next()?.position.number, equals: 4, "the first event")
        try expect(try await iterator.next()?.position.number, equals: 5, "the second event")
        async let appended: Void = Self.appendLater(scene)
        try expect(try await iterator.next()?.position.number, equals: 6, "the one that came later")
        try await appended
    }

    private static func appendLater(_ scene: EventScene) async throws {
        await giveOthersTheirTurn()
        _ = try await scene.store.append(scene.events(1), to: scene.stream("b"), expecting: .any)
    }

    private static func woken(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        for round in 0..<30 {
            let position = GlobalPosition(Int64(round))
            async let woken: Void = scene.store.waitForEvents(after: position, until: nil)
            for _ in 0..<(round % 5) { await Task.yield() }
            _ = try await scene.store.append(scene.events(1), to: scene.stream, expecting: .any)
            try await woken
        }
    }

    private static func notMissed(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        _ = try await scene.store.append(scene.events(2), to: scene.stream, expecting: .any)
        try await scene.store.waitForEvents(after: .start, until: nil)
        try await scene.store.waitForEvents(after: GlobalPosition(1), until: nil)
    }

    private static func waitEnds(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let end = bench.time.now.advanced(by: .milliseconds(300))
        async let wait: Void = scene.store.waitForEvents(after: .start, until: end)
        for _ in 0..<6 {
            await giveOthersTheirTurn()
            try await bench.pass(.milliseconds(50))
        }
        try await wait
    }

    private static func cancelled(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                var iterator = scene.store.subscribe(after: .start).makeAsyncIterator()
                return (try? await iterator.next()) == nil
            }
            await giveOthersTheirTurn()
            group.cancelAll()
        }
    }

    // MARK: Several handles

    private static func acrossHandles(_ bench: Bench) async throws {
        // On the system's clocks: between processes a wake-up may get lost, and a poll of at most a second covers it.
        let (writer, reader) = (
            try await bench.open(on: SystemTimeSource()).port, try await bench.open(on: SystemTimeSource()).port
        )
        let stream = try require(StreamName("s"), "a name")
        var iterator = reader.subscribe(after: .start).makeAsyncIterator()
        for round in 1...5 {
            let event = EventData(id: "\(round)", type: "t", data: [])
            _ = try await writer.append([event], to: stream, expecting: .any)
            try expect(try await iterator.next()?.id, equals: "\(round)", "what the other handle sees")
            let again = try await reader.append([event], to: stream, expecting: .noStream)
            try expect(again.isRepetition, equals: true, "whether the other handle knows its id")
        }
    }

    private static func raceAcrossHandles(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let other = try await bench.open().port
        try await Self.race(scene, [scene.store, other], rounds: 10)
    }

    private static func restart(_ bench: Bench) async throws {
        let handle = try await bench.open()
        let stream = try require(StreamName("order-1"), "a name")
        let first = [EventData(type: "t", data: [0, 255], metadata: ["a": "b"]), EventData(type: "t", data: [])]
        let stored = try await handle.port.append(first, to: stream, expecting: .noStream)
        let before = try await handle.port.readAll(after: .start, limit: 10)
        await handle.close()
        let scene = try await EventScene(bench)
        try expect(try await scene.all(), equals: before, "the events")
        let again = try await scene.store.append(first, to: stream, expecting: .noStream)
        try expect(again.positions, equals: stored.positions, "where a repetition finds them")
        let next = try await scene.store.append(scene.events(1), to: stream, expecting: .exactly(2))
        try expect(next.positions, equals: [GlobalPosition(3)], "the position of the next")
    }
}
