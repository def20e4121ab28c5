internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyResilience
internal import Synchronization

/// What the resolver answers, in the words of the caller. Made anew only when the answer is another one, which is seen
/// without a look at the instances as long as the resolver keeps to one array.
final class KnownTargets: Sendable {
    /// As many as the caller keeps.
    private static let maxServices = ResilientCaller.maxServices

    private struct Entry {
        var instances: [ServiceInstance]
        var targets: [CallTarget]
    }

    private let entries = Mutex<[ServiceName: Entry]>([:])
    private let requiresIdentity: Bool

    init(_ policy: IdentityPolicy) {
        self.requiresIdentity = policy.isRequired
    }

    func targets(for instances: [ServiceInstance], of service: ServiceName) -> [CallTarget] {
        self.entries.withLock { entries in
            if let entry = entries[service], entry.instances == instances { return entry.targets }
            if entries.count >= Self.maxServices, entries[service] == nil { entries.removeAll() }
            let targets = instances.compactMap { instance -> CallTarget? in
                // An instance that cannot be asked for its name could be anybody.
                if self.requiresIdentity, !instance.knowsItsID { return nil }
                return CallTarget(
                    id: instance.id,
                    endpoint: instance.endpoint,
                    identity: instance.knowsItsID ? instance.id : nil,
                    weight: instance.metadata[ServiceInstance.weight].flatMap { Int($0) } ?? 1
                )
            }
            entries[service] = Entry(instances: instances, targets: targets)
            return targets
        }
    }
}
