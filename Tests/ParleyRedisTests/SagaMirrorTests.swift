import Foundation
import ParleyCore
import ParleyRESP
import ParleySQLite
import ParleySagas
import ParleyTestKit
import RedisTestSupport
import Testing

@testable import ParleyRedis

/// Sagas in a file, shown on a real server: whatever dies, the hashes come to show what is in the file.
@Suite("The mirror of sagas", .serialized, .timeLimit(.minutes(2)))
struct SagaMirrorTests {
    @Test(arguments: Engine.all) func theHashFollowsTheSaga(_ engine: Engine) async throws {
        try await Mirrored.with(engine) { file in
            #expect(try await file.mirror.mirrorPage())
            try await file.create("123")
            #expect(try await file.mirror.mirrorPage())
            #expect(try await file.hash("123") == ["state": "A", "order_id": "123", "started_at": "\(file.began)"])
            try await file.move("123", to: "B")
            #expect(try await file.hash("123")["state"] == "A")
            #expect(try await file.mirror.mirrorPage())
            #expect(try await file.hash("123")["state"] == "B")
            // More than a page.
            for number in 1...250 { try await file.create("n\(number)") }
            #expect(try await !file.mirror.mirrorPage())
            #expect(try await file.hash("n250").isEmpty)
            try await file.catchUp()
            for number in [1, 100, 101, 250] { #expect(try await file.hash("n\(number)")["state"] == "A") }
        }
    }

    /// What ended is shown for a while, and not for ever.
    @Test func endedOnesGo() async throws {
        try await Mirrored.with(retention: .seconds(60)) { file in
            for number in ["new", "old", "edited", "theirs"] { try await file.create(number) }
            try await file.catchUp()
            #expect(try await file.client.send(["PTTL", "saga:order:new"]).integer == -1)
            try await file.client.send(["HSET", "saga:order:edited", "state", "X"])
            try await file.client.send(["DEL", "saga:order:theirs"])
            try await file.client.send(["RPUSH", "saga:order:theirs", "x"])
            for number in ["edited", "theirs"] { try await file.move(number, to: "B") }
            try await file.catchUp()
            #expect(try await file.client.send(["SCARD", "{mirror}:again"]).integer == 2)
            try await file.move("new", to: "END", status: .completed)
            // They ended while nobody mirrored, longer ago than they would have been shown.
            for number in ["old", "edited", "theirs"] {
                try await file.move(number, to: "END", status: .completed, at: file.began + .seconds(-3_600))
            }
            try await file.catchUp()
            let left = try #require(try await file.client.send(["PTTL", "saga:order:new"]).integer)
            #expect((1...60_000).contains(left))
            #expect(try await file.hash("new")["state"] == "END")
            for number in ["old", "edited"] { #expect(try await file.hash(number).isEmpty) }
            #expect(try await file.client.send(["LLEN", "saga:order:theirs"]).integer == 1)
            // Two of 'new', the position, and what is theirs.
            #expect(try await file.client.send(["DBSIZE"]).integer == 4)
        }
    }

    // MARK: Faults

    @Test(arguments: Engine.all) func aServerThatIsAwayAndComesBackEmptyGetsEverythingAgain(
        _ engine: Engine
    ) async throws {
        try await Mirrored.with(engine) { file in
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await file.mirror.run() }
                for number in ["1", "2"] { try await file.create(number) }
                try await eventually("shown") { try await file.hash("2")["state"] == "A" }
                // Nothing is saved: it forgets all.
                try await file.server.kill()
                try await file.move("1", to: "B")
                try await file.create("3")
                try await file.server.start()
                try await eventually("shown again") {
                    (try? await file.states(["1", "2", "3"])) == ["B", "A", "A"]
                }
                group.cancelAll()
            }
        }
    }

    /// The mirror dies after the commit, before or after it has written: another one goes on.
    @Test func anotherMirrorGoesOn() async throws {
        try await Mirrored.with { file in
            try await file.create("1")
            #expect(try await file.mirror.mirrorPage())
            try await file.move("1", to: "B")
            try await file.create("2")
            let other = file.another()
            #expect(try await other.mirrorPage())
            #expect(try await file.states(["1", "2"]) == ["B", "A"])
            try await file.move("1", to: "C")
            #expect(try await file.mirror.mirrorPage())
            #expect(try await file.states(["1", "2"]) == ["C", "A"])
        }
    }

    /// Both read the same page; the slower one has read what is old by now, and writes nothing of it.
    @Test func aSlowMirrorWritesNothingOld() async throws {
        try await Mirrored.with { file in
            try await file.create("1")
            let gate = Gate(file.sagas)
            let slow = file.another(gate)
            async let result = slow.mirrorPage()
            await gate.hasRead()
            try await file.move("1", to: "B")
            try await file.catchUp()
            gate.open()
            #expect(try await result == false, "it has to look again")
            #expect(try await file.hash("1")["state"] == "B")
            #expect(try await slow.mirrorPage())
            #expect(try await file.hash("1")["state"] == "B")
        }
    }

