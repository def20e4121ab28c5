internal import Synchronization

/// Whether a try of a call has got as far as a connection: what fails before has certainly not been carried out.
final class GRPCAttemptMark: Sendable {
    @TaskLocal static var current: GRPCAttemptMark?

    private let state = Atomic(false)

    var isBegun: Bool { self.state.load(ordering: .relaxed) }

    func begin() { self.state.store(true, ordering: .relaxed) }
}
