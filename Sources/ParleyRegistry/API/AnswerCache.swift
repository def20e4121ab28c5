internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// The bytes of answers, for as long as nothing changes.
///
/// One change may wake a thousand who have asked the same: the first makes the answer, the others wait for it, and all
/// share its memory.
final class AnswerCache: Sendable {
    /// Beyond, everything is forgotten and begins anew.
    static let maximumAnswers = 1_024
    static let maximumBytes = 64 << 20

    private enum Entry {
        case made(ByteBuffer)
        case beingMade(Making)
    }

    private struct State {
        var version: UInt64 = 0
        var answers: [String: Entry] = [:]
        var bytes = 0
    }

    enum Found {
        case made(ByteBuffer)
        /// By somebody else.
        case beingMade(Making)
        /// By whoever has asked, who has to call ``made(_:_:)`` or ``failed(_:)``.
        case toBeMade(Making)
    }

    private let state = Mutex(State())

    /// - Parameter version: Of the state that the answer is to show. It does not go back.
    func find(_ key: String, version: UInt64) -> Found {
        self.state.withLock { state in
            if version > state.version || state.answers.count >= Self.maximumAnswers {
                // What is being made is made for those who wait for it.
                state = State(version: version)
            }
            switch state.answers[key] {
            case .made(let bytes): return .made(bytes)
            case .beingMade(let making): return .beingMade(making)
            case nil:
                let making = Making(key: key)
                state.answers[key] = .beingMade(making)
                return .toBeMade(making)
            }
        }
    }

    func made(_ bytes: ByteBuffer, _ making: Making) {
        self.state.withLock { state in
            guard case .beingMade(let current)? = state.answers[making.key], current === making else { return }
            state.answers[making.key] = nil
            guard bytes.readableBytes <= Self.maximumBytes else { return }
            if state.bytes + bytes.readableBytes > Self.maximumBytes { state = State(version: state.version) }
            state.bytes += bytes.readableBytes
            state.answers[making.key] = .made(bytes)
        }
        making.end(bytes)
    }

    func failed(_ making: Making) {
        self.state.withLock { state in
            guard case .beingMade(let current)? = state.answers[making.key], current === making else { return }
            state.answers[making.key] = nil
        }
        making.end(nil)
    }

    /// One answer while it is being made.
    final class Making: Sendable {
        fileprivate let key: String
        private let result = Mutex<ByteBuffer??>(.none)
        private let ended = Signal()

        fileprivate init(key: String) { self.key = key }

        fileprivate func end(_ bytes: ByteBuffer?) {
            self.result.withLock { $0 = .some(bytes) }
            self.ended.ring()
        }

        /// Returns when it is made; `nil` when it could not be, or the task is cancelled.
        func bytes(on time: any TimeSource) async -> ByteBuffer? {
            while !Task.isCancelled {
                let generation = self.ended.generation
                if let result = self.result.withLock({ $0 }) { return result }
                await self.ended.wait(after: generation, until: nil, on: time)
            }
            return nil
        }
    }
}
