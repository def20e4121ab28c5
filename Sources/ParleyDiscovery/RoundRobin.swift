package import ParleyCore
internal import Synchronization

/// Takes the instances of a service in turn.
package final class RoundRobin: Sendable {
    // The names come from the program's own configuration; the limit only keeps a mistake from growing without end.
    private static let maxServices = 4_096

    private let turns = Mutex<[ServiceName: Int]>([:])

    package init() {}

    /// The instance whose turn it is, if possible one that is not among the `avoided`; `nil` when there is none at all.
    package func pick(
        from instances: [ServiceInstance],
        of service: ServiceName,
        avoiding avoided: Set<ServiceInstance.ID> = []
    ) -> ServiceInstance? {
        let fresh = instances.filter { !avoided.contains($0.id) }
        let candidates = fresh.isEmpty ? instances : fresh
        guard !candidates.isEmpty else { return nil }
        let turn = self.turns.withLock { turns in
            if turns.count >= Self.maxServices, turns[service] == nil { turns.removeAll() }
            let turn = turns[service, default: 0]
            turns[service] = turn &+ 1
            return turn
        }
        return candidates[Int(UInt(bitPattern: turn) % UInt(candidates.count))]
    }
}
