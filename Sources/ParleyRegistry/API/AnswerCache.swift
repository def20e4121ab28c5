internal import NIOCore
internal import Synchronization

/// The bytes of answers, for as long as nothing changes.
///
/// One change may wake a thousand who have asked the same: the answer is made once, and they share its memory.
final class AnswerCache: Sendable {
    /// Beyond, everything is forgotten and begins anew.
    static let maximumAnswers = 64
    static let maximumBytes = 64 << 20

    private struct State {
        var version: UInt64 = 0
        var answers: [String: ByteBuffer] = [:]
        var bytes = 0
    }

    private let state = Mutex(State())

    /// - Parameter version: Of the state that the answer is to show.
    func find(_ key: String, version: UInt64) -> ByteBuffer? {
        self.state.withLock { $0.version == version ? $0.answers[key] : nil }
    }

    func keep(_ answer: ByteBuffer, _ key: String, version: UInt64) {
        self.state.withLock { state in
            // One that was made of an older state comes too late.
            guard version >= state.version else { return }
            let isFull =
                state.answers.count >= Self.maximumAnswers || state.bytes + answer.readableBytes > Self.maximumBytes
            if version > state.version || isFull {
                state = State(version: version)
            }
            guard answer.readableBytes <= Self.maximumBytes else { return }
            state.bytes += answer.readableBytes
            state.answers[key] = answer
        }
    }
}
