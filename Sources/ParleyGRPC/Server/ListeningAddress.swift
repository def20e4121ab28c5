internal import ParleyCore
internal import Synchronization

/// The address of a server, for those who wait until there is one.
final class ListeningAddress: Sendable {
    private let result = Mutex<Result<Endpoint, GRPCServiceError>?>(nil)
    private let changed = Signal()

    /// The first one stays: who asks late wants to know where it was.
    func set(_ result: Result<Endpoint, GRPCServiceError>) {
        self.result.withLock { if $0 == nil { $0 = result } }
        self.changed.ring()
    }

    func wait(on time: any TimeSource) async throws -> Endpoint {
        while true {
            let generation = self.changed.generation
            if let result = self.result.withLock({ $0 }) { return try result.get() }
            await self.changed.wait(after: generation, until: nil, on: time)
            try Task.checkCancellation()
        }
    }
}