    @Test(arguments: Engine.all) func severalMirrorsUnderLoadAgreeInTheEnd(_ engine: Engine) async throws {
        try await Mirrored.with(engine) { file in
            let numbers = (1...20).map { "\($0)" }
            for number in numbers { try await file.create(number) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 1...3 { group.addTask { try await file.another().run() } }
                for round in 1...20 {
                    for number in numbers { try await file.move(number, to: "S\(round)") }
                }
                try await eventually("all show the last state") {
                    try await file.states(numbers) == numbers.map { _ in "S20" }
                }
                group.cancelAll()
            }
            // Nothing old comes after it.
            try await file.catchUp()
            #expect(try await file.states(numbers) == numbers.map { _ in "S20" })
        }
    }

    /// The file was replaced by an older copy, or by another one: the position means nothing to it.
    @Test func aPositionOfAnotherFileIsTheBeginning() async throws {
        try await Mirrored.with { file in
            for position in ["99:1:id-1", "1:7:id-1", "garbage", "", "::", "x:y:z", "-1:1:"] {
                try await file.client.send(["FLUSHALL"])
                try await file.client.send(["SET", "{mirror}:position", RESPArgument(position)])
                try await file.create("at \(position)")
                try await file.catchUp()
                #expect(try await file.hash("at \(position)")["state"] == "A", "\(position)")
            }
            let all = try await file.sagas.changes(after: nil, including: [], limit: 1_000)
            let again = try await file.sagas.changes(after: all.position, including: [], limit: 10)
            #expect(again == SagaChanges(instances: [], position: all.position, isEnd: true))
            let first = try await file.sagas.changes(after: "99999:1:x", including: [], limit: 1)
            #expect(first.instances.count == 1 && !first.isEnd)
            let last = try #require(all.instances.last?.id)
            let asked = try await file.sagas.changes(after: all.position, including: [last, "nobody"], limit: 1)
            #expect(asked.instances.map(\.id) == [last] && asked.isEnd)
        }
    }

    // MARK: Edits

    @Test(arguments: Engine.all) func anEditIsNotWrittenOverAndCanBeTaken(_ engine: Engine) async throws {
        try await Mirrored.with(engine) { file in
            let saga = try await file.create("123")
            #expect(try await file.mirror.edit(of: saga) == nil)
            try await file.catchUp()
            #expect(try await file.mirror.edit(of: saga) == nil)
            try await file.client.send(["HSET", "saga:order:123", "state", "X"])
            let edit = try #require(try await file.mirror.edit(of: saga))
            #expect(edit.key == "saga:order:123" && edit.shownState == "A")
            #expect(edit.changes == [.init(field: "state", stored: "A", edited: "X")])
            #expect(try edit.wantedState() == "X")
            // The saga goes on; what the person has set stays to be seen.
            try await file.move("123", to: "B")
            for _ in 1...3 { try await file.catchUp() }
            #expect(try await file.hash("123")["state"] == "X")
            #expect(try await file.mirror.edit(of: saga) == edit)
            // Changed meanwhile: not taken.
            try await file.client.send(["HSET", "saga:order:123", "state", "Y"])
            #expect(try await file.mirror.take(edit) == false)
            let newer = try #require(try await file.mirror.edit(of: saga))
            #expect(try await file.mirror.take(newer))
            #expect(try await file.mirror.take(newer) == false)
            #expect(try await file.mirror.edit(of: saga) == nil)
            // And what the saga did meanwhile is shown.
            try await file.catchUp()
            #expect(try await file.hash("123")["state"] == "B")
            #expect(try await file.client.send(["SCARD", "{mirror}:again"]).integer == 0)
        }
    }

    @Test func whatIsNoStateIsNotTaken() async throws {
        try await Mirrored.with { file in
            let saga = try await file.create("123")
            // Somebody else's, from before.
            try await file.client.send(["HSET", "saga:order:123", "state", "theirs"])
            try await file.catchUp()
            #expect(try await file.hash("123") == ["state": "theirs"])
            let foreign = try #require(try await file.mirror.edit(of: saga))
            #expect(throws: SagaError.self) { try foreign.wantedState() }
            #expect(try await file.mirror.take(foreign) == false)
            // Deleted: written anew, though the saga does nothing.
            try await file.client.send(["DEL", "saga:order:123"])
            try await file.catchUp()
            #expect(try await file.hash("123")["state"] == "A")
            for words: [RESPArgument] in [
                ["HSET", "saga:order:123", "state", "X", "order_id", "9"], ["HDEL", "saga:order:123", "state"],
                ["HSET", "saga:order:123", RESPArgument([0xFF]), "x"],
            ] {
                try await file.client.send(RESPCommand(words))
                let edit = try #require(try await file.mirror.edit(of: saga))
                #expect(throws: SagaError.self) { try edit.wantedState() }
                try await file.client.send(["DEL", "saga:order:123"])
                try await file.move("123", to: "A")
                try await file.catchUp()
                #expect(try await file.mirror.edit(of: saga) == nil)
            }
            try await file.client.send(["DEL", "saga:order:123"])
            try await file.client.send(["RPUSH", "saga:order:123", "theirs"])
            try await file.move("123", to: "C")
            try await file.catchUp()
            let list = try #require(try await file.mirror.edit(of: saga))
            #expect(list.content == "list")
            #expect(try await file.client.send(["LLEN", "saga:order:123"]).integer == 1)
            try await file.client.send(["RENAME", "saga:order:123", "moved"])
            try await file.catchUp()
            #expect(try await file.hash("123")["state"] == "C")
        }
    }
}

