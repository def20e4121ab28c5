internal import ParleyCore

/// Stands in until the runtime tells these itself.
extension GatewayRuntime {
    package func metrics() async -> GatewayMetrics.Snapshot { GatewayMetrics.Snapshot() }

    package func status() async -> GatewayStatus {
        GatewayStatus(
            generation: 1,
            since: Timestamp(microseconds: 0),
            isDraining: false,
            connections: 0,
            listeners: (try? await self.listeningAddresses())?.map { .init(address: $0, servers: []) } ?? [],
            upstreams: [],
            zones: []
        )
    }

    package func plan(for request: ReplayRequest) -> ReplayOutcome { ReplayOutcome(server: "") }
}
