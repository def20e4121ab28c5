import OrderedCollections
import Testing

@testable import ParleyAMQP

@Suite struct MachineTests {
    static let tuning = ConnectionMachine.Tuning(channelMax: 100, frameMax: 10_000, heartbeat: 10)

    @Test func theHandshakeAgreesOnTheSmallerLimits() {
        var machine = ConnectionMachine(wanted: Self.tuning, mechanism: "PLAIN")
        #expect(machine.start() == .sendProtocolHeader)
        #expect(machine.receivedStart(major: 0, minor: 9, mechanisms: "AMQPLAIN PLAIN") == .sendStartOK)
        let agreed = ConnectionMachine.Tuning(channelMax: 50, frameMax: 10_000, heartbeat: 10)
        let offer = ConnectionMachine.Tuning(channelMax: 50, frameMax: 0, heartbeat: 60)
        #expect(machine.receivedTune(offer) == .sendTuneOKAndOpen(agreed))
        #expect(machine.receivedOpenOK() == .opened(agreed))
        #expect(machine.close() == .sendClose)
        #expect(machine.receivedTraffic() == .discard)
        #expect(machine.receivedCloseOK() == .endSocket)
        #expect(machine.socketEnded() == .expected)
    }

    @Test func aMechanismThatIsNotOfferedIsRefused() {
        var machine = ConnectionMachine(wanted: Self.tuning, mechanism: "EXTERNAL")
        _ = machine.start()
        #expect(machine.receivedStart(major: 0, minor: 9, mechanisms: "PLAIN") == .fail(.mechanismNotOffered("PLAIN")))
    }

    /// The model: a step counter that knows the one event that may come next.
    @Test(arguments: 0..<50)
    func anyOrderOfEventsIsAnswered(seed: UInt64) {
        var dice = Dice(seed)
        var machine = ConnectionMachine(wanted: Self.tuning, mechanism: "PLAIN")
        var step = 0  // 0 idle, 1 start, 2 tune, 3 open, 4 open, 5 closing, 6 closed
        for _ in 0..<60 {
            switch Int.random(in: 0...7, using: &dice) {
            case 0:
                #expect((machine.start() == .sendProtocolHeader) == (step == 0))
                if step == 0 { step = 1 }
            case 1:
                let good = machine.receivedStart(major: 0, minor: 9, mechanisms: "PLAIN") == .sendStartOK
                #expect(good == (step == 1))
                step = good ? 2 : 6
            case 2:
                let good = machine.receivedTune(Self.tuning) == .sendTuneOKAndOpen(Self.tuning)
                #expect(good == (step == 2))
                step = good ? 3 : 6
            case 3:
                let good = machine.receivedOpenOK() == .opened(Self.tuning)
                #expect(good == (step == 3))
                step = good ? 4 : 6
            case 4:
                #expect((machine.receivedTraffic() == .take) == (step == 4))
            case 5 where step >= 4:
                let expected: ConnectionMachine.CloseAction = step == 4 ? .sendClose : .ignore
                #expect(machine.close() == expected)
                if step == 4 { step = 5 }
            case 6 where step >= 5:
                #expect((machine.receivedCloseOK() == .endSocket) == (step == 5))
                step = 6
            case 7 where step == 6:
                #expect(machine.receivedClose() == .ignore)
                #expect(machine.socketEnded() == .expected)
            default: break
            }
            #expect(machine.isOpen == (step == 4))
        }
    }

    /// The model: a dictionary of open numbers.
    @Test(arguments: 0..<60)
    func confirmsOutOfOrderAndForMany(seed: UInt64) {
        var dice = Dice(seed)
        var machine = ConfirmMachine<Int>()
        var open: [UInt64: (token: Int, returned: Bool)] = [:]
        var published: UInt64 = 0
        for step in 0..<400 {
            switch Int.random(in: 0...9, using: &dice) {
            case 0...4:
                published += 1
                #expect(machine.published(step, bytes: 3) == published)
                open[published] = (step, false)
            case 5:
                guard let number = open.keys.sorted().randomElement(using: &dice) else { continue }
                let message = AMQPReturnedMessage(replyCode: 312, replyText: "", exchange: "", routingKey: "")
                #expect(machine.received(message, for: number) == .noted)
                open[number]?.returned = true
            case 6, 7:
                guard let number = open.keys.sorted().randomElement(using: &dice) else { continue }
                Self.check(
                    &machine,
                    &open,
                    numbers: [number],
                    ack: .random(using: &dice),
                    number: number,
                    multiple: false
                )
            case 8:
                let number = UInt64.random(in: 0...published, using: &dice)
                let covered = open.keys.filter { number == 0 || $0 <= number }.sorted()
                Self.check(&machine, &open, numbers: covered, ack: true, number: number, multiple: true)
            default:
                let unknown = Bool.random(using: &dice) ? published + 1 : 0
                #expect(machine.received(ack: true, number: unknown, multiple: false) == .violation)
            }
            #expect(machine.unconfirmed == open.count)
            #expect(machine.unconfirmedBytes == open.count * 3)
            #expect(machine.span >= open.count)
        }
        #expect(machine.reset() == open.sorted { $0.key < $1.key }.map(\.value.token))
        #expect(machine.nextNumber == 1)
    }

