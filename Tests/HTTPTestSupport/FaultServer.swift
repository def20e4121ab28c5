internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
public import ParleyCore
internal import Synchronization

/// A server that speaks HTTP properly until it is told to fail: to answer errors, to fall silent, or to die with all its
/// connections, as a process that is killed does.
///
/// It remembers the `X-Request-ID` of everything it has received, in order.
public final class FaultServer: Sendable {
    public enum Mode: Sendable {
        /// Answers with this status and these headers, a millisecond after the request has come.
        case answer(Int, [(String, String)] = [])
        /// Takes requests and answers none.
        case silent
    }

    private struct State {
        var mode = Mode.answer(200)
        var received: [String] = []
        var answered: Set<String> = []
        var channels: [ObjectIdentifier: any Channel] = [:]
        var listener: (any Channel)?
        var isDead = false
    }

    private let state = Mutex(State())
    private let changed = Signal()

    private init() {}

    /// Runs one for the length of `body`.
    public static func with<Value>(_ body: (Endpoint, FaultServer) async throws -> Value) async throws -> Value {
        let server = FaultServer()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 256)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                server.opened(channel)
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(server))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        server.state.withLock { $0.listener = listener }
        do {
            let value = try await body(Endpoint(host: "127.0.0.1", port: listener.localAddress?.port ?? 0), server)
            await server.kill()
            return value
        } catch {
            await server.kill()
            throw error
        }
    }

    public func become(_ mode: Mode) { self.state.withLock { $0.mode = mode } }

    /// The ids of all requests that have come in whole.
    public var received: [String] { self.state.withLock { $0.received } }

    /// The ids of those that have been answered.
    public var answered: Set<String> { self.state.withLock { $0.answered } }

    /// Closes the port and every connection at once.
    public func kill() async {
        let (listener, channels) = self.state.withLock { state in
            state.isDead = true
            defer { (state.listener, state.channels) = (nil, [:]) }
            return (state.listener, Array(state.channels.values))
        }
        try? await listener?.close()
        for channel in channels { try? await channel.close() }
    }

    /// Waits until so many requests have come; ended by the test's time limit.
    public func waitForRequests(_ count: Int) async throws {
        while true {
            let generation = self.changed.generation
            if self.received.count >= count { return }
            await self.changed.wait(after: generation, until: nil, on: SystemTimeSource())
            try Task.checkCancellation()
        }
    }

    private func opened(_ channel: any Channel) {
        let isDead = self.state.withLock { state in
            if !state.isDead { state.channels[ObjectIdentifier(channel)] = channel }
            return state.isDead
        }
        channel.closeFuture.whenComplete { _ in
            self.state.withLock { $0.channels[ObjectIdentifier(channel)] = nil }
        }
        if isDead { channel.close(promise: nil) }
    }

    fileprivate func received(_ id: String) -> Mode {
        let mode = self.state.withLock { state in
            state.received.append(id)
            return state.mode
        }
        self.changed.ring()
        return mode
    }

    fileprivate func answered(_ id: String) { self.state.withLock { _ = $0.answered.insert(id) } }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let server: FaultServer
        private var id = ""

        init(_ server: FaultServer) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch self.unwrapInboundIn(data) {
            case .head(let head):
                self.id = head.headers.first(name: "X-Request-ID") ?? ""
            case .body:
                break
            case .end:
                guard case .answer(let status, let fields) = self.server.received(self.id) else { return }
                let (server, id) = (self.server, self.id)
                let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
                context.eventLoop.scheduleTask(in: .milliseconds(1)) {
                    let context = bound.value
                    guard context.channel.isActive else { return }
                    var headers = HTTPHeaders(fields)
                    headers.add(name: "Content-Length", value: "0")
                    let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: status), headers: headers)
                    context.write(NIOAny(OutboundOut.head(head)), promise: nil)
                    context.writeAndFlush(NIOAny(OutboundOut.end(nil)), promise: nil)
                    server.answered(id)
                }
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
