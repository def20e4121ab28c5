internal import ParleyCore
internal import Synchronization

/// What the layers below a try of a call know of it, and have to tell.
final class GRPCAttemptMark: Sendable {
    @TaskLocal static var current: GRPCAttemptMark?

    /// The metadata key under which a call names the instance that it means, and an answer the one that gives it.
    static let field = RequestContextFields.instance.lowercased()

    /// The metadata key by which a server says that it did nothing, because another one was meant.
    static let refusal = "x-parley-misdirected"

    /// The instance that is meant; `nil` where it does not know its id.
    let identity: String?
    private let begun = Atomic(false)

    init(identity: String?) {
        self.identity = identity
    }

    /// Whether it has got as far as a connection: what fails before has certainly not been carried out.
    var isBegun: Bool { self.begun.load(ordering: .relaxed) }

    func begin() { self.begun.store(true, ordering: .relaxed) }
}
