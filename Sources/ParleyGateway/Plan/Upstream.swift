internal import NIOCore
internal import ParleyCore

/// The instances behind a name, with what all event loops know of them together.
///
/// It outlives a reload that does not change it, and with it what it has learnt about its instances.
final class Upstream: Sendable {
    let model: UpstreamModel
    let group: PeerGroup
    let hashKey: Template?
    /// Its place in metrics.
    let index: Int

    init(_ model: UpstreamModel, peers: [PeerModel], index: Int) throws {
        self.model = model
        self.index = index
        self.group = try PeerGroup(name: model.name, peers: peers, settings: PeerGroupSettings(model))
        if case .hash(let key, _) = model.method { self.hashKey = key } else { self.hashKey = nil }
    }
}