    private static func check(
        _ machine: inout ConfirmMachine<Int>,
        _ open: inout [UInt64: (token: Int, returned: Bool)],
        numbers: [UInt64],
        ack: Bool,
        number: UInt64,
        multiple: Bool
    ) {
        guard case .settle(let settled) = machine.received(ack: ack, number: number, multiple: multiple) else {
            Issue.record("a violation for \(number)")
            return
        }
        #expect(settled.map(\.token) == numbers.compactMap { open[$0]?.token })
        for (settled, number) in zip(settled, numbers) {
            if case .returned = settled.outcome {
                #expect(open[number]?.returned == true)
            } else {
                #expect(open[number]?.returned == false)
                #expect(settled.outcome == (ack ? .acked : .nacked))
            }
            open.removeValue(forKey: number)
        }
    }

    @Test(arguments: 0..<40)
    func aDeliveryIsSettledOnceAndOnlyInItsGeneration(seed: UInt64) {
        var dice = Dice(seed)
        var ledger = DeliveryLedger(generation: 4)
        var open: Set<UInt64> = []
        var last: UInt64 = 0
        for _ in 0..<400 {
            switch Int.random(in: 0...5, using: &dice) {
            case 0...2:
                last += UInt64.random(in: 1...3, using: &dice)
                #expect(ledger.delivered(last) == .noted)
                open.insert(last)
            case 3:
                let tag = UInt64.random(in: 0...(last + 1), using: &dice)
                #expect(
                    ledger.settle(tag, generation: 4, multiple: false) == (open.contains(tag) ? .send : .alreadySettled)
                )
                open.remove(tag)
            case 4:
                let tag = UInt64.random(in: 0...(last + 1), using: &dice)
                let known = open.contains(tag)
                #expect(ledger.settle(tag, generation: 4, multiple: true) == (known ? .send : .alreadySettled))
                if known { open = open.filter { $0 > tag } }
            default:
                #expect(ledger.settle(last, generation: 3, multiple: true) == .stale)
                // A tag that does not rise; while something is open the ledger knows.
                if let most = open.max() { #expect(ledger.delivered(most) == .violation) }
            }
            #expect(ledger.unsettled == open.count)
        }
    }

