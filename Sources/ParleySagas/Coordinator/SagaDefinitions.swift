internal import ParleyCore
internal import Synchronization

/// The machines of this process: the registered definitions, and the older ones that running instances are pinned to.
final class SagaDefinitions: Sendable {
    private let registrations: [String: SagaRegistration]
    private let store: any SagaStore
    let stuckInterval: Duration
    private let current: [String: SagaMachine]
    /// By fingerprint. Bounded by the number of definitions ever stored.
    private let pinned: Mutex<[String: SagaMachine]>

    init(registrations: [SagaRegistration], store: any SagaStore, stuckInterval: Duration) {
        self.registrations = Dictionary(registrations.map { ($0.definition.name, $0) }) { _, last in last }
        self.store = store
        self.stuckInterval = stuckInterval
        self.current = self.registrations.mapValues {
            SagaMachine(definition: $0.definition, stuckInterval: stuckInterval)
        }
        self.pinned = Mutex(
            Dictionary(self.current.values.map { ($0.fingerprint, $0) }) { first, _ in first }
        )
    }

    func machine(forNew type: String) throws -> SagaMachine {
        guard let machine = self.current[type] else {
            let known = self.current.keys.sorted().joined(separator: ", ")
            throw SagaError(.unknownDefinition, "no saga '\(type)' is registered; there are: \(known)")
        }
        return machine
    }

    func machine(for instance: SagaInstance) async throws -> SagaMachine {
        if let machine = self.pinned.withLock({ $0[instance.definition] }) { return machine }
        guard let json = try await self.store.definition(instance.definition),
            let definition = try SagaDefinition.read(json: Array(json.utf8)).first
        else {
            throw SagaError(
                .corrupt,
                "saga '\(instance.id)' is pinned to the definition \(instance.definition), which is not stored"
            )
        }
        let machine = SagaMachine(definition: definition, stuckInterval: self.stuckInterval)
        self.pinned.withLock { $0[instance.definition] = machine }
        return machine
    }

    func action(_ name: String, of type: String) -> SagaAction? { self.registrations[type]?.actions[name] }
}
