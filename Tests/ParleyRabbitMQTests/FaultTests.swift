import Foundation
import NIOCore
import ParleyAMQP
import ParleyCore
import ParleyMessaging
import ParleyRabbitMQ
import ParleyTestKit
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// What goes wrong around a bus on a real broker.
@Suite(.timeLimit(.minutes(4))) struct FaultTests {
    /// Publishes ids until each is confirmed, whatever happens in between.
    private func publish(_ count: Int, by transport: RabbitMQTransport, _ confirmed: Guarded<Int>) async throws {
        var next = 0
        while next < count {
            let batch = (next..<min(next + 200, count)).map { message("\($0)", key: "k\($0 % 50)") }
            do {
                try await transport.publish(batch)
                next += batch.count
                confirmed.withLock { [next] in $0 = next }
            } catch let error as MessagingError where error.retry != .permanent {
                // What may be stored is published again under the same ids.
            }
        }
    }

    @Test func nothingConfirmedIsLostWhenTheBrokerIsKilled() async throws {
        let server = try await RabbitMQServer.start()
        let host = try await Host(server)
        let count = 20_000
        let confirmed = Guarded(0)
        let handled = Guarded<Set<String>>([])
        let order = Guarded<[Int]>([])
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
            // A queue that is a few milliseconds old when this broker is killed comes back without a leader.
            try await transport.publish([message("first")])
            let settled = ContinuousClock.now.advanced(by: .seconds(2))
            #expect(try await isEventually { ContinuousClock.now > settled })
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await self.publish(count, by: transport, confirmed) }
                group.addTask {
                    try await transport.withSubscription(to: "g", prefetch: 200) { deliveries in
                        for try await delivery in deliveries {
                            // Handled is what a handler has done; that the settlement comes too late is a duplicate.
                            let isNew = handled.withLock { $0.insert(delivery.message.id).inserted }
                            if isNew, let number = Int(delivery.message.id) { order.withLock { $0.append(number) } }
                            try? await transport.settle(delivery.id, .ack)
                        }
                    }
                }
                #expect(try await isEventually { confirmed.current > count / 4 && handled.current.count > count / 10 })
                try await server.kill()
                try await server.restart()
                #expect(try await isEventually(within: .seconds(120)) { handled.current.count == count + 1 })
                group.cancelAll()
            }
        }
        for key in 0..<50 {
            let ofKey = order.current.filter { $0 % 50 == key }
            #expect(ofKey == ofKey.sorted(), "what came again came behind, but nothing overtook")
        }
        #expect(confirmed.current == count)
        #expect(handled.current.count == count + 1)
        try await server.stop()
    }

    @Test func whileTheBrokerIsOutOfMemoryPublishersWaitAndConsumersGoOn() async throws {
        let server = try await RabbitMQServer.start()
        let host = try await Host(server)
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
            try await transport.publish((0..<20).map { message("\($0)") })
            let isPublished = Guarded(false)
            try await withThrowingTaskGroup(of: Void.self) { group in
                try await transport.withSubscription(to: "g", prefetch: 20) { deliveries in
                    var seen: Set<String> = []
                    for try await delivery in deliveries {
                        if seen.isEmpty {
                            try await server.control("set_vm_memory_high_watermark", "absolute", "1")
                            group.addTask {
                                // It may give up waiting; that none is lost is what counts.
                                while !isPublished.current {
                                    do {
                                        try await transport.publish([message("late")])
                                        isPublished.withLock { $0 = true }
                                    } catch let error as MessagingError where error.retry != .permanent {}
                                }
                            }
                        }
                        seen.insert(delivery.message.id)
                        try await transport.settle(delivery.id, .ack)
                        if seen.count == 20 {
                            #expect(!isPublished.current)
                            try await server.control("set_vm_memory_high_watermark", "absolute", "1GB")
                        }
                        if seen.count == 21 { break }
                    }
                }
                try await group.waitForAll()
            }
            #expect(isPublished.current)
        }
        try await server.stop()
    }

    @Test func aQueueThatIsDeletedUnderItsConsumerIsMadeAgain() async throws {
        let host = try await Host()
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["order.*"]))
            try await transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                try await transport.publish([message("before")])
                let iterator = deliveries.makeAsyncIterator()
                let first = try #require(try await iterator.next())
                try await transport.settle(first.id, .ack)
                try await host.server.curl("DELETE", "queues/\(host.name)/g")
                // Until it is there again, nobody is there to take a message.
                #expect(
                    try await isEventually {
                        try await host.server.curl("GET", "bindings/\(host.name)").contains(#""routing_key":"order.*""#)
                    }
                )
                try await transport.publish([message("after")])
                let second = try #require(try await iterator.next())
                #expect(second.message.id == "after")
                try await transport.settle(second.id, .ack)
            }
        }
    }

    @Test func aConnectionThatIsCutBringsEverythingBackInOrder() async throws {
        let host = try await Host()
        try await host.running { transport in
            try await transport.declare(ConsumerGroup("g", bindings: ["#"]))
            try await transport.publish((0..<6).map { message("\($0)", key: "k") })
            try await transport.withSubscription(to: "g", prefetch: 5) { deliveries in
                let iterator = deliveries.makeAsyncIterator()
                let held = try #require(try await iterator.next())
                #expect(held.message.id == "0" && held.attempt == 1)
                try await host.cutConnections()
                var order: [String] = []
                while order.count < 6 {
                    let delivery = try #require(try await iterator.next())
                    if delivery.message.id == "0" { #expect(delivery.attempt == 2) }
                    order.append(delivery.message.id)
                    try await transport.settle(delivery.id, .ack)
                }
                #expect(order == (0..<6).map(String.init))
                let late = await #expect(throws: MessagingError.self) { try await transport.settle(held.id, .ack) }
                #expect(late?.code == .leaseLost)
            }
        }
    }

    @Test func aProcessThatEndsIsFollowedByTheNextInOrder() async throws {
        let host = try await Host()
        try await host.running { second in
            try await second.declare(ConsumerGroup("g", bindings: ["#"]))
            try await second.publish((0..<40).map { message("\($0)", key: "k\($0 % 2)") })
            let order = Guarded<[String]>([])
            try await withThrowingTaskGroup(of: Void.self) { group in
                let first = host.transport()
                group.addTask {
                    try? await withThrowingTaskGroup(of: Void.self) { inner in
                        inner.addTask { try await first.run() }
                        try await first.withSubscription(to: "g", prefetch: 1) { deliveries in
                            for try await delivery in deliveries {
                                order.withLock { $0.append(delivery.message.id) }
                                try await first.settle(delivery.id, .ack)
                                if order.current.count == 10 { throw CancellationError() }
                            }
                        }
                    }
                }
                #expect(try await isEventually { order.current.count >= 1 })
                group.addTask {
                    try await second.withSubscription(to: "g", prefetch: 1) { deliveries in
                        for try await delivery in deliveries {
                            order.withLock { $0.append(delivery.message.id) }
                            try await second.settle(delivery.id, .ack)
                            if order.current.count == 40 { break }
                        }
                    }
                }
                try await group.waitForAll()
            }
            for key in 0..<2 {
                let ofKey = order.current.compactMap { Int($0) }.filter { $0 % 2 == key }
                #expect(ofKey == Array(stride(from: key, to: 40, by: 2)))
            }
        }
    }

    @Test(arguments: [("password", "nobody"), ("host", "nowhere")])
    func whatWillNeverWorkIsSaidAtOnce(_ what: String, _ value: String) async throws {
        let host = try await Host()
        var broker = host.broker
        if what == "password" { broker.credentials = .plain(user: "guest", password: value) }
        if what == "host" { broker.virtualHost = value }
        let transport = RabbitMQTransport(RabbitMQConfiguration(broker: broker), logger: quiet)
        let error = await #expect(throws: MessagingError.self) { try await transport.run() }
        #expect(error?.code == .unavailable && error?.retry == .permanent)
        #expect(
            error?.description.contains(what == "password" ? "password" : "virtual host") == true,
            "\(error as Any)"
        )
    }

    @Test func aMissingPermissionIsSaidToTheSubscriber() async throws {
        let host = try await Host()
        let user = RabbitMQServer.fresh("u")
        try await host.server.curl("PUT", "users/\(user)", #"{"password":"p","tags":""}"#)
        try await host.running { transport in try await transport.declare(ConsumerGroup("g", bindings: ["#"])) }
        try await host.server.curl(
            "PUT",
            "permissions/\(host.name)/\(user)",
            #"{"configure":"parley.*|^$","write":".*","read":"parley.*"}"#
        )
        var broker = host.broker
        broker.credentials = .plain(user: user, password: "p")
        let transport = RabbitMQTransport(RabbitMQConfiguration(broker: broker), logger: quiet)
        await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await transport.run() }
            let error = await #expect(throws: MessagingError.self) {
                try await transport.withSubscription(to: "g", prefetch: 1) { deliveries in
                    for try await _ in deliveries {}
                }
            }
            #expect(error?.retry == .permanent && error?.description.contains("permission") == true)
            group.cancelAll()
        }
    }
}

extension Host {
    /// As a network does it: without a farewell.
    func cutConnections() async throws {
        #expect(
            try await isEventually {
                let list = try await self.server.curl("GET", "vhosts/\(self.name)/connections")
                let names = list.components(separatedBy: #""name":""#).dropFirst()
                    .compactMap { $0.components(separatedBy: "\"").first }.filter { $0.contains("->") }
                for name in names {
                    let escaped = name.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? name
                    _ = try? await self.server.curl("DELETE", "connections/\(escaped)")
                }
                return names.count >= 2
            }
        )
    }
}
