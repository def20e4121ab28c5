import Foundation
import GRDB
import ParleyCore
import ParleyMessaging
import ParleySQLite
import ParleySagas
import Testing

@Suite(.timeLimit(.minutes(1))) struct StoreTests {
    struct Refused: Error {}

    // MARK: Outbox

    @Test func businessRowsAndMessagesCommitTogetherOrNotAtAll() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.migrate("orders", ["CREATE TABLE orders (id TEXT PRIMARY KEY)"])
        try? await backend.withTransaction { tx in
            try tx.execute("INSERT INTO orders VALUES ('lost')")
            try backend.outbox.append([message()], in: tx)
            throw Refused()
        }
        #expect(try await backend.outbox.pending(limit: 10).rows.isEmpty)
        try await backend.withTransaction { tx in
            try tx.execute("INSERT INTO orders VALUES ('kept')")
            try backend.outbox.append([message(key: "kept", data: "ü"), message()], in: tx)
        }
        let rows = try await backend.outbox.pending(limit: 10).rows
        #expect(rows.map(\.message.key) == ["kept", nil])
        #expect(rows.map(\.failures) == [0, 0])
        await backend.close()
    }

    @Test func anApplicationsOwnConnectionCanAppend() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        let theirs = try DatabaseQueue(path: backend.path)
        try await theirs.write { database in
            try database.execute(sql: "CREATE TABLE theirs (id INTEGER)")
            try backend.outbox.append([message(data: "theirs")], in: SQLiteTransaction(database))
        }
        #expect(try await backend.outbox.pending(limit: 10).rows.map(\.message.data) == [Array("theirs".utf8)])
        try theirs.close()
        await backend.close()
    }

    @Test func aMessageThatNoTransportTakesIsRefusedAtAppend() async throws {
        let folder = try Folder()
        let backend = try await folder.backend { $0.maximumMessageBytes = 10 }
        let error = await #expect(throws: MessagingError.self) {
            try await backend.withTransaction { try backend.outbox.append([message(data: "12345678901")], in: $0) }
        }
        #expect(error?.code == .invalidMessage)
        await backend.close()
    }

    @Test func aFailedRowBlocksItsKeyOnly() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let backend = try await folder.backend(time: clock)
        try await backend.withTransaction { tx in
            try backend.outbox.append(
                [
                    message(key: "a", data: "1"), message(key: "b", data: "2"), message(key: "a", data: "3"),
                    message(data: "4"),
                ],
                in: tx
            )
        }
        let epoch = try #require(try await backend.outbox.lease(to: "r", for: .seconds(10)))
        let rows = try await backend.outbox.pending(limit: 10).rows
        #expect(rows.count == 4)
        let nextTry = clock.wallTime + .seconds(5)
        #expect(
            try await backend.outbox.record(
                sent: [],
                failed: [OutboxFailure(id: rows[0].id, reason: "broken", nextTry: nextTry)],
                under: epoch
            )
        )
        let batch = try await backend.outbox.pending(limit: 10)
        #expect(batch.rows.map { String(decoding: $0.message.data, as: UTF8.self) } == ["2", "4"])
        #expect(batch.nextDue == nextTry)
        let statistics = try await backend.outbox.statistics()
        #expect(statistics.pending == 4 && statistics.blocked == 2 && statistics.worstFailure == "broken")
        clock.advance(by: .seconds(5))
        let due = try await backend.outbox.pending(limit: 10).rows
        #expect(due.map { String(decoding: $0.message.data, as: UTF8.self) } == ["1", "2", "3", "4"])
        #expect(due.first?.failures == 1)
        #expect(try await backend.outbox.record(sent: due.map(\.id), failed: [], under: epoch))
        #expect(try await backend.outbox.statistics().pending == 0)
        await backend.close()
    }

    @Test func aPausedRelayIsFenced() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let one = try await folder.backend(time: clock)
        let two = try await folder.backend(time: clock)
        try await one.withTransaction { try one.outbox.append([message()], in: $0) }
        let old = try #require(try await one.outbox.lease(to: "one", for: .seconds(4)))
        #expect(try await two.outbox.lease(to: "two", for: .seconds(4)) == nil)
        clock.advance(by: .seconds(3))
        #expect(try await one.outbox.lease(to: "one", for: .seconds(4)) == old)
        clock.advance(by: .seconds(3))
        #expect(try await two.outbox.lease(to: "two", for: .seconds(4)) == nil)
        clock.advance(by: .seconds(1))
        let new = try #require(try await two.outbox.lease(to: "two", for: .seconds(4)))
        #expect(new.number > old.number)
        let rows = try await one.outbox.pending(limit: 1).rows
        #expect(try await !one.outbox.record(sent: rows.map(\.id), failed: [], under: old))
        #expect(try await two.outbox.statistics().pending == 1)
        // Giving back an old lease takes nothing from the new owner.
        try await one.outbox.release(old)
        #expect(try await one.outbox.lease(to: "one", for: .seconds(4)) == nil)
        try await two.outbox.release(new)
        #expect(try await one.outbox.lease(to: "one", for: .seconds(4)) != nil)
        // A lease that the calendar has moved into the far future binds nobody.
        clock.setBack(by: .seconds(3_600))
        #expect(try await two.outbox.lease(to: "two", for: .seconds(4)) != nil)
        await one.close()
        await two.close()
    }

    @Test func anUnreadableOutboxRowIsNamed() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.withTransaction { tx in
            try backend.outbox.append([message()], in: tx)
            try tx.execute("UPDATE parley_outbox SET headers = '[]'")
        }
        let error = await sqliteError { _ = try await backend.outbox.pending(limit: 1) }
        #expect(error?.code == .corruptRow)
        #expect(error?.message.contains("parley_outbox, row 1") == true)
        await backend.close()
    }

    // MARK: Inbox

    @Test func aMessageIsAdmittedOnce() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        let admitted = try await backend.withTransaction { tx in
            try [("m1", "a"), ("m1", "a"), ("m1", "b"), ("m2", "a")].map {
                try backend.inbox.admit($0.0, to: $0.1, in: tx)
            }
        }
        #expect(admitted == [true, false, true, true])
        await backend.close()
    }

    @Test func thePurgeGoesByTheConsumersProgress() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let backend = try await folder.backend(time: clock)
        for number in 0..<10 {
            _ = try await backend.withTransaction { try backend.inbox.admit("m\(number)", to: "c", in: $0) }
            clock.advance(by: .seconds(60))
        }
        // After a long outage nothing is forgotten: the newest one is as old as the others.
        clock.advance(by: .seconds(86_400))
        #expect(try await backend.inbox.purge(consumer: "c", window: .seconds(600), keep: 0) == 0)
        // The window reaches back from the newest one.
        #expect(try await backend.inbox.purge(consumer: "c", window: .seconds(300), keep: 8) == 2)
        #expect(try await backend.inbox.purge(consumer: "c", window: .seconds(300), keep: 0) == 2)
        #expect(try await backend.inbox.purge(consumer: "c", window: .zero, keep: 1) == 5)
        #expect(try await backend.inbox.purge(consumer: "nobody", window: .zero, keep: 0) == 0)
        // After the clock has jumped back, what is admitted now is still the newest.
        clock.setBack(by: .seconds(864_000))
        _ = try await backend.withTransaction { try backend.inbox.admit("late", to: "c", in: $0) }
        #expect(try await backend.inbox.purge(consumer: "c", window: .seconds(300), keep: 0) == 0)
        await backend.close()
    }

    @Test func aLongPurgeGoesInPortions() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let backend = try await folder.backend(time: clock)
        try await backend.withTransaction { tx in
            for number in 0..<2_500 { _ = try backend.inbox.admit("m\(number)", to: "c", in: tx) }
        }
        clock.advance(by: .seconds(60))
        _ = try await backend.withTransaction { try backend.inbox.admit("new", to: "c", in: $0) }
        #expect(try await backend.inbox.purge(consumer: "c", window: .seconds(30), keep: 1) == 2_500)
        await backend.close()
    }

    // MARK: Sagas

    private func create(_ saga: SagaInstance, _ backend: SQLiteBackend) async throws -> SagaInstance? {
        try await backend.withTransaction {
            try backend.sagas.create(saga, definition: "{}", events: [started(saga)], in: $0)
        }
    }

    @Test func aSagaComesBackAsItWas() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        let now = Timestamp(microseconds: 1_700_000_000_123_456)
        var full = saga("full", at: now, owner: "me", due: now)
        full.effects = [
            SagaEffect(step: "pay#2", action: "pay", status: .maybe, output: #"{"a":"ü\n"}"#),
            SagaEffect(step: "reserve", action: "reserve", status: .undone),
        ]
        full.reason = "card declined"
        full.isUncertain = true
        full.attempt = 3
        #expect(try await self.create(full, backend) == nil)
        #expect(try await backend.sagas.instances(matching: SagaQuery(id: full.id)) == [full])
        #expect(try await backend.sagas.history(of: full.id) == [started(full)])
        #expect(try await backend.sagas.definition("v1") == "{}")
        // Starting again gives the one that exists and adds nothing.
        var again = full
        again.id = "other"
        #expect(try await self.create(again, backend) == full)
        #expect(try await backend.scalar("SELECT count(*) FROM parley_saga_event") == 1)
        await backend.close()
    }

    @Test func aFencedCommitWritesNothingAtAll() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.migrate("effects", ["CREATE TABLE effects (n INTEGER)"])
        let now = Timestamp(microseconds: 1)
        let first = saga("a", at: now, owner: "me", due: nil)
        _ = try await self.create(first, backend)
        @Sendable func step(_ from: SagaInstance, _ tx: any Transaction) throws -> SagaTransition {
            try tx.execute("INSERT INTO effects VALUES (1)")
            var next = from
            next.version += 1
            next.state = "B"
            return SagaTransition(instance: next, events: [started(next)])
        }
        guard case .written(let second) = try await backend.sagas.commit(first, { try step(first, $0) }) else {
            Issue.record("not written")
            return
        }
        #expect(second.version == 2)
        #expect(try await backend.sagas.commit(first, { try step(first, $0) }) == .fenced)
        var otherEpoch = second
        otherEpoch.epoch += 1
        let stale = otherEpoch
        #expect(try await backend.sagas.commit(stale, { try step(stale, $0) }) == .fenced)
        await #expect(throws: Refused.self) {
            try await backend.sagas.commit(second) { tx in
                _ = try step(second, tx)
                throw Refused()
            }
        }
        #expect(try await backend.scalar("SELECT count(*) FROM effects") == 1)
        #expect(try await backend.sagas.history(of: first.id).count == 2)
        await backend.close()
    }

    @Test func dueSagasAndThoseOfTheDeadAreClaimed() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let one = try await folder.backend(time: clock)
        let two = try await folder.backend(time: clock)
        let now = clock.wallTime
        _ = try await self.create(saga("due", at: now, due: now), one)
        _ = try await self.create(saga("later", at: now, due: now + .seconds(7)), one)
        _ = try await self.create(saga("driven", at: now, owner: "one", due: nil), one)
        try await one.sagas.renew(owner: "one", lease: .seconds(4))
        let first = try await two.sagas.claim(owner: "two", limit: 10)
        try await two.sagas.renew(owner: "two", lease: .seconds(60))
        #expect(first.instances.map(\.businessKey) == ["due"])
        #expect(first.instances.map(\.owner) == ["two"])
        #expect(first.instances.map(\.epoch) == [2] && first.instances.map(\.version) == [2])
        #expect(first.instances.map(\.isUncertain) == [false])
        #expect(first.nextDue == now + .seconds(4))
        clock.advance(by: .seconds(4))
        let second = try await two.sagas.claim(owner: "two", limit: 10)
        #expect(second.instances.map(\.businessKey) == ["driven"])
        #expect(second.instances.map(\.isUncertain) == [true])
        #expect(second.nextDue == now + .seconds(7))
        // The former driver wakes up and writes nothing.
        let stale = saga("driven", at: now, owner: "one", due: nil)
        #expect(try await one.sagas.commit(stale, { _ in SagaTransition(instance: stale, events: []) }) == .fenced)
        // A driver that ends gives all of them up at once.
        try await two.sagas.renew(owner: "two", lease: .zero)
        let third = try await one.sagas.claim(owner: "three", limit: 1)
        #expect(third.instances.count == 1)
        #expect(try #require(third.nextDue) <= clock.wallTime)
        #expect(try await one.sagas.claim(owner: "three", limit: 10).instances.count >= 1)
        await one.close()
        await two.close()
    }

    @Test func aSagaLeaseFromTheFutureBindsNobody() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let backend = try await folder.backend(time: clock)
        _ = try await self.create(saga("a", at: clock.wallTime, owner: "one", due: nil), backend)
        try await backend.sagas.renew(owner: "one", lease: .seconds(4))
        #expect(try await backend.sagas.claim(owner: "two", limit: 1).instances.isEmpty)
        clock.setBack(by: .seconds(3_600))
        #expect(try await backend.sagas.claim(owner: "two", limit: 1).instances.count == 1)
        await backend.close()
    }

    @Test func anUnreadableSagaIsParkedAndTheOthersGoOn() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let backend = try await folder.backend(time: clock)
        for key in ["bad", "good"] {
            _ = try await self.create(saga(key, at: clock.wallTime, due: clock.wallTime), backend)
        }
        try await backend.withTransaction {
            _ = try $0.execute("UPDATE parley_saga SET effects = '[{\"step\":1}]' WHERE business_key = 'bad'")
        }
        let claim = try await backend.sagas.claim(owner: "me", limit: 10)
        #expect(claim.instances.map(\.businessKey) == ["good"])
        let error = await #expect(throws: SagaError.self) {
            try await backend.sagas.instances(matching: SagaQuery(status: .stuck))
        }
        #expect(error?.code == .corrupt)
        #expect(error?.message.contains("parley_saga, row 'saga-bad'") == true)
        // Nor is it in the way of what shows sagas elsewhere.
        let shown = try await backend.sagas.changes(after: nil, including: ["saga-bad", "saga-good"], limit: 10)
        #expect(shown.instances.map(\.id) == ["saga-good"])
        await backend.close()
    }

    @Test func stuckSagasComeFirst() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        for (key, second, status) in [
            ("a", 1, SagaStatus.running), ("b", 3, .stuck), ("c", 2, .stuck), ("d", 0, .failed),
        ] {
            var instance = saga(key, at: Timestamp(microseconds: Int64(second) * 1_000_000), due: nil)
            instance.status = status
            _ = try await self.create(instance, backend)
        }
        #expect(try await backend.sagas.instances(matching: SagaQuery()).map(\.businessKey) == ["c", "b", "d", "a"])
        #expect(try await backend.sagas.instances(matching: SagaQuery(status: .stuck, limit: 1)).count == 1)
        await backend.close()
    }
}
