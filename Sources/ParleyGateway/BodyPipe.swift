internal import NIOCore
internal import ParleyCore
internal import Synchronization

/// Carries a request body from the client's connection to the one upstream, one buffer at a time.
///
/// It stands between two owners who do not know of each other's end: the HTTP client library reads it from a task of
/// its own, which may stop at any time, and our server's connection must not be read by anybody once its request is
/// over. Holding a single buffer makes the client's connection wait for the service's: nothing piles up here.
final class BodyPipe: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    private struct State {
        var slot: ByteBuffer?
        var end: Result<Void, any Error>?
        /// Nobody reads any more.
        var isClosed = false
        /// Somebody has begun to read, so something may have been sent.
        var isBegun = false
    }

    private let state = Mutex(State())
    private let changed = Signal()
    private let time: any TimeSource

    init(time: any TimeSource) {
        self.time = time
    }

    /// Whether the other side has asked for the body: before that, the request can go to another instance.
    var isBegun: Bool { self.state.withLock { $0.isBegun } }

    /// Puts one buffer in, and waits for room first. `false` when nobody will read it.
    func send(_ buffer: ByteBuffer) async -> Bool {
        while !Task.isCancelled {
            let generation = self.changed.generation
            let isDone: Bool? = self.state.withLock { state in
                if state.isClosed { return false }
                guard state.slot == nil else { return nil }
                state.slot = buffer
                return true
            }
            if let isDone {
                self.changed.ring()
                return isDone
            }
            await self.changed.wait(after: generation, until: nil, on: self.time)
        }
        return false
    }

    /// The body has ended, or cannot be continued.
    func finish(_ end: Result<Void, any Error>) {
        self.state.withLock { $0.end = $0.end ?? end }
        self.changed.ring()
    }

    /// The exchange is over: a reader gets the end, a writer throws away.
    func close() {
        self.state.withLock { state in
            state.isClosed = true
            state.slot = nil
        }
        self.changed.ring()
    }

    private func receive() async throws -> ByteBuffer? {
        while true {
            let generation = self.changed.generation
            let next: Result<ByteBuffer?, any Error>? = self.state.withLock { state in
                state.isBegun = true
                if let buffer = state.slot {
                    state.slot = nil
                    return .success(buffer)
                }
                if state.isClosed { return .success(nil) }
                return state.end.map { end in end.map { nil } }
            }
            if let next {
                self.changed.ring()
                return try next.get()
            }
            try Task.checkCancellation()
            await self.changed.wait(after: generation, until: nil, on: self.time)
        }
    }

    struct AsyncIterator: AsyncIteratorProtocol {
        let pipe: BodyPipe

        mutating func next() async throws -> ByteBuffer? { try await self.pipe.receive() }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(pipe: self) }
}
