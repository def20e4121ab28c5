internal import ParleyCore
public import ParleyMessaging

/// What every ``ParleyMessaging/MessageTransport`` promises, one named case a promise.
public enum TransportConformance {
    public typealias Case = ConformanceCase<any MessageTransport>
    typealias Bench = ConformanceBench<any MessageTransport>

    /// The cases that a transport with these capabilities must pass.
    ///
    /// - Durable: the fixture's storage outlives its handles: a second one is opened after the first was closed.
    /// - Shared: several handles on the storage at the same time, each with a clock of its own.
    ///
    /// - Parameter followsTime: Whether the transport lives by the `TimeSource` that the fixture is given; cases that
    ///   need that are left out otherwise.
    public static func cases(for capabilities: TransportCapabilities, followsTime: Bool = true) -> [Case] {
        var cases = Self.routing + Self.settling + Self.givingBack + Self.deadLetters + Self.ordering + Self.volume
        if capabilities.isDurable { cases += Self.durability }
        if capabilities.isSharedBetweenProcesses { cases += Self.sharing }
        return cases.filter { followsTime || !$0.needsTime }
    }
}

// MARK: What the cases are written with

/// One transport under test, with the words that most cases need.
struct TransportScene: Sendable {
    let bench: TransportConformance.Bench
    let transport: any MessageTransport

    init(_ bench: TransportConformance.Bench) async throws {
        self.bench = bench
        self.transport = try await bench.open().port
    }

    init(_ bench: TransportConformance.Bench, _ transport: any MessageTransport) {
        self.bench = bench
        self.transport = transport
    }

    /// A group whose lease no case outlives, unless it wants to.
    @discardableResult
    func declare(
        _ name: String = "group",
        _ bindings: [String] = ["#"],
        maximumDeliveries: Int = 10,
        lease: Duration = .seconds(3_600)
    ) async throws -> String {
        let group = try ConsumerGroup(
            name,
            bindings: bindings,
            maximumDeliveries: maximumDeliveries,
            lease: lease
        )
        try await self.transport.declare(group)
        return name
    }

    func publish(_ ids: String..., key: String? = nil, topic: String = "case.event") async throws {
        try await self.transport.publish(ids.map { self.message($0, key: key, topic: topic) })
    }

    func message(_ id: String, key: String? = nil, topic: String = "case.event") -> Message {
        Message(
            id: id,
            source: "conformance",
            type: "case.event",
            time: self.bench.clock.wallTime,
            data: Array(id.utf8),
            topic: topic,
            key: key
        )
    }

    /// Receives and acks `count` messages.
    func drain(_ count: Int, from group: String = "group") async throws -> [Delivery] {
        try await self.transport.withSubscription(to: group, prefetch: 10) { deliveries in
            var received: [Delivery] = []
            while received.count < count {
                let delivery = try await deliveries.one()
                received.append(delivery)
                try await self.transport.settle(delivery.id, .ack)
            }
            return received
        }
    }

    func drainIDs(_ count: Int, from group: String = "group") async throws -> [String] {
        try await self.drain(count, from: group).map(\.message.id)
    }

    func statistics(_ group: String = "group") async throws -> GroupStatistics {
        try require(
            try await self.transport.statistics().first { $0.group == group },
            "statistics of the group '\(group)'"
        )
    }

    /// Nothing waits and nothing is on its way.
    func expectEmpty(_ group: String = "group", file: String = #fileID, line: Int = #line) async throws {
        let what = "ready, delayed and unacknowledged of '\(group)'"
        try await self.expect([0, 0, 0], what, of: group, file: file, line: line) {
            [$0.ready, $0.delayed, $0.unacknowledged]
        }
    }

    /// What a server is given back it may take a moment to count; a backend that lives by our clock knows it at once.
    func expect(
        _ figures: [Int],
        _ what: String,
        of group: String = "group",
        file: String = #fileID,
        line: Int = #line,
        _ choose: (GroupStatistics) -> [Int]
    ) async throws {
        let time = SystemTimeSource()
        let patience = time.now.advanced(by: self.bench.fixture.followsTime ? .zero : .seconds(10))
        while true {
            let got = choose(try await self.statistics(group))
            if got == figures { return }
            guard time.now < patience else {
                return try ParleyTestKit.expect(got, equals: figures, what, file: file, line: line)
            }
            await Task.yield()
        }
    }

    /// Publishes a message of its own and receives it, acked: whatever comes after it was not there before.
    ///
    /// - Returns: The messages that came before it, unsettled.
    func receiveUntilMarker(_ deliveries: DeliverySequence, topic: String = "case.event") async throws -> [Delivery] {
        let marker = "marker-\(UUIDv7Generator.shared.next())"
        try await self.publish(marker, topic: topic)
        var before: [Delivery] = []
        while true {
            let delivery = try await deliveries.one()
            if delivery.message.id == marker {
                try await self.transport.settle(delivery.id, .ack)
                return before
            }
            before.append(delivery)
        }
    }

    func expectLeaseLost(
        _ id: Delivery.ID,
        _ settlement: Settlement,
        _ expectation: String,
        file: String = #fileID,
        line: Int = #line
    ) async throws {
        try await expectError(
            "\(expectation) to throw leaseLost",
            .messaging(.leaseLost),
            file: file,
            line: line
        ) { try await self.transport.settle(id, settlement) }
    }
}

extension DeliverySequence {
    /// The next delivery; a sequence that ends is a failure.
    func one(file: String = #fileID, line: Int = #line) async throws -> Delivery {
        try require(try await self.makeAsyncIterator().next(), "another delivery", file: file, line: line)
    }

    func several(_ count: Int, file: String = #fileID, line: Int = #line) async throws -> [Delivery] {
        var received: [Delivery] = []
        while received.count < count { received.append(try await self.one(file: file, line: line)) }
        return received
    }
}
