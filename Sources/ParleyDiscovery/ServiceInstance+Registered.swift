package import ParleyCore

extension ServiceInstance {
    /// The key of a registry's metadata by which a program says that the instance itself knows this id. What people
    /// register by hand, for programs of others, has it not.
    private static let ownID = "parley_instance"
    /// The key of ``metadata`` under which a resolver says how much of the traffic an instance should get.
    package static let weight = "weight"

    /// What a registry is told beside the address.
    package var registeredMetadata: [String: String] {
        guard self.knowsItsID else { return self.metadata }
        return self.metadata.merging([Self.ownID: self.id]) { $1 }
    }

    /// What a registry knows of an instance.
    package init(
        id: String,
        service: ServiceName,
        endpoint: Endpoint,
        tags: [String],
        registeredMetadata: [String: String]
    ) {
        var metadata = registeredMetadata
        let own = metadata.removeValue(forKey: Self.ownID)
        self.init(
            id: id,
            service: service,
            endpoint: endpoint,
            tags: tags,
            metadata: metadata,
            knowsItsID: own == id
        )
    }
}
