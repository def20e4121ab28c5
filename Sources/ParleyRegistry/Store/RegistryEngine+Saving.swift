internal import Logging
internal import ParleyCore
internal import Synchronization

extension RegistryEngine {
    /// Results of checks wait this long for more of them, and are then written together.
    static let savingDelay: Duration = .seconds(1)
    /// After the disk has refused.
    static let retryDelay: Duration = .seconds(1)

    /// Returns when all changes up to this one are on disk.
    func waitUntilSaved(_ ticket: UInt64) async throws {
        guard self.isPersistent else { return }
        while true {
            let generation = self.saved.generation
            switch self.state.withLock({ $0.unsaved.outcome(of: ticket) }) {
            case .saved: return
            case .failed(let failure): throw failure
            case .waiting: break
            }
            await self.saved.wait(after: generation, until: nil, on: self.time)
            try Task.checkCancellation()
        }
    }

    /// Writes what changes until the task is cancelled, and then what is left.
    func keepSaving(in store: RegistryStore, floor: UInt64, logger: Logger) async {
        var ceiling = floor + RegistryStore.ceilingStep
        var hasFailed = false
        while !Task.isCancelled {
            let generation = self.hasUnsaved.generation
            let (isEmpty, isUrgent) = self.state.withLock { ($0.unsaved.keys.isEmpty, $0.unsaved.isUrgent) }
            if isEmpty {
                await self.hasUnsaved.wait(after: generation, until: nil, on: self.time)
            } else if isUrgent || hasFailed {
                hasFailed = await !self.saveOnce(in: store, ceiling: &ceiling, logger: logger)
                if hasFailed { try? await self.time.sleep(for: Self.retryDelay) }
            } else {
                await self.untilUrgent(self.time.now.advanced(by: Self.savingDelay))
                // What has come meanwhile goes along.
                if !Task.isCancelled { hasFailed = await !self.saveOnce(in: store, ceiling: &ceiling, logger: logger) }
            }
        }
        _ = await self.saveOnce(in: store, ceiling: &ceiling, logger: logger)
        self.state.withLock { $0.unsaved.ended() }
        self.saved.ring()
    }

    private func untilUrgent(_ instant: ContinuousClock.Instant) async {
        while !Task.isCancelled, self.time.now < instant {
            let generation = self.hasUnsaved.generation
            if self.state.withLock({ $0.unsaved.isUrgent }) { return }
            await self.hasUnsaved.wait(after: generation, until: instant, on: self.time)
        }
    }

    private func saveOnce(in store: RegistryStore, ceiling: inout UInt64, logger: Logger) async -> Bool {
        let (batch, rows, index) = self.state.withLock { state in
            let batch = state.unsaved.take()
            let rows = batch.keys.map { (key: $0, record: state.machine.record($0)) }
            return (batch, rows, state.machine.index)
        }
        guard !batch.keys.isEmpty else { return true }
        if index + RegistryStore.ceilingStep / 2 > ceiling { ceiling = index + RegistryStore.ceilingStep }
        do {
            try await store.write(rows, ceiling: ceiling)
            self.state.withLock { $0.unsaved.saved(batch) }
            self.saved.ring()
            return true
        } catch {
            self.state.withLock { $0.unsaved.failed(batch, error) }
            self.saved.ring()
            logger.error("the registry could not write its changes", metadata: ["error": "\(error)"])
            return false
        }
    }
}
