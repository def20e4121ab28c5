/// What differs from the disk, and who is to be told when it does not any more.
///
/// Only the keys are kept: what is written is the state at the time of writing. So a thing that changes a hundred times
/// between two writes is written once, and the order of writes cannot get it wrong.
struct UnsavedChanges: Sendable {
    private(set) var keys: Set<RegistryStateMachine.RecordKey> = []
    /// Counts the changes that somebody waits for.
    private(set) var ticket: UInt64 = 0
    private(set) var isUrgent = false
    private(set) var savedTicket: UInt64 = 0
    private(set) var failure: StoreFailure?

    mutating func add(_ keys: Set<RegistryStateMachine.RecordKey>, isUrgent: Bool) {
        self.keys.formUnion(keys)
        if isUrgent {
            self.ticket += 1
            self.isUrgent = true
        }
    }

    struct Batch: Sendable {
        var keys: Set<RegistryStateMachine.RecordKey>
        var ticket: UInt64
    }

    mutating func take() -> Batch {
        defer {
            self.keys = []
            self.isUrgent = false
        }
        return Batch(keys: self.keys, ticket: self.ticket)
    }

    mutating func saved(_ batch: Batch) {
        self.savedTicket = max(self.savedTicket, batch.ticket)
        self.failure = nil
    }

    /// It stays to be done.
    mutating func failed(_ batch: Batch, _ error: any Error) {
        self.keys.formUnion(batch.keys)
        self.failure = StoreFailure(ticket: batch.ticket, cause: error)
    }

    /// What to say to further changes while the disk refuses, so that they do not grow without end; `nil` takes them.
    func refusal(limit: Int) -> StoreFailure? {
        guard var failure, self.keys.count >= limit else { return nil }
        failure.isInEffect = false
        return failure
    }

    /// Nothing will be written any more.
    mutating func ended() { self.failure = StoreFailure(ticket: .max, cause: nil) }

    enum Outcome: Sendable {
        case saved, waiting
        case failed(StoreFailure)
    }

    func outcome(of ticket: UInt64) -> Outcome {
        if self.savedTicket >= ticket { return .saved }
        if let failure, failure.ticket >= ticket { return .failed(failure) }
        return .waiting
    }
}

/// A change is not on disk.
struct StoreFailure: Error, CustomStringConvertible {
    var ticket: UInt64
    var cause: (any Error)?
    /// Whether it was made all the same, and is written when that is possible again.
    var isInEffect = true

    var description: String {
        guard let cause else { return "the registry has been stopped" }
        guard self.isInEffect else {
            return "no change is taken before the disk has room for those before it: \(cause)"
        }
        return "the change is in effect, and could not be written: \(cause)"
    }
}
