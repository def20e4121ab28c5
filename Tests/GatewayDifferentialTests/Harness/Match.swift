internal import Foundation
internal import ProcessTestSupport
internal import Testing

/// Plays a scenario against nginx, then against the subject, and records what differs.
enum Match {
    static func play(_ scenario: Scenario, sourceLocation: SourceLocation = #_sourceLocation) async throws {
        let (found, log) = try await Self.differences(scenario, scenario, subject: Gateway.subject)
        // A request that only one of them has forwarded makes them count their connections differently from there on.
        var hasWanted = false
        let unwanted = found.filter { item in
            if Gateway.subject.mayDiffer(item) {
                hasWanted = true
                return false
            }
            return !hasWanted || !item.isOfConnectionsOnly
        }
        guard !unwanted.isEmpty else { return }
        let text = Report.text(scenario, unwanted.map { ($0.exchange, $0.differences) }, log: log)
        Issue.record(Comment(rawValue: text), sourceLocation: sourceLocation)
    }

    struct Found {
        var exchange: Exchange
        var nginx: Observation
        var subject: Observation
        var differences: [String]

        /// The first line of each.
        var items: [String] {
            self.differences.map { String($0.prefix { $0 != "\n" }) }
        }

        var isOfConnectionsOnly: Bool {
            self.items.allSatisfy { $0.hasPrefix("forwarded request") && $0.hasSuffix("connection") }
        }
    }

    /// - Parameter other: what the subject gets; another than nginx's only to see that a difference is found.
    static func differences(
        _ scenario: Scenario,
        _ other: Scenario,
        subject: Gateway
    ) async throws -> (found: [Found], log: String) {
        try await Lanes.shared.run(alone: scenario.isTimed) {
            let upstreams = try UpstreamSet()
            defer { upstreams.stop() }
            let (expected, _) = try await Self.observations(.nginx, scenario, upstreams)
            let (seen, log) = try await Self.observations(subject, other, upstreams)
            for (exchange, observation) in zip(scenario.exchanges, expected) where observation.waitedInVain {
                throw TestSupportError(
                    "\(scenario.name): nginx does not answer '\(exchange.label)': write it otherwise"
                )
            }
            var found: [Found] = []
            for (exchange, pair) in zip(scenario.exchanges, zip(expected, seen)) {
                let differences = Comparison(exchange, nginx: pair.0, subject: pair.1).differences
                guard !differences.isEmpty else { continue }
                found.append(Found(exchange: exchange, nginx: pair.0, subject: pair.1, differences: differences))
            }
            return (found, log)
        }
    }

    private static func observations(
        _ kind: Gateway,
        _ scenario: Scenario,
        _ upstreams: UpstreamSet
    ) async throws -> ([Observation], log: String) {
        try await RunningGateway.with(kind, scenario, upstreams) { gateway in
            let normaliser = Normaliser(gateway.ports)
            let result: Result<[Observation], any Error> = await withCheckedContinuation { continuation in
                // Its reads wait, and Swift's few threads must not.
                Thread.detachNewThread {
                    continuation.resume(
                        returning: Result {
                            upstreams.begin(scenario.scripts.mapValues { $0.placed(upstreams.ports) })
                            var client = Client(port: gateway.port, upstreams: upstreams)
                            return try client.play(scenario.exchanges)
                        }
                    )
                }
            }
            do {
                return (try result.get().map(normaliser.normalised), gateway.log)
            } catch {
                throw TestSupportError("\(scenario.name) on \(kind.rawValue): \(error)\n\(gateway.log)")
            }
        }
    }
}

extension Gateway {
    /// nginx held against itself has no excuse.
    fileprivate func mayDiffer(_ found: Match.Found) -> Bool {
        self == .parley && WantedDifference.all.contains { $0.explains(found) }
    }
}
