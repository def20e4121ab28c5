internal import ParleyCore
internal import Synchronization

/// Keeps the servers of shared limits that the plan in force names. One that both plans name stays connected.
final class SharedLimitServers: Sendable {
    private struct State {
        var wanted: [String: SharedLimitServer] = [:]
        var running: Set<String> = []
    }

    private let state = Mutex(State())
    private let changed = Signal()
    private let time: any TimeSource

    init(time: any TimeSource) {
        self.time = time
    }

    func adopt(_ plan: GatewayPlan) {
        self.state.withLock { $0.wanted = plan.sharedServers }
        self.changed.ring()
    }

    /// Until the task is cancelled; a graceful shutdown does not end it, for requests that are under way still count.
    func run() async {
        await withDiscardingTaskGroup { group in
            while !Task.isCancelled {
                let generation = self.changed.generation
                for server in self.takeNew() {
                    group.addTask {
                        await server.run(while: { self.isWanted(server) }, self.changed)
                        self.state.withLock { _ = $0.running.remove(server.url) }
                        // It may be wanted again by now.
                        self.changed.ring()
                    }
                }
                await self.changed.wait(after: generation, until: nil, on: self.time)
            }
            group.cancelAll()
        }
    }

    private func takeNew() -> [SharedLimitServer] {
        self.state.withLock { state in
            let new = state.wanted.values.filter { !state.running.contains($0.url) }
            state.running.formUnion(new.map(\.url))
            return new
        }
    }

    private func isWanted(_ server: SharedLimitServer) -> Bool {
        self.state.withLock { $0.wanted[server.url] === server }
    }
}
