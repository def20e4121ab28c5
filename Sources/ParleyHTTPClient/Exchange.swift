internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import Synchronization

/// One request and its complete answer, collected on the event loop of the connection.
///
/// The library's other interface gives the head to a task and every piece of the body after it; its deadline ends with
/// the head, so that a task beside it must watch the rest. Here one deadline holds for everything, kept by a timer of
/// the event loop that goes with the answer, and the task of the call is woken once.
final class Exchange: HTTPClientResponseDelegate {
    struct Answer: Sendable {
        var status: HTTPResponseStatus
        var headers: HTTPHeaders
        /// At most `maxBytes`.
        var body: [UInt8]
    }

    struct BodyTooLarge: Error {}

    private struct State {
        var isBegun = false
        var head: HTTPResponseHead?
        var body: [UInt8] = []
    }

    private let maxBytes: Int
    /// What an answer to HEAD says about its length is about another answer.
    private let hasBody: Bool
    private let state = Mutex(State())

    init(maxBytes: Int, method: HTTPMethod) {
        self.maxBytes = maxBytes
        self.hasBody = method != .HEAD
    }

    /// Sends it.
    ///
    /// - Throws: errors of the library, `deadlineExceeded` at the deadline; ``BodyTooLarge``.
    func run(
        _ request: HTTPClient.Request,
        on client: HTTPClient,
        deadline: NIODeadline
    ) async throws -> Answer {
        let task = client.execute(request: request, delegate: self, deadline: deadline)
        do {
            return try await withTaskCancellationHandler {
                try await task.get()
            } onCancel: {
                task.cancel()
            }
        } catch {
            if error as? HTTPClientError == .deadlineExceeded { await self.settle(client, on: task.eventLoop) }
            throw error
        }
    }

    /// Whether a part of the request may have reached the wire. Final once ``run(_:on:deadline:)`` has thrown, unless
    /// the task was cancelled: the loop of the connection tells the loop of the request what it does in the order in
    /// which it does it, so whatever makes the request fail comes after the word that it has begun…
    var isBegun: Bool { self.state.withLock { $0.isBegun } }

    /// …but for the deadline, which the request's own loop keeps: that word may be on its way, or the connection about
    /// to write. Whatever a loop was at when the deadline came is over when it takes up this, and what it told is heard.
    private func settle(_ client: HTTPClient, on loop: any EventLoop) async {
        if self.isBegun { return }
        for other in client.eventLoopGroup.makeIterator() { try? await other.submit {}.get() }
        try? await loop.submit {}.get()
    }

    // MARK: On the event loop of the request

    func didSendRequestHead(task: HTTPClient.Task<Answer>, _ head: HTTPRequestHead) {
        self.state.withLock { $0.isBegun = true }
    }

    func didReceiveHead(task: HTTPClient.Task<Answer>, _ head: HTTPResponseHead) -> EventLoopFuture<Void> {
        if self.hasBody, let length = head.headers.first(name: "content-length").flatMap({ Int($0) }),
            length > self.maxBytes
        {
            return task.eventLoop.makeFailedFuture(BodyTooLarge())
        }
        self.state.withLock { $0.head = head }
        return task.eventLoop.makeSucceededVoidFuture()
    }

    func didReceiveBodyPart(task: HTTPClient.Task<Answer>, _ buffer: ByteBuffer) -> EventLoopFuture<Void> {
        let hasRoom = self.state.withLock { state in
            guard state.body.count + buffer.readableBytes <= self.maxBytes else { return false }
            state.body.append(contentsOf: buffer.readableBytesView)
            return true
        }
        return hasRoom ? task.eventLoop.makeSucceededVoidFuture() : task.eventLoop.makeFailedFuture(BodyTooLarge())
    }

    func didFinishRequest(task: HTTPClient.Task<Answer>) throws -> Answer {
        try self.state.withLock { state in
            guard let head = state.head else { throw HTTPClientError.remoteConnectionClosed }
            defer { state.body = [] }
            return Answer(status: head.status, headers: head.headers, body: state.body)
        }
    }
}
