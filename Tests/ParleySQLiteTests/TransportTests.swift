import Foundation
import ParleyCore
import ParleyMessaging
import ParleySQLite
import Testing

/// What the shared conformance suite cannot know: two backends on one file, as two processes are.
@Suite(.timeLimit(.minutes(1))) struct TransportTests {
    private func take(_ count: Int, _ deliveries: DeliverySequence) async throws -> [Delivery] {
        var taken: [Delivery] = []
        while taken.count < count, let delivery = try await self.next(deliveries) { taken.append(delivery) }
        return taken
    }

    private func next(_ deliveries: DeliverySequence) async throws -> Delivery? {
        try await deliveries.makeAsyncIterator().next()
    }

    private func number(_ delivery: Delivery) -> Int {
        Int(String(decoding: delivery.message.data, as: UTF8.self)) ?? -1
    }

    @Test func theDoorbellWakesTheOtherBackend() async throws {
        let folder = try Folder()
        // Its clock stands still, so its poll never comes: only the bell can wake it.
        let clock = HandClock()
        let consumer = try await folder.backend(time: clock)
        let publisher = try await folder.backend()
        try await consumer.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        let received = try await consumer.transport.withSubscription(to: "g", prefetch: 10) { deliveries in
            var received: [Int] = []
            for number in 0..<50 {
                async let next = self.next(deliveries)
                try await publisher.transport.publish([message(data: "\(number)")])
                guard let delivery = try await next else { break }
                received.append(self.number(delivery))
                try await consumer.transport.settle(delivery.id, .ack)
            }
            return received
        }
        #expect(received == Array(0..<50))
        await consumer.close()
        await publisher.close()
    }

    @Test func outboxAndSagasAreRungAcrossBackends() async throws {
        let folder = try Folder()
        let waiting = try await folder.backend(time: HandClock())
        let writing = try await folder.backend()
        async let append = waiting.outbox.waitForAppend(after: 0, until: nil)
        async let work = waiting.sagas.waitForWork(after: 0, until: nil)
        let now = SystemTimeSource().wallTime
        try await writing.withTransaction { tx in
            try writing.outbox.append([message()], in: tx)
            _ = try writing.sagas.create(saga("a", at: now, due: now), definition: "{}", events: [], in: tx)
        }
        #expect(await append == 1)
        #expect(await work == 1)
        await waiting.close()
        await writing.close()
    }

    @Test func aDeadConsumersMessagesGoToAnotherAndItIsFenced() async throws {
        let folder = try Folder()
        let pausedClock = HandClock()
        let clock = HandClock()
        let paused = try await folder.backend(time: pausedClock)
        let heir = try await folder.backend(time: clock)
        try await paused.fill("g", count: 3, lease: .seconds(4))
        try await paused.transport.withSubscription(to: "g", prefetch: 3) { deliveries in
            // One is received, two lie in the buffer of the paused one.
            let lost = try await self.take(1, deliveries)
            try await heir.transport.withSubscription(to: "g", prefetch: 10) { deliveries in
                clock.advance(by: .seconds(3))
                #expect(try await heir.transport.statistics().first?.unacknowledged == 3)
                clock.advance(by: .seconds(2))
                let taken = try await self.take(3, deliveries)
                #expect(taken.map(\.attempt) == [2, 2, 2])
                #expect(taken.first?.message == lost.first?.message)
                // The paused one wakes up: nothing it does has an effect.
                pausedClock.advance(by: .seconds(5))
                await #expect(throws: MessagingError.self) {
                    try await paused.transport.settle(lost[0].id, .ack)
                }
                for delivery in taken { try await heir.transport.settle(delivery.id, .ack) }
            }
        }
        #expect(try await heir.scalar("SELECT count(*) FROM parley_message") == 0)
        #expect(try await heir.scalar("SELECT count(*) FROM parley_owner") == 0)
        await paused.close()
        await heir.close()
    }

    @Test func aConsumerThatLivesKeepsItsMessages() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let one = try await folder.backend(time: clock)
        let two = try await folder.backend(time: clock)
        try await one.fill("g", count: 1, lease: .seconds(3))
        try await one.transport.withSubscription(to: "g", prefetch: 1) { deliveries in
            let held = try await self.take(1, deliveries)
            try await two.transport.withSubscription(to: "g", prefetch: 1) { others in
                // It asks all the time.
                async let next = self.take(1, others)
                for _ in 0..<6 {
                    let before = try await two.scalar("SELECT expires_at FROM parley_owner")
                    clock.advance(by: .seconds(1))
                    var looks = 0
                    while try await two.scalar("SELECT expires_at FROM parley_owner") == before {
                        await Task.yield()
                        looks += 1
                        // The renewer may have begun its wait only after the clock was moved. Two such moves, and the
                        // second before them, are still less than the lease.
                        if looks % 2_000 == 0 { clock.advance(by: .milliseconds(500)) }
                    }
                }
                try await one.transport.settle(held[0].id, .ack)
                try await one.transport.publish([message(data: "new")])
                let received = try await next
                #expect(received.first?.message.data == Array("new".utf8))
                #expect(received.first?.attempt == 1)
            }
        }
        await one.close()
        await two.close()
    }

    @Test func anIdleSubscriptionWritesNothing() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let backend = try await folder.backend(time: clock)
        try await backend.transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(1)))
        let before = try await backend.scalar("PRAGMA data_version")
        try await backend.transport.withSubscription(to: "g", prefetch: 1) { deliveries in
            async let next = self.take(1, deliveries)
            for _ in 0..<20 {
                clock.advance(by: .seconds(1))
                await Task.yield()
            }
            #expect(try await backend.scalar("SELECT count(*) FROM parley_owner") == 0)
            #expect(try await backend.scalar("PRAGMA data_version") == before)
            try await backend.transport.publish([message()])
            #expect(try await next.count == 1)
        }
        await backend.close()
    }

    @Test func aClockThatJumpsBackDoesNotHoldMessagesForEver() async throws {
        let folder = try Folder()
        let deadClock = HandClock()
        let clock = HandClock()
        let dead = try await folder.backend(time: deadClock)
        let heir = try await folder.backend(time: clock)
        try await dead.fill("g", count: 1)
        try await dead.transport.withSubscription(to: "g", prefetch: 1) { deliveries in
            _ = try await self.take(1, deliveries)
            // By the new calendar the lease would run for another hour.
            clock.setBack(by: .seconds(3_600))
            let taken = try await heir.transport.withSubscription(to: "g", prefetch: 1) { try await self.take(1, $0) }
            #expect(taken.first?.attempt == 2)
        }
        await dead.close()
        await heir.close()
    }

    @Test func whatWasNotReceivedIsNotCounted() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.fill("g", count: 5)
        for round in 1...3 {
            let attempts = try await backend.transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                try await self.take(2, deliveries).map(\.attempt)
            }
            #expect(attempts == [round, round])
        }
        let attempts = try await backend.transport.withSubscription(to: "g", prefetch: 5) { deliveries in
            try await self.take(5, deliveries).map(\.attempt)
        }
        #expect(attempts == [4, 4, 1, 1, 1])
        await backend.close()
    }

    @Test func aMessageThatKillsIsStoppedBeforeTheHandler() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.fill("g", count: 1, maximumDeliveries: 2)
        for _ in 0..<2 {
            try await backend.transport.withSubscription(to: "g", prefetch: 1) { _ = try await self.take(1, $0) }
        }
        try await backend.transport.publish([message(data: "good")])
        try await backend.transport.withSubscription(to: "g", prefetch: 1) { deliveries in
            let next = try await self.take(1, deliveries)
            #expect(next.first?.message.data == Array("good".utf8))
            #expect(next.first?.attempt == 1)
            try await backend.transport.settle(next[0].id, .ack)
        }
        let letters = try await backend.transport.deadLetters.list(group: "g", after: 0, limit: 10)
        #expect(letters.map(\.attempts) == [2])
        #expect(try await backend.transport.deadLetters.replay(letters.map(\.id) + [999]) == 1)
        try await backend.transport.withSubscription(to: "g", prefetch: 1) { deliveries in
            let replayed = try await self.take(1, deliveries)
            #expect(replayed.first?.attempt == 1)
            #expect(replayed.first?.message == letters.first?.message)
            try await backend.transport.settle(replayed[0].id, .ack)
        }
        #expect(try await backend.scalar("SELECT count(*) FROM parley_message") == 0)
        await backend.close()
    }

    @Test func oneOfAKeyAtATimeOverTwoBackends() async throws {
        let folder = try Folder()
        let one = try await folder.backend()
        let two = try await folder.backend()
        // Long, so that a machine that stands still for a while does not take anybody's messages away.
        try await one.transport.declare(ConsumerGroup("g", bindings: ["#"], lease: .seconds(60)))
        try await one.migrate("handled", ["CREATE TABLE handled (at INTEGER PRIMARY KEY, n INTEGER)"])
        try await one.transport.publish((0..<200).map { message(key: "k\($0 % 5)", data: "\($0)") })
        let log = try await withThrowingTaskGroup(of: [(Int, Int)].self) { group in
            for backend in [one, two, one, two] {
                group.addTask {
                    var log: [(Int, Int)] = []
                    try await backend.transport.withSubscription(to: "g", prefetch: 3) { deliveries in
                        for try await delivery in deliveries {
                            let number = self.number(delivery)
                            if number >= 0 {
                                let order = try await backend.withTransaction { tx in
                                    try tx.execute("INSERT INTO handled (n) VALUES (?)", [.integer(number)])
                                    return try tx.query("SELECT max(at) FROM handled").first?.first?.integer ?? 0
                                }
                                log.append((Int(order), number))
                                // The last one tells the others to stop.
                                if order == 200 {
                                    try await backend.transport.publish((0..<4).map { _ in message(data: "stop") })
                                }
                            }
                            try await backend.transport.settle(delivery.id, .ack)
                            if number < 0 { break }
                        }
                    }
                    return log
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }.sorted { $0.0 < $1.0 }
        }
        #expect(log.count == 200)
        for key in 0..<5 {
            let ofKey = log.map(\.1).filter { $0 % 5 == key }
            #expect(ofKey == ofKey.sorted())
        }
        await one.close()
        await two.close()
    }

    @Test func aDelayedMessageHoldsItsKeyAndNoOther() async throws {
        let folder = try Folder()
        let clock = HandClock()
        let backend = try await folder.backend(time: clock)
        try await backend.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        try await backend.transport.publish(
            [message(key: "a", data: "a1"), message(key: "a", data: "a2"), message(key: "b", data: "b1")]
        )
        try await backend.transport.withSubscription(to: "g", prefetch: 10) { deliveries in
            let first = try await self.take(2, deliveries)
            #expect(first.map { String(decoding: $0.message.data, as: UTF8.self) } == ["a1", "b1"])
            try await backend.transport.settle(first[0].id, .retry(after: .seconds(10)))
            try await backend.transport.settle(first[1].id, .ack)
            #expect(try await backend.transport.statistics().first?.delayed == 1)
            #expect(try await backend.transport.statistics().first?.ready == 1)
            async let next = self.take(1, deliveries)
            for _ in 0..<11 {
                clock.advance(by: .seconds(1))
                await Task.yield()
            }
            let again = try await next
            #expect(again.map { String(decoding: $0.message.data, as: UTF8.self) } == ["a1"])
            #expect(again.first?.attempt == 2)
            try await backend.transport.settle(again[0].id, .ack)
            let last = try await self.take(1, deliveries)
            #expect(last.map { String(decoding: $0.message.data, as: UTF8.self) } == ["a2"])
        }
        await backend.close()
    }

    @Test func aMessageIsStoredOnceAndGoesWithItsLastGroup() async throws {
        let folder = try Folder()
        let one = try await folder.backend()
        let two = try await folder.backend()
        try await one.transport.declare(ConsumerGroup("a", bindings: ["order.*"]))
        try await one.transport.publish([message("order.created")])
        // Declared by somebody else, and known here with the next message.
        try await two.transport.declare(ConsumerGroup("b", bindings: ["order.#", "#"]))
        try await one.transport.publish([message("order.created"), message("nobody.wants")])
        #expect(try await one.transport.statistics().map(\.ready) == [2, 2])
        #expect(try await one.scalar("SELECT count(*) FROM parley_message") == 3)
        try await two.transport.declare(ConsumerGroup("b", bindings: ["other"]))
        try await one.transport.publish([message("nobody.wants")])
        for group in ["a", "b"] {
            try await one.transport.withSubscription(to: group, prefetch: 2) { deliveries in
                for delivery in try await self.take(2, deliveries) { try await one.transport.settle(delivery.id, .ack) }
            }
        }
        #expect(try await one.scalar("SELECT count(*) FROM parley_message") == 0)
        await one.close()
        await two.close()
    }

    @Test func anUnreadableRowDoesNotBlockTheOthers() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.fill("g", count: 2)
        try await backend.withTransaction {
            _ = try $0.execute("UPDATE parley_message SET headers = '{' WHERE seq = 1")
        }
        try await backend.transport.withSubscription(to: "g", prefetch: 2) { deliveries in
            let readable = try await self.take(1, deliveries)
            #expect(readable.first?.message.data == Array("1".utf8))
            try await backend.transport.settle(readable[0].id, .ack)
        }
        let letters = try await backend.transport.deadLetters.list(group: nil, after: 0, limit: 10)
        #expect(letters.count == 1)
        #expect(letters.first?.reason.contains("parley_message, row 1") == true)
        #expect(try await backend.transport.deadLetters.discard(letters.map(\.id)) == 1)
        #expect(try await backend.scalar("SELECT count(*) FROM parley_message") == 0)
        await backend.close()
    }

    @Test func cancellingANextLosesNothing() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        try await backend.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        let numbers = try await backend.transport.withSubscription(to: "g", prefetch: 4) { deliveries in
            var numbers: [Int] = []
            for round in 0..<40 {
                let delivery = await withTaskGroup(of: Delivery?.self) { group in
                    group.addTask { try? await self.next(deliveries) }
                    try? await backend.transport.publish([message(data: "\(round)")])
                    group.cancelAll()
                    return await group.next() ?? nil
                }
                guard let delivery else { continue }
                numbers.append(self.number(delivery))
                try await backend.transport.settle(delivery.id, .ack)
            }
            while numbers.count < 40, let delivery = try await self.next(deliveries) {
                #expect(delivery.attempt == 1)
                numbers.append(self.number(delivery))
                try await backend.transport.settle(delivery.id, .ack)
            }
            return numbers
        }
        #expect(numbers == Array(0..<40))
        await backend.close()
    }

    @Test func noMoreThanPrefetchAreOut() async throws {
        let folder = try Folder()
        let backend = try await folder.backend(time: HandClock())
        try await backend.fill("g", count: 10)
        try await backend.transport.withSubscription(to: "g", prefetch: 3) { deliveries in
            let held = try await self.take(3, deliveries)
            #expect(try await backend.transport.statistics().first?.unacknowledged == 3)
            async let next = self.take(1, deliveries)
            try await backend.transport.settle(held[1].id, .ack)
            #expect(try await next.first?.message.data == Array("3".utf8))
        }
        await backend.close()
    }

    @Test func closingEndsTheSequence() async throws {
        let folder = try Folder()
        let backend = try await folder.backend(time: HandClock())
        try await backend.fill("g", count: 1)
        let count = try await backend.transport.withSubscription(to: "g", prefetch: 3) { deliveries in
            var count = 0
            for try await _ in deliveries {
                count += 1
                await backend.close()
            }
            return count
        }
        #expect(count == 1)
        await #expect(throws: MessagingError.self) { try await backend.transport.publish([message()]) }
    }

    @Test func unknownGroupsAndLostSettlementsAreErrors() async throws {
        let folder = try Folder()
        let backend = try await folder.backend()
        await #expect(throws: MessagingError.self) {
            try await backend.transport.withSubscription(to: "nobody", prefetch: 1) { _ in }
        }
        let error = await #expect(throws: MessagingError.self) {
            try await backend.transport.settle(.init(group: "nobody", sequence: 1, token: 1), .ack)
        }
        #expect(error?.code == .unknownGroup)
        try await backend.fill("g", count: 1)
        try await backend.transport.withSubscription(to: "g", prefetch: 1) { deliveries in
            let delivery = try await self.take(1, deliveries)[0]
            try await backend.transport.settle(delivery.id, .ack)
            let twice = await #expect(throws: MessagingError.self) {
                try await backend.transport.settle(delivery.id, .ack)
            }
            #expect(twice?.code == .leaseLost)
        }
        await backend.close()
    }

    @Test func positionsHaveNoGapsOverTwoBackends() async throws {
        let folder = try Folder()
        let one = try await folder.backend()
        let two = try await folder.backend()
        try await one.transport.declare(ConsumerGroup("g", bindings: ["#"]))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for task in 0..<40 {
                group.addTask {
                    for _ in 0..<5 {
                        try await (task % 2 == 0 ? one : two).transport.publish([message(), message()])
                        // One that fails after it has taken a position.
                        try? await one.withTransaction { tx in
                            try tx.execute(
                                """
                                INSERT INTO parley_message (id, source, type, time, topic, headers, published_at, data)
                                VALUES ('x', 'x', 'x', 0, 'x', '{}', 0, x'')
                                """
                            )
                            throw CancellationError()
                        }
                    }
                }
            }
            try await group.waitForAll()
        }
        #expect(try await one.scalar("SELECT count(*) FROM parley_message") == 400)
        #expect(try await one.scalar("SELECT max(seq) - min(seq) FROM parley_message") == 399)
        await one.close()
        await two.close()
    }
}
