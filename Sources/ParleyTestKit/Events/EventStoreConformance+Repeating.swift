internal import ParleyCore
internal import ParleyEventStore

extension EventStoreConformance {
    static let repeating: [Case] = [
        Case("an append that is repeated adds nothing, in every mode, and says where the events are", Self.repeated),
        Case("a part of what was appended, and several appends as one, are repetitions", Self.rearranged),
        Case("a partial overlap is an error of its own, and stores nothing", Self.partialOverlap),
        Case("the same id in another stream is another event", Self.otherStream),
        Case("of many that append the same events at once one stores them", Self.repeatedAtOnce),
    ]

    private static let modes: [ExpectedVersion] = [.any, .noStream, .exists, .exactly(0), .exactly(2), .exactly(99)]

    private static func repeated(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        _ = try await scene.store.append(scene.events(2), to: scene.stream, expecting: .noStream)
        let events = scene.events(3)
        var wanted = try await scene.store.append(events, to: scene.stream, expecting: .exactly(2))
        try expect(wanted.isRepetition, equals: false, "whether the first try is a repetition")
        wanted.isRepetition = true
        for round in 1...2 {
            for mode in Self.modes {
                let again = try await scene.store.append(events, to: scene.stream, expecting: mode)
                try expect(again, equals: wanted, "the answer to the repetition under \(mode), round \(round)")
            }
            // In the second round the stream, and the store, have gone on.
            if round == 1 {
                _ = try await scene.store.append(scene.events(1), to: scene.stream("b"), expecting: .any)
                _ = try await scene.store.append(scene.events(1), to: scene.stream, expecting: .exactly(5))
            }
        }
        try expect(try await scene.all().count, equals: 7, "the events that are stored")
    }

    private static func rearranged(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let (first, second) = (scene.events(2), scene.events(2))
        _ = try await scene.store.append(first, to: scene.stream, expecting: .noStream)
        _ = try await scene.store.append(scene.events(1), to: scene.stream("between"), expecting: .noStream)
        _ = try await scene.store.append(second, to: scene.stream, expecting: .exactly(2))
        let part = try await scene.store.append([first[1]], to: scene.stream, expecting: .any)
        try expect([part.firstVersion, part.lastVersion], equals: [2, 2], "where a part is")
        let both = try await scene.store.append(first + second, to: scene.stream, expecting: .noStream)
        try expect(both.positions.map(\.number), equals: [1, 2, 4, 5], "where the two appends are")
        try expect([part.isRepetition, both.isRepetition], equals: [true, true], "whether they are repetitions")
        try expect(try await scene.store.version(of: scene.stream), equals: 4, "the version")
    }

    private static func partialOverlap(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let old = scene.events(4)
        _ = try await scene.store.append(old, to: scene.stream, expecting: .noStream)
        let new = scene.events(1)[0]
        let wrong: [[EventData]] = [
            [old[3], new], [new, old[0]], [old[0], new, old[1]], [old[1], old[0]], [old[0], old[2]], [old[3], old[0]],
        ]
        for (index, events) in wrong.enumerated() {
            for mode in Self.modes + [.exactly(4)] {
                let error = try await scene.refusal(events, mode)
                try expect(error.code, equals: .partialOverlap, "the error for example \(index) under \(mode)")
                try expect(error.currentVersion, equals: 4, "the version that it names")
            }
        }
        try expect(try await scene.all().map(\.id), equals: old.map(\.id), "what is stored")
    }

    private static func otherStream(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        let events = scene.events(2)
        for name in ["a", "b"] {
            let result = try await scene.store.append(events, to: scene.stream(name), expecting: .noStream)
            try expect(result.isRepetition, equals: false, "whether it is a repetition in \(name)")
        }
        try expect(try await scene.store.head(), equals: GlobalPosition(4), "the head")
    }

    private static func repeatedAtOnce(_ bench: Bench) async throws {
        let scene = try await EventScene(bench)
        for round in 0..<10 {
            let events = scene.events(2)
            let results = try await withThrowingTaskGroup(of: AppendResult.self) { group in
                for number in 0..<8 {
                    let expected: ExpectedVersion = number % 2 == 0 ? .any : .exactly(Int64(round * 2))
                    group.addTask { try await scene.store.append(events, to: scene.stream, expecting: expected) }
                }
                return try await group.reduce(into: [AppendResult]()) { $0.append($1) }
            }
            try expect(results.count { !$0.isRepetition }, equals: 1, "how many stored them")
            try expect(Set(results.map(\.positions)).count, equals: 1, "the places that the answers name")
        }
        try expect(try await scene.store.version(of: scene.stream), equals: 20, "the version")
    }
}