    /// The model: a queue of requests.
    @Test(arguments: 0..<40)
    func repliesAnswerRequestsInOrder(seed: UInt64) {
        var dice = Dice(seed)
        var machine = ChannelMachine()
        #expect(machine.call(AMQPMethod.queueDeclare(.init()).number, token: 0) == .refuse)
        #expect(machine.call(ChannelMachine.open, token: 1) == .send)
        #expect(machine.receivedTraffic() == .violation)
        #expect(
            machine.receivedReply(AMQPMethod.channelOpenOk.number) == .complete(token: 1, request: ChannelMachine.open)
        )
        let kinds: [(UInt32, UInt32)] = [
            (AMQPMethod.queueDeclare(.init()).number, AMQPMethod.queueDeclareOk(.init()).number),
            (AMQPMethod.exchangeUnbind(.init()).number, AMQPMethod.exchangeUnbindOk.number),
            (AMQPMethod.basicGet(.init()).number, AMQPMethod.basicGetEmpty.number),
            (AMQPMethod.basicGet(.init()).number, AMQPMethod.basicGetOk(.init()).number),
            (AMQPMethod.confirmSelect(.init()).number, AMQPMethod.confirmSelectOk.number),
        ]
        var waiting: [(UInt64, UInt32, UInt32)] = []
        for token in UInt64(2)..<200 {
            if Bool.random(using: &dice), let kind = kinds.randomElement(using: &dice) {
                #expect(machine.call(kind.0, token: token) == .send)
                waiting.append((token, kind.0, kind.1))
            } else if !waiting.isEmpty {
                let first = waiting.removeFirst()
                #expect(machine.receivedReply(first.2) == .complete(token: first.0, request: first.1))
            } else {
                #expect(machine.receivedReply(AMQPMethod.queueBindOk.number) == .violation)
            }
        }
        if Bool.random(using: &dice) {
            #expect(machine.closedByPeer() == .sendCloseOK(failed: waiting.map(\.0)))
            #expect(machine.phase == .closed)
        } else {
            #expect(machine.call(ChannelMachine.close, token: 999) == .send)
            #expect(machine.receivedReply(AMQPMethod.queueDeclareOk(.init()).number) == .discard)
            #expect(machine.closedByPeer() == .sendCloseOKAndWait)
            #expect(
                machine.receivedReply(AMQPMethod.channelCloseOk.number) == .closed(token: 999, others: waiting.map(\.0))
            )
        }
        #expect(machine.call(kinds[0].0, token: 1_000) == .refuse)
    }

    @Test func aLaterReplyMayOvertakeAConsumersOwn() {
        var machine = ChannelMachine()
        _ = machine.call(ChannelMachine.open, token: 1)
        _ = machine.receivedReply(AMQPMethod.channelOpenOk.number)
        let consume = AMQPMethod.basicConsume(.init()).number
        let declare = AMQPMethod.queueDeclare(.init()).number
        _ = machine.call(consume, token: 2, tag: "a")
        _ = machine.call(consume, token: 3, tag: "b")
        _ = machine.call(declare, token: 4)
        #expect(machine.receivedReply(declare + 1) == .complete(token: 4, request: declare))
        #expect(machine.receivedReply(consume + 1, tag: "b") == .complete(token: 3, request: consume))
        #expect(machine.receivedReply(consume + 1, tag: "c") == .violation)
        #expect(machine.receivedReply(consume + 1, tag: "a") == .complete(token: 2, request: consume))
    }

    @Test(arguments: 0..<20)
    func channelNumbersAreGivenOnceAndComeBack(seed: UInt64) {
        var dice = Dice(seed)
        var numbers = ChannelNumbers(maximum: 5)
        var used: Set<UInt16> = []
        for _ in 0..<300 {
            if Bool.random(using: &dice) {
                let number = numbers.take()
                #expect((number == nil) == (used.count == 5))
                if let number {
                    #expect(number >= 1 && number <= 5)
                    #expect(used.insert(number).inserted)
                }
            } else {
                let number = UInt16.random(in: 1...6, using: &dice)
                numbers.giveBack(number)
                used.remove(number)
            }
            #expect(numbers.inUse == used.count)
        }
        var all = ChannelNumbers(maximum: 0)
        #expect((0..<70_000).filter { _ in all.take() != nil }.count == 65_535)
    }

    @Test func heartbeatsGoOutAtHalfTimeAndSilenceKillsAtTwice() {
        var machine = HeartbeatMachine(interval: 100, now: 0)
        #expect(machine.tick(now: 50, listening: true) == .send)
        machine.sent(now: 99)
        #expect(machine.tick(now: 100, listening: true) == .wait)
        #expect(machine.tick(now: 150, listening: true) == .send)
        #expect(machine.tick(now: 199, listening: true) == .send)
        #expect(machine.tick(now: 200, listening: true) == .dead)
        machine.received(now: 150)
        #expect(machine.tick(now: 349, listening: true) == .send)
        #expect(machine.tick(now: 360, listening: false) == .wait)
        #expect(machine.tick(now: 400, listening: true) == .send)
    }

    @Test func topologyForgetsWhatTheBrokerForgets() {
        var topology = Topology()
        topology.declared(AMQPMethod.ExchangeDeclare(exchange: "e", type: "topic", autoDelete: true))
        topology.declared(AMQPMethod.ExchangeDeclare(exchange: "amq.topic", type: "topic"))
        topology.declared(AMQPMethod.ExchangeDeclare(exchange: "asked", type: "topic", passive: true))
        topology.declared(AMQPMethod.QueueDeclare(queue: "q", autoDelete: true), as: "q")
        topology.declared(AMQPMethod.QueueDeclare(queue: "", exclusive: true), as: "amq.gen-1")
        topology.bound(.init(destination: "q", toQueue: true, source: "e", routingKey: "a", arguments: [:]))
        topology.bound(.init(destination: "amq.gen-1", toQueue: true, source: "e", routingKey: "b", arguments: [:]))
        #expect(topology.requests().count == 5)
        topology.renamed(queue: "amq.gen-1", to: "amq.gen-2")
        #expect(topology.bindings.map(\.destination) == ["q", "amq.gen-2"])
        #expect(topology.requests().contains(.queueDeclare(.init(queue: "", exclusive: true))))
        topology.lastConsumerGone(queue: "amq.gen-2")
        #expect(topology.queues["amq.gen-2"] != nil)  // exclusive, not auto-delete
        topology.lastConsumerGone(queue: "q")
        #expect(topology.queues.keys == ["amq.gen-2"])
        #expect(topology.exchanges["e"] != nil)
        topology.deleted(queue: "amq.gen-2")
        #expect(topology.isEmpty)
    }
}
