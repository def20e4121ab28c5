public import ParleyCore

/// Asks several resolvers in turn, until one knows an instance: for systems of which a part is in a registry and the
/// rest at fixed addresses.
public struct FallbackResolver: ServiceResolver {
    private let resolvers: [any ServiceResolver]

    public init(_ resolvers: [any ServiceResolver]) {
        self.resolvers = resolvers
    }

    /// - Throws: the first resolver's error, when none knows an instance and one could not be asked.
    public func resolve(_ service: ServiceName) async throws -> [ServiceInstance] {
        var failure: (any Error)?
        for resolver in self.resolvers {
            do {
                let instances = try await resolver.resolve(service)
                if !instances.isEmpty { return instances }
            } catch {
                try Task.checkCancellation()
                failure = failure ?? error
            }
        }
        if let failure { throw failure }
        return []
    }
}
