/// One line of `/v1/catalog/service/:name`: an instance and its node in one flat object.
package struct ConsulCatalogEntry: Sendable, Hashable, Codable {
    package var node: ConsulNode
    package var service: ConsulService

    package init(node: ConsulNode, service: ConsulService) {
        self.node = node
        self.service = service
    }

    private enum CodingKeys: String, CodingKey {
        case id = "ID"
        case node = "Node"
        case address = "Address"
        case datacenter = "Datacenter"
        case taggedAddresses = "TaggedAddresses"
        case nodeMeta = "NodeMeta"
        case serviceKind = "ServiceKind"
        case serviceID = "ServiceID"
        case serviceName = "ServiceName"
        case serviceTags = "ServiceTags"
        case serviceAddress = "ServiceAddress"
        case serviceTaggedAddresses = "ServiceTaggedAddresses"
        case serviceWeights = "ServiceWeights"
        case serviceMeta = "ServiceMeta"
        case servicePort = "ServicePort"
        case serviceSocketPath = "ServiceSocketPath"
        case serviceEnableTagOverride = "ServiceEnableTagOverride"
        case serviceProxy = "ServiceProxy"
        case serviceConnect = "ServiceConnect"
        case createIndex = "CreateIndex"
        case modifyIndex = "ModifyIndex"
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(self.node.id, forKey: .id)
        try container.encode(self.node.name, forKey: .node)
        try container.encode(self.node.address, forKey: .address)
        try container.encode(self.node.datacenter, forKey: .datacenter)
        try container.encode(self.node.taggedAddresses, forKey: .taggedAddresses)
        try container.encode(self.node.meta, forKey: .nodeMeta)
        try container.encode(self.service.kind, forKey: .serviceKind)
        try container.encode(self.service.id, forKey: .serviceID)
        try container.encode(self.service.service, forKey: .serviceName)
        try container.encode(self.service.tags, forKey: .serviceTags)
        try container.encode(self.service.address, forKey: .serviceAddress)
        try container.encodeUnlessEmpty(self.service.taggedAddresses, forKey: .serviceTaggedAddresses)
        try container.encode(self.service.weights, forKey: .serviceWeights)
        try container.encode(self.service.meta, forKey: .serviceMeta)
        try container.encode(self.service.port, forKey: .servicePort)
        try container.encode(self.service.socketPath, forKey: .serviceSocketPath)
        try container.encode(self.service.enableTagOverride, forKey: .serviceEnableTagOverride)
        try container.encode(ConsulMeshPart.proxy, forKey: .serviceProxy)
        try container.encode(ConsulMeshPart.nothing, forKey: .serviceConnect)
        try container.encode(self.service.indexes?.create ?? 0, forKey: .createIndex)
        try container.encode(self.service.indexes?.modify ?? 0, forKey: .modifyIndex)
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        self.node = ConsulNode(
            name: try container.decode(String.self, forKey: .node),
            address: try container.value(.address, or: "")
        )
        self.node.id = try container.value(.id, or: "")
        self.node.datacenter = try container.value(.datacenter, or: "")
        self.node.taggedAddresses = try container.decodeIfPresent([String: String].self, forKey: .taggedAddresses)
        self.node.meta = try container.decodeIfPresent([String: String].self, forKey: .nodeMeta)
        self.service = ConsulService(
            id: try container.decode(String.self, forKey: .serviceID),
            service: try container.decode(String.self, forKey: .serviceName)
        )
        self.service.kind = try container.value(.serviceKind, or: "")
        self.service.tags = try container.value(.serviceTags, or: [])
        self.service.address = try container.value(.serviceAddress, or: "")
        self.service.taggedAddresses = try container.value(.serviceTaggedAddresses, or: [:])
        self.service.weights = try container.value(.serviceWeights, or: ConsulWeights())
        self.service.meta = try container.value(.serviceMeta, or: [:])
        self.service.port = try container.value(.servicePort, or: 0)
        self.service.socketPath = try container.value(.serviceSocketPath, or: "")
        self.service.enableTagOverride = try container.value(.serviceEnableTagOverride, or: false)
        self.service.indexes = ConsulService.Indexes(
            create: try container.value(.createIndex, or: 0),
            modify: try container.value(.modifyIndex, or: 0)
        )
    }
}
