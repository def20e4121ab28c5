internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// The instances behind a name, with what all event loops know of them together.
///
/// It outlives a reload that does not change it, and with it what it has learnt about its instances.
final class Upstream: Sendable {
    let model: UpstreamModel
    let group: PeerGroup
    let hashKey: Template?
    /// Its place in metrics.
    let index: Int
    /// Who finds its instances, when they change.
    private let follower = Mutex<UpstreamFollower?>(nil)

    init(_ model: UpstreamModel, peers: [PeerModel], index: Int) throws {
        self.model = model
        self.index = index
        self.group = try PeerGroup(name: model.name, peers: peers, settings: PeerGroupSettings(model))
        if case .hash(let key, _) = model.method { self.hashKey = key } else { self.hashKey = nil }
    }

    var isFollowed: Bool { self.follower.withLock { $0 != nil } }

    /// - Parameter follower: `nil` when its plan is not in force any more.
    func follow(_ follower: UpstreamFollower?) { self.follower.withLock { $0 = follower } }

    /// Somebody needs an instance, and none is known.
    func lookAgain() async {
        guard let follower = self.follower.withLock({ $0 }) else { return }
        await follower.look()
    }
}
