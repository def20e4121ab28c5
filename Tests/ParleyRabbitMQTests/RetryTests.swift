import ParleyAMQP
import ParleyCore
import ParleyMessaging
import ParleyRabbitMQ
import ParleyTestKit
import RabbitMQTestSupport
import Testing

/// Retries and their counts, beyond what every transport does.
@Suite(.timeLimit(.minutes(2))) struct RetryTests {
    @Test func aLongWaitIsSpentInTheBroker() async throws {
        let host = try await Host()
        try await host.running({ $0.longestLocalDelay = .milliseconds(100) }) { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["#"], maximumDeliveries: 3))
            try await transport.publish([message("1")])
            let clock = ContinuousClock()
            var began = clock.now
            try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                let iterator = deliveries.makeAsyncIterator()
                let first = try #require(try await iterator.next())
                began = clock.now
                try await transport.settle(first.id, .retry(after: .milliseconds(5_500)))
                let figures = try #require(try await transport.statistics().first)
                #expect([figures.ready, figures.delayed, figures.unacknowledged] == [0, 1, 0])
                let queues = try await host.server.curl("GET", "queues/\(host.name)?columns=name")
                #expect(queues.contains("g.retry.5000ms"))
                let second = try #require(try await iterator.next())
                #expect(began.duration(to: clock.now) >= .milliseconds(5_400))
                #expect(second.attempt == 2 && second.message == first.message)
                try await transport.settle(second.id, .retry(after: .zero))
                let third = try #require(try await iterator.next())
                #expect(third.attempt == 3 && third.isLastAttempt)
                try await transport.settle(third.id, .ack)
            }
        }
    }

    @Test func whatWasGivenBackUnseenIsCountedFromThenOn() async throws {
        let host = try await Host()
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["#"], maximumDeliveries: 2))
            try await transport.publish([message("before", key: "k"), message("killer", key: "k")])
            // The killer lies in this one's memory, and goes back uncounted.
            try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                let delivery = try #require(try await deliveries.makeAsyncIterator().next())
                try await transport.settle(delivery.id, .ack)
            }
            for attempt in 1...2 {
                let delivery = try await transport.withSubscription(to: "g", prefetch: 1) {
                    try #require(try await $0.makeAsyncIterator().next())
                }
                #expect(delivery.message.id == "killer" && delivery.attempt == attempt)
            }
            try await transport.publish([message("after", key: "k")])
            let last = try await transport.withSubscription(to: "g", prefetch: 1) {
                try #require(try await $0.makeAsyncIterator().next())
            }
            #expect(last.message.id == "after")
            #expect(try await transport.deadLetters.list(group: "g", after: 0, limit: 9).map(\.attempts) == [2])
        }
    }

    @Test func priorityOvertakes() async throws {
        let host = try await Host()
        try await host.running({ $0.queues = .classic(priorities: 9) }) { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
            var urgent = message("urgent")
            urgent.headers["priority"] = "9"
            try await transport.publish([message("1"), message("2"), urgent])
            let order = try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                var order: [String] = []
                for try await delivery in deliveries {
                    order.append(delivery.message.id)
                    try await transport.settle(delivery.id, .ack)
                    if order.count == 3 { break }
                }
                return order
            }
            #expect(order == ["urgent", "1", "2"])
        }
    }

    @Test func severalProcessesShareAGroupThatDoesNotCareForOrder() async throws {
        let host = try await Host()
        let share: @Sendable (inout RabbitMQConfiguration) -> Void = {
            $0.sharing = .allProcesses
            $0.window = 1
        }
        try await host.running(share) { one in
            try await one.declare(ConsumerGroup("g", bindings: ["#"]))
            try await host.running(share) { two in
                try await one.publish([message("1"), message("2")])
                try await one.withSubscription(to: "g", prefetch: 1) { first in
                    try await two.withSubscription(to: "g", prefetch: 1) { second in
                        let iterators = (first.makeAsyncIterator(), second.makeAsyncIterator())
                        // Neither settles, so each has what the other has not.
                        let mine = try #require(try await iterators.0.next())
                        let yours = try #require(try await iterators.1.next())
                        #expect(Set([mine.message.id, yours.message.id]) == ["1", "2"])
                        try await one.settle(mine.id, .ack)
                        try await two.settle(yours.id, .ack)
                    }
                }
            }
        }
    }

    @Test func whatLayUnseenInAProcessIsNotCounted() async throws {
        let host = try await Host()
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["#"], maximumDeliveries: 2))
            try await transport.publish((0..<50).map { message("\($0)", key: "k") })
            // Ten processes take the first and leave; the others have been in the memory of each.
            for _ in 0..<10 {
                try await host.running { other in
                    try await other.withSubscription(to: "g", prefetch: 1) { deliveries in
                        let iterator = deliveries.makeAsyncIterator()
                        let delivery = try #require(try await iterator.next())
                        try await other.settle(delivery.id, .ack)
                    }
                }
            }
            let attempts = try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                var attempts: [Int] = []
                for try await delivery in deliveries {
                    attempts.append(delivery.attempt)
                    try await transport.settle(delivery.id, .ack)
                    if attempts.count == 40 { break }
                }
                return attempts
            }
            #expect(attempts == Array(repeating: 1, count: 40))
            #expect(try await transport.deadLetters.list(group: nil, after: 0, limit: 10).isEmpty)
        }
    }
}
