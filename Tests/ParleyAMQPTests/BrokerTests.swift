import NIOCore
import ParleyCore
import Testing

@testable import ParleyAMQP

/// On a real RabbitMQ.
@Suite struct BrokerTests {
    @Test func everyPropertyAndTableTypeComesBackAsItWent() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel()
            let queue = try await channel.declareQueue("q").name
            var dice = Dice(3)
            for round in 0..<30 {
                var properties = CodecTests.properties(&dice)
                // The broker checks these two, and looks into CC and BCC headers only if they are there.
                properties.userID = "guest"
                properties.expiration = "600000"
                properties.headers = ["fixed": "a", "nested": .table(CodecTests.table(&dice)), "round": 3]
                properties.headers?["all"] = [
                    .bool(true), .int8(-1), .uint8(200), .int16(-300), .uint16(60_000), .int32(-70_000),
                    .uint32(4_000_000_000), .int64(-5_000_000_000), .float(1.5), .double(-2.25),
                    .decimal(scale: 2, value: 314), "ä", .bytes([0, 255]), .timestamp(1_700_000_000), [1, "b"],
                    ["c": .void], .void,
                ]
                let body = ByteBuffer(repeating: UInt8(round), count: round * 9_000)
                try await channel.publish(AMQPMessage(body, routingKey: queue, properties: properties))
                let delivery = try #require(try await channel.get(queue))
                #expect(delivery.properties == properties)
                #expect(delivery.body == body)
                #expect(delivery.routingKey == queue && delivery.exchange.isEmpty && !delivery.isRedelivered)
                try delivery.ack()
            }
            #expect(try await channel.get(queue) == nil)
        }
    }

    @Test func messagesAreConsumedInOrderThroughExchanges() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel()
            try await channel.declareExchange("orders.exchange")
            try await channel.declareExchange("inner", type: "fanout", .init(isInternal: true))
            try await channel.bindExchange("inner", to: "orders.exchange", routingKey: "order.#")
            try await channel.declareQueue("q", .quorum)
            try await channel.bindQueue("q", to: "inner")
            try await channel.publish(
                (0..<500).map { AMQPMessage(text("\($0)"), exchange: "orders.exchange", routingKey: "order.created") }
            )
            try await channel.withConsumer("q", prefetch: 50) { consumer in
                var next = 0
                for try await delivery in consumer {
                    #expect(delivery.body == text("\(next)"))
                    try delivery.ack()
                    next += 1
                    if next == 500 { break }
                }
            }
            #expect(try await channel.inspectQueue("q").messages == 0)
            try await channel.unbindExchange("inner", from: "orders.exchange", routingKey: "order.#")
            try await channel.unbindQueue("q", from: "inner")
            try await channel.deleteExchange("inner")
            #expect(try await channel.purgeQueue("q") == 0)
            #expect(try await channel.deleteQueue("q") == 0)
        }
    }

    @Test(.timeLimit(.minutes(2))) func tenThousandConfirmedPublishesInAWindow() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel(.init(window: 100))
            try await channel.declareQueue("q")
            var confirms: [PublisherConfirm] = []
            for number in 0..<10_000 {
                confirms.append(
                    try await channel.send(
                        AMQPMessage(text("\(number)"), routingKey: "q", properties: .init(persistent: true))
                    )
                )
                let span = connection.core.with { $0.channels[channel.id]?.confirms.span ?? .max }
                #expect(span <= 100)
            }
            for confirm in confirms { try await confirm.wait() }
            #expect(try await channel.inspectQueue("q").messages == 10_000)
        }
    }

    @Test func aReturnBelongsToItsOwnPublish() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q")
            // All the same but for where they go.
            var confirms: [(Bool, PublisherConfirm)] = []
            for number in 0..<300 {
                let routable = number % 3 != 0
                let message = AMQPMessage(text("x"), routingKey: routable ? "q" : "nowhere", mandatory: true)
                confirms.append((routable, try await channel.send(message)))
            }
            for (routable, confirm) in confirms {
                if routable {
                    try await confirm.wait()
                } else {
                    let error = await expect(.returned) { try await confirm.wait() }
                    #expect(error?.returned?.replyCode == 312)
                    #expect(error?.returned?.routingKey == "nowhere")
                    #expect(error?.retry == .notSent)
                }
            }
            #expect(try await channel.inspectQueue("q").messages == 200)
        }
    }

    @Test func aFullQueueRefusesWithANack() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q", .init(arguments: ["x-max-length": 1, "x-overflow": "reject-publish"]))
            try await channel.publish(AMQPMessage(text("1"), routingKey: "q"))
            await expect(.nacked) { try await channel.publish(AMQPMessage(text("2"), routingKey: "q")) }
            #expect(try await channel.inspectQueue("q").messages == 1)
        }
    }

    @Test func theBrokerStopsAtThePrefetchAndAckMultipleLetsItGoOn() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q")
            try await channel.publish((0..<10).map { AMQPMessage(text("\($0)"), routingKey: "q") })
            let consumer = try await channel.consume("q", prefetch: 3)
            var deliveries = consumer.makeAsyncIterator()
            var last: AMQPDelivery?
            for _ in 0..<3 { last = try await deliveries.next() }
            #expect(last?.body == text("2"))
            // What the broker says it still has is immediate, and no delivery is on its way.
            #expect(try await channel.inspectQueue("q").messages == 7)
            let held = connection.core.with { $0.channels[channel.id]?.ledger.unsettled }
            #expect(held == 3)
            try last?.ack(multiple: true)
            for _ in 0..<3 { last = try await deliveries.next() }
            #expect(last?.body == text("5"))
            try last?.nack(requeue: false, multiple: true)
            last = try await deliveries.next()
            try last?.reject(requeue: true)
            let again = try await deliveries.next()
            #expect(again != nil)
            await expect(.alreadySettled) { try last?.ack() }
            try await consumer.cancel()
            #expect(try await deliveries.next() == nil)
            // The channel is alive: nothing of this was sent as a mistake.
            #expect(try await channel.inspectQueue("q").consumers == 0)
        }
    }

    /// Acknowledgements wait for company on their way out, but not for ever: alone they go after a moment.
    @Test(.timeLimit(.minutes(1))) func oneAcknowledgementAloneStillReachesTheBroker() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q")
            try await channel.publish((0..<20).map { AMQPMessage(text("\($0)"), routingKey: "q") })
            let consumer = try await channel.consume("q", prefetch: 8)
            var deliveries = consumer.makeAsyncIterator()
            var open: [AMQPDelivery] = []
            for _ in 0..<8 { open += [try await deliveries.next()].compactMap { $0 } }
            for number in 8..<20 {
                try open.removeFirst().ack()
                let next = try #require(try await deliveries.next())
                #expect(next.body == text("\(number)"))
                open.append(next)
            }
        }
    }

    /// A send that nobody waits for leaves, too.
    @Test(.timeLimit(.minutes(1))) func aSendThatNobodyWaitsForStillLeaves() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q")
            let confirm = try await channel.send(AMQPMessage(text("a"), routingKey: "q"))
            try await eventually("it is confirmed") { confirm.completion.isDone }
        }
    }

    @Test func aConsumerWithoutAcknowledgementIsBoundedByReadingLess() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel(.init(window: 1_000))
            try await channel.declareQueue("q")
            let body = ByteBuffer(repeating: 7, count: 2_000)
            try await channel.publish((0..<20_000).map { _ in AMQPMessage(body, routingKey: "q") })
            let consumer = try await channel.consume("q", automaticAcknowledgement: true)
            try await eventually("the consumer is full") { connection.core.with { !$0.fullConsumers.isEmpty } }
            var count = 0
            for try await delivery in consumer {
                if count == 0 { await expect(.alreadySettled) { try delivery.ack() } }
                count += 1
                if count == 20_000 { break }
            }
            #expect(connection.core.with { $0.fullConsumers.isEmpty })
        }
    }

    @Test func anErrorOnOneChannelLeavesTheOthersAlone() async throws {
        try await onBroker { connection in
            let other = try await connection.openChannel()
            try await other.declareQueue("q")
            try await other.publish(AMQPMessage(text("kept"), routingKey: "q"))
            let consumer = try await other.consume("q")
            var channel = try await connection.openChannel()
            let missing = await expect(.notFound) { _ = try await channel.inspectQueue("missing") }
            #expect(missing?.retry == .permanent && missing?.replyCode == 404)
            let after = await expect(.channelClosed) { try await channel.declareQueue("q") }
            #expect((after?.cause as? AMQPError)?.code != .closed)
            channel = try await connection.openChannel()
            await expect(.preconditionFailed) { try await channel.declareQueue("q", .init(durable: false)) }
            channel = try await connection.openChannel()
            await expect(.permissionDenied) { try await channel.declareQueue("amq.mine") }
            channel = try await connection.openChannel()
            let unknown = await expect(.notFound) {
                try await channel.publish(AMQPMessage(text(""), exchange: "missing", routingKey: "a"))
            }
            #expect(unknown?.retry == .mayHaveRun)
            var deliveries = consumer.makeAsyncIterator()
            #expect(try await deliveries.next()?.body == text("kept"))
            #expect(connection.isReady)
            let configuration = connection.core.configuration
            try await other.declareQueue("mine", .init(durable: false, exclusive: true))
            try await AMQPConnection.withConnection(configuration, logger: quiet) { second in
                let channel = try await second.openChannel()
                await expect(.resourceLocked) { _ = try await channel.inspectQueue("mine") }
            }
        }
    }

    @Test func wrongPasswordHostAndPermissionEachHaveTheirError() async throws {
        let broker = try await Broker.shared.value
        var configuration = broker.configuration()
        configuration.credentials = .plain(user: "guest", password: "wrong")
        let password = await expect(.accessRefused) {
            try await AMQPConnection.withConnection(configuration, logger: quiet) { try await $0.ready() }
        }
        #expect(password?.replyCode == 403)
        let host = await expect(.noSuchVirtualHost) {
            try await AMQPConnection.withConnection(broker.configuration("missing"), logger: quiet) {
                try await $0.ready()
            }
        }
        #expect(host?.replyCode == 530)
        configuration = try await broker.freshHost()
        let user = "u" + configuration.virtualHost
        try await broker.manage("PUT", "users/\(user)", #"{"password":"p","tags":""}"#)
        try await broker.manage(
            "PUT",
            "permissions/\(configuration.virtualHost)/\(user)",
            #"{"configure":"^mine","write":"","read":""}"#
        )
        configuration.credentials = .plain(user: user, password: "p")
        try await AMQPConnection.withConnection(configuration, logger: quiet) { connection in
            let channel = try await connection.openChannel()
            try await channel.declareQueue("mine")
            await expect(.permissionDenied) { try await channel.declareQueue("yours") }
            let reader = try await connection.openChannel()
            await expect(.permissionDenied) { _ = try await reader.consume("mine") }
            let writer = try await connection.openChannel()
            await expect(.permissionDenied) { try await writer.publish(AMQPMessage(text(""), routingKey: "mine")) }
            #expect(connection.isReady)
        }
    }

    @Test func twentyFourChannelsAtOnceAndTheirNumbersComeBack() async throws {
        try await onBroker { connection in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for number in 0..<24 {
                    group.addTask {
                        try await connection.withChannel { channel in
                            let queue = try await channel.declareQueue("q\(number)").name
                            try await channel.publish((0..<200).map { AMQPMessage(text("\($0)"), routingKey: queue) })
                            try await channel.withConsumer(queue) { consumer in
                                var next = 0
                                for try await delivery in consumer {
                                    #expect(delivery.body == text("\(next)"))
                                    try delivery.ack()
                                    next += 1
                                    if next == 200 { break }
                                }
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
            try await eventually("all numbers are back") { connection.openChannels == 0 }
        }
    }

    @Test func theChannelLimitIsAnErrorAndNotTheEnd() async throws {
        try await onBroker {
            $0.maximumChannels = 2
        } _: { connection in
            let first = try await connection.openChannel()
            let second = try await connection.openChannel()
            let error = await expect(.tooManyChannels) { _ = try await connection.openChannel() }
            #expect(error?.retry == .notSent)
            await first.close()
            try await connection.withChannel { try await $0.declareQueue("q") }
            _ = second
        }
    }

    @Test(.timeLimit(.minutes(2))) func aStormOfCancellationsLeavesNothingBehind() async throws {
        try await onBroker { connection in
            let shared = try await connection.openChannel()
            try await shared.declareQueue("q")
            try await shared.publish((0..<100).map { AMQPMessage(text("\($0)"), routingKey: "q") })
            for round in 0..<40 {
                await withTaskGroup(of: Void.self) { group in
                    for number in 0..<12 {
                        group.addTask {
                            do {
                                switch number % 4 {
                                case 0: try await connection.withChannel { try await $0.declareQueue("c\(number)") }
                                case 1: if let got = try await shared.get("q") { try got.nack(requeue: true) }
                                case 2:
                                    let consumer = try await shared.consume("q", prefetch: 2)
                                    for try await delivery in consumer { try delivery.nack(requeue: true) }
                                default: try await shared.publish(AMQPMessage(text("more"), routingKey: "c"))
                                }
                            } catch {}
                        }
                    }
                    // As many turns as the round says, so that each is cut somewhere else.
                    for _ in 0..<(round * 5) { await Task.yield() }
                    group.cancelAll()
                }
            }
            #expect(connection.isReady)
            // Consumers that were started and not stopped would hold messages; channels would hold numbers.
            try await eventually("only the shared channel is open") { connection.openChannels == 1 }
            try await eventually("every consumer has gone and every message is back") {
                if let consumer = connection.core.with({ $0.channels[shared.id]?.consumers.keys.first }) {
                    try await shared.cancelConsumer(consumer)
                }
                let info = try await connection.withChannel { try await $0.inspectQueue("q") }
                return info.consumers == 0 && info.messages == 100
            }
            await shared.close()
        }
    }

    @Test func transactions() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel(.init(confirms: false))
            try await channel.declareQueue("q")
            try await channel.selectTransactions()
            try await channel.publish(AMQPMessage(text("gone"), routingKey: "q"))
            try await channel.rollback()
            try await channel.publish(AMQPMessage(text("kept"), routingKey: "q"))
            try await channel.commit()
            #expect(try await channel.get("q")?.body == text("kept"))
            #expect(try await channel.get("q") == nil)
        }
    }

    @Test func aLargeMessageAndOneOverTheLimit() async throws {
        try await onBroker {
            $0.maximumMessageBytes = 20_000_000
        } _: { connection in
            let channel = try await connection.openChannel()
            try await channel.declareQueue("q")
            let body = ByteBuffer(repeating: 5, count: 20_000_000)
            try await channel.publish(AMQPMessage(body, routingKey: "q"))
            #expect(try await channel.get("q")?.body == body)
            let larger = AMQPMessage(ByteBuffer(repeating: 5, count: 20_000_001), routingKey: "q")
            let error = await expect(.contentTooLarge) { try await channel.publish(larger) }
            #expect(error?.retry == .permanent)
            var configuration = connection.core.configuration
            configuration.maximumMessageBytes += 1
            try await AMQPConnection.withConnection(configuration, logger: quiet) { other in
                try await other.withChannel { try await $0.publish(larger) }
            }
            await expect(.channelClosed) { _ = try await channel.get("q") }
            #expect(connection.isReady)
        }
    }

    @Test func aNewSecretIsTaken() async throws {
        try await onBroker { connection in
            try await connection.updateSecret("guest", reason: "test")
            #expect(connection.serverProperties["product"]?.string == "RabbitMQ")
        }
    }

    @Test func invalidNamesAreRefusedBeforeTheyAreSent() async throws {
        try await onBroker { connection in
            let channel = try await connection.openChannel()
            let long = String(repeating: "x", count: 256)
            await expect(.invalidArgument) { try await channel.declareQueue(long) }
            await expect(.invalidArgument) { try await channel.publish(AMQPMessage(text(""), routingKey: long)) }
            try await channel.declareQueue("q")
            try await channel.publish(AMQPMessage(text(""), routingKey: "q"))
        }
    }
}
