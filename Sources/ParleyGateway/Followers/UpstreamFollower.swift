internal import Logging
internal import NIOCore
internal import ParleyCore

/// Keeps the instances of one upstream up to date.
///
/// What is known stays while nobody can be asked, so that a registry that is away takes nothing down. An answer without
/// instances is an answer: then there are none.
struct UpstreamFollower: Sendable {
    let upstream: Upstream
    let source: InstanceSource
    let logger: Logger
    let time: any TimeSource
    /// Told that instances have left.
    let onLeave: @Sendable (Upstream) async -> Void

    func run() async {
        var isFailing = false
        while !Task.isCancelled {
            await self.look(&isFailing)
            guard (try? await self.time.sleep(for: self.source.interval)) != nil else { return }
        }
    }

    /// Looks once.
    func look() async {
        var isFailing = false
        await self.look(&isFailing)
    }

    private func look(_ isFailing: inout Bool) async {
        let number = self.upstream.beginLook()
        do {
            let peers = try await self.source.peers()
            guard !Task.isCancelled, self.upstream.takes(number) else { return }
            try await self.take(peers)
            if isFailing {
                isFailing = false
                self.logger.notice("instances can be found again", metadata: self.metadata)
            }
        } catch {
            guard !isFailing, !Task.isCancelled else { return }
            isFailing = true
            var metadata = self.metadata
            metadata["error"] = "\(error)"
            self.logger.warning("instances cannot be found; those that are known stay", metadata: metadata)
        }
    }

    private func take(_ peers: [PeerModel]) async throws {
        let now = MonotonicTime.milliseconds
        let known = self.upstream.group.states(now: now).map(\.peer)
        let change = PeerChange(from: known, to: peers)
        guard !change.isNone else { return }
        try self.upstream.group.replace(peers: peers, now: now)
        var metadata = self.metadata
        metadata["instances"] = "\(peers.count)"
        if !change.joined.isEmpty { metadata["joined"] = "\(change.joined.joined(separator: " "))" }
        if !change.left.isEmpty { metadata["left"] = "\(change.left.joined(separator: " "))" }
        self.logger.info("instances have changed", metadata: metadata)
        if !change.left.isEmpty { await self.onLeave(self.upstream) }
    }

    private var metadata: Logger.Metadata { ["upstream": "\(self.upstream.model.name)"] }
}

/// How two lists of instances differ. Pure.
struct PeerChange: Sendable, Hashable {
    /// Names, for people.
    private(set) var joined: [String] = []
    private(set) var left: [String] = []
    /// One that stays has another weight, say.
    private(set) var isAltered = false

    init(from old: [PeerModel], to new: [PeerModel]) {
        var known: [PeerIdentity: PeerModel] = [:]
        for peer in old { known[PeerIdentity(peer)] = peer }
        var seen = Set<PeerIdentity>()
        for peer in new where seen.insert(PeerIdentity(peer)).inserted {
            guard let before = known.removeValue(forKey: PeerIdentity(peer)) else {
                self.joined.append(peer.name)
                continue
            }
            if before != peer { self.isAltered = true }
        }
        self.left = known.values.map(\.name).sorted()
    }

    var isNone: Bool { self.joined.isEmpty && self.left.isEmpty && !self.isAltered }
}

/// The clock of the data plane.
enum MonotonicTime {
    static var milliseconds: Int64 { Int64(NIODeadline.now().uptimeNanoseconds / 1_000_000) }
}
