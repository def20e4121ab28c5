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
    private let state = Mutex(State())
    private let looked = Signal()

    private struct State {
        /// Who finds its instances, when they change.
        var follower: UpstreamFollower?
        var isLooking = false
        var looks: UInt64 = 0
        /// The latest look whose answer was taken.
        var taken: UInt64 = 0
    }

    /// How long a request waits for instances.
    private static let patience: Duration = .seconds(2)

    init(_ model: UpstreamModel, peers: [PeerModel], index: Int) throws {
        self.model = model
        self.index = index
        self.group = try PeerGroup(name: model.name, peers: peers, settings: PeerGroupSettings(model))
        if case .hash(let key, _) = model.method { self.hashKey = key } else { self.hashKey = nil }
    }

    var isFollowed: Bool { self.state.withLock { $0.follower != nil } }

    /// - Parameter follower: `nil` when its plan is not in force any more.
    func follow(_ follower: UpstreamFollower?) { self.state.withLock { $0.follower = follower } }

    /// Numbers the looks: an answer that comes late is older than one that is known.
    func beginLook() -> UInt64 {
        self.state.withLock { state in
            state.looks &+= 1
            return state.looks
        }
    }

    func takes(_ look: UInt64) -> Bool {
        self.state.withLock { state in
            guard look > state.taken else { return false }
            state.taken = look
            return true
        }
    }

    /// Somebody needs an instance, and none is known. However many do, one look is made.
    func lookAgain(on time: any TimeSource) async {
        let generation = self.looked.generation
        let end = time.now.advanced(by: Self.patience)
        let ours = self.state.withLock { state -> UpstreamFollower? in
            guard !state.isLooking, let follower = state.follower else { return nil }
            state.isLooking = true
            return follower
        }
        guard let ours else { return await self.looked.wait(after: generation, until: end, on: time) }
        await withTaskGroup(of: Void.self) { group in
            group.addTask { await ours.look() }
            group.addTask { try? await time.sleep(until: end) }
            await group.next()
            group.cancelAll()
        }
        self.state.withLock { $0.isLooking = false }
        self.looked.ring()
    }
}