/// A store in a file, a server, and a mirror between them that does what it is told.
private struct Mirrored: Sendable {
    let server: RedisServer
    let client: RESPClient
    let backend: SQLiteBackend
    let retention: Duration
    let began: Timestamp

    var sagas: SQLiteSagaStore { self.backend.sagas }
    var mirror: RedisSagaMirror { self.another() }

    func another(_ source: (any SagaFeed)? = nil) -> RedisSagaMirror {
        RedisSagaMirror(
            client: self.client,
            source: source ?? self.sagas,
            prefix: "{mirror}",
            configuration: .init(interval: .milliseconds(10), retention: self.retention),
            logger: quiet
        )
    }

    static func with(
        _ engine: Engine = .redis,
        retention: Duration = .seconds(3_600),
        _ body: (Mirrored) async throws -> Void
    ) async throws {
        let folder = NSTemporaryDirectory() + "parley-mirror-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await RedisServer.withClients(engine) { server, clients in
            let backend = try await SQLiteBackend(path: folder + "/sagas.db", logger: quiet)
            let file = Mirrored(
                server: server,
                client: clients.open().client,
                backend: backend,
                retention: retention,
                began: SystemTimeSource().wallTime
            )
            let result: Result<Void, any Error>
            do { result = .success(try await body(file)) } catch { result = .failure(error) }
            await backend.close()
            try result.get()
        }
    }

    func catchUp() async throws { while try await !self.mirror.mirrorPage() {} }

    @discardableResult
    func create(_ number: String) async throws -> SagaInstance {
        let saga = SagaInstance(
            id: "id-\(number)",
            type: "order_saga",
            businessKey: number,
            definition: "d",
            state: "A",
            enteredAt: self.began,
            dueAt: nil,
            input: "{}",
            createdAt: self.began,
            updatedAt: self.began
        )
        let sagas = self.sagas
        _ = try await self.backend.withTransaction {
            try sagas.create(saga, definition: "{}", events: [Self.event(saga)], in: $0)
        }
        return saga
    }

    func move(
        _ number: String,
        to state: String,
        status: SagaStatus = .running,
        at now: Timestamp? = nil
    ) async throws {
        let saga = try #require(try await self.sagas.instances(matching: SagaQuery(id: "id-\(number)")).first)
        var next = saga
        next.version += 1
        next.state = state
        next.status = status
        next.updatedAt = now ?? SystemTimeSource().wallTime
        let transition = SagaTransition(instance: next, events: [Self.event(next)])
        #expect(try await self.sagas.commit(saga) { _ in transition } == .written(next))
    }

    private static func event(_ saga: SagaInstance) -> SagaEvent {
        SagaEvent(
            version: saga.version,
            at: saga.updatedAt,
            kind: .succeeded,
            state: saga.state,
            nextState: saga.state,
            action: nil,
            attempt: 0,
            detail: nil
        )
    }

    func hash(_ number: String) async throws -> [String: String] {
        let pairs = try await self.client.send(["HGETALL", RESPArgument("saga:order:\(number)")]).pairs ?? []
        return Dictionary(pairs.map { ($0.key.string ?? "?", $0.value.string ?? "?") }) { first, _ in first }
    }

    func states(_ numbers: [String]) async throws -> [String?] {
        var states: [String?] = []
        for number in numbers { states.append(try await self.hash(number)["state"]) }
        return states
    }
}

/// Reads, and keeps what it has read to itself until the gate is open.
private final class Gate: SagaFeed {
    private let store: SQLiteSagaStore
    private let read = Signal()
    private let opened = Signal()

    init(_ store: SQLiteSagaStore) { self.store = store }

    func hasRead() async { await self.read.wait(after: 0, until: nil, on: SystemTimeSource()) }
    func open() { self.opened.ring() }

    func changes(after position: String?, including ids: [String], limit: Int) async throws -> SagaChanges {
        let changes = try await self.store.changes(after: position, including: ids, limit: limit)
        self.read.ring()
        await self.opened.wait(after: 0, until: nil, on: SystemTimeSource())
        return changes
    }
}
