internal import NIOCore
internal import NIOPosix
public import ParleyCore
internal import Synchronization

/// A server that misbehaves as told, byte for byte.
public final class RawServer: Sendable {
    public enum Behaviour: Sendable {
        /// Closes each connection before reading anything.
        case closeAfterAccept
        /// Reads a request's head, then closes without an answer.
        case closeAfterRequest
        /// Reads everything and never answers.
        case hang
        /// Accepts and reads nothing at all.
        case deaf
        /// Answers each request's head with these bytes and leaves the connection open.
        case answer(String)
        /// Answers with these bytes and closes.
        case answerAndClose(String)
        /// The first answers, in turn; the last one is repeated.
        case script([String])
        /// Collects what it is sent and answers nothing until the connection ends.
        case collect
    }

    private struct State {
        var connections = 0
        var open = 0
        var requests: [String] = []
        var received: [UInt8] = []
    }

    private let state = Mutex(State())
    private let changed = Signal()
    private let behaviour: Behaviour

    private init(_ behaviour: Behaviour) { self.behaviour = behaviour }

    public var connections: Int { self.state.withLock { $0.connections } }
    /// Those that nobody has closed yet.
    public var openConnections: Int { self.state.withLock { $0.open } }
    /// The head of every request, with the first bytes that came along.
    public var requests: [String] { self.state.withLock { $0.requests } }
    public var received: [UInt8] { self.state.withLock { $0.received } }

    /// Waits until `condition` holds; ended by the test's time limit.
    public func wait(until condition: (RawServer) -> Bool) async throws {
        while true {
            let generation = self.changed.generation
            if condition(self) { return }
            await self.changed.wait(after: generation, until: nil, on: SystemTimeSource())
            try Task.checkCancellation()
        }
    }

    public static func with<Value>(
        _ behaviour: Behaviour,
        _ body: (Endpoint, RawServer) async throws -> Value
    ) async throws -> Value {
        let server = RawServer(behaviour)
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: !server.isDeaf)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Handler(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let endpoint = Endpoint(host: "127.0.0.1", port: channel.localAddress?.port ?? 0)
        do {
            let value = try await body(endpoint, server)
            try? await channel.close()
            return value
        } catch {
            try? await channel.close()
            throw error
        }
    }

    private var isDeaf: Bool { if case .deaf = self.behaviour { true } else { false } }

    fileprivate enum Action {
        case nothing, close
        case answer(String, thenClose: Bool)
    }

    fileprivate func accepted() -> Action {
        self.state.withLock { state in
            state.connections += 1
            state.open += 1
        }
        self.changed.ring()
        if case .closeAfterAccept = self.behaviour { return .close }
        return .nothing
    }

    fileprivate func closed() {
        self.state.withLock { $0.open -= 1 }
        self.changed.ring()
    }

    fileprivate func read(_ bytes: [UInt8]) {
        self.state.withLock { $0.received += bytes }
        self.changed.ring()
    }

    fileprivate func requested(_ text: String) -> Action {
        let count = self.state.withLock { state in
            state.requests.append(text)
            return state.requests.count
        }
        self.changed.ring()
        switch self.behaviour {
        case .closeAfterAccept, .closeAfterRequest: return .close
        case .hang, .deaf, .collect: return .nothing
        case .answer(let text): return .answer(text, thenClose: false)
        case .answerAndClose(let text): return .answer(text, thenClose: true)
        case .script(let answers):
            return answers.isEmpty ? .nothing : .answer(answers[min(count, answers.count) - 1], thenClose: false)
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let server: RawServer
        private var pending: [UInt8] = []

        init(_ server: RawServer) { self.server = server }

        func channelActive(context: ChannelHandlerContext) { self.run(self.server.accepted(), context) }

        func channelInactive(context: ChannelHandlerContext) { self.server.closed() }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let bytes = Array(self.unwrapInboundIn(data).readableBytesView)
            self.server.read(bytes)
            // A request is taken for complete at the end of its head; enough for misbehaving.
            if self.pending.isEmpty || !self.hasHead {
                self.pending += bytes
                if self.hasHead {
                    let text = String(decoding: self.pending, as: UTF8.self)
                    self.pending = []
                    self.run(self.server.requested(text), context)
                }
            }
        }

        private var hasHead: Bool {
            String(decoding: self.pending.prefix(65_536), as: UTF8.self).contains("\r\n\r\n")
        }

        private func run(_ action: Action, _ context: ChannelHandlerContext) {
            switch action {
            case .nothing:
                break
            case .close:
                context.close(promise: nil)
            case .answer(let text, let thenClose):
                context.writeAndFlush(self.wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
                if thenClose { context.close(promise: nil) }
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
