import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL
import ParleyCore
import Synchronization

/// An agent that answers as a test says.
final class ScriptedAgent: Sendable {
    struct Request: Sendable {
        var method: String
        var path: String
        var query: String
        var headers: HTTPHeaders
        var body: String
        /// Which one it is, of all with this method and path; the first is 1.
        var count: Int

        var index: UInt64? {
            self.query.split(separator: "&").first { $0.hasPrefix("index=") }.flatMap { UInt64($0.dropFirst(6)) }
        }
    }

    enum Reply: Sendable {
        case answer(Int, String, [(String, String)] = [])
        /// Nothing, ever.
        case hang
        /// Closes the connection without a word.
        case drop
        /// Promises more than it sends, and closes.
        case cut(String)
        /// Sends without an end.
        case flood

        static func found(_ body: String, index: UInt64, _ headers: [(String, String)] = []) -> Reply {
            .answer(200, body, [("X-Consul-Index", "\(index)")] + headers)
        }
    }

    typealias Script = @Sendable (Request) -> Reply

    private struct State {
        var requests: [Request] = []
        var counts: [String: Int] = [:]
        var script: Script
    }

    private let state: Mutex<State>
    private let changed = Signal()
    private let open = Mutex<[any Channel]>([])

    private init(_ script: @escaping Script) { self.state = Mutex(State(script: script)) }

    var requests: [Request] { self.state.withLock { $0.requests } }

    func count(_ method: String, _ path: String) -> Int {
        self.state.withLock { $0.counts["\(method) \(path)"] ?? 0 }
    }

    /// From now on it answers otherwise.
    func change(_ script: @escaping Script) { self.state.withLock { $0.script = script } }

    /// Closes all connections.
    func hangUp() async {
        let channels = self.open.withLock { open in
            defer { open = [] }
            return open
        }
        for channel in channels { try? await channel.close() }
    }

    /// Waits until `condition` holds; ended by the test's time limit.
    func wait(until condition: (ScriptedAgent) -> Bool) async throws {
        while true {
            let generation = self.changed.generation
            if condition(self) { return }
            await self.changed.wait(after: generation, until: nil, on: SystemTimeSource())
            try Task.checkCancellation()
        }
    }

    /// - Parameter tls: For a server that speaks nothing else.
    static func with<Value>(
        port: Int = 0,
        tls: NIOSSLContext? = nil,
        _ script: @escaping Script,
        _ body: (Endpoint, ScriptedAgent) async throws -> Value
    ) async throws -> Value {
        let agent = ScriptedAgent(script)
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 4_096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                agent.open.withLock { $0.append(channel) }
                return channel.eventLoop.makeCompletedFuture {
                    if let tls {
                        try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: tls))
                    }
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(agent))
                }
            }
            .bind(host: "127.0.0.1", port: port).get()
        let endpoint = Endpoint(host: "127.0.0.1", port: server.localAddress?.port ?? 0)
        let result: Result<Value, any Error>
        do { result = .success(try await body(endpoint, agent)) } catch { result = .failure(error) }
        try? await server.close()
        await agent.hangUp()
        return try result.get()
    }

    fileprivate func reply(_ head: HTTPRequestHead, _ body: String) -> Reply {
        let parts = head.uri.split(separator: "?", maxSplits: 1)
        let path = String(parts.first ?? "")
        let (script, request) = self.state.withLock { state in
            let key = "\(head.method.rawValue) \(path)"
            state.counts[key, default: 0] += 1
            let request = Request(
                method: head.method.rawValue,
                path: path,
                query: parts.count > 1 ? String(parts[1]) : "",
                headers: head.headers,
                body: body,
                count: state.counts[key] ?? 0
            )
            state.requests.append(request)
            return (state.script, request)
        }
        defer { self.changed.ring() }
        return script(request)
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let agent: ScriptedAgent
        private var head: HTTPRequestHead?
        private var body = ""

        init(_ agent: ScriptedAgent) { self.agent = agent }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch self.unwrapInboundIn(data) {
            case .head(let head): (self.head, self.body) = (head, "")
            case .body(let buffer): self.body += String(buffer: buffer)
            case .end:
                guard let head = self.head else { return }
                self.run(self.agent.reply(head, self.body), context)
            }
        }

        private func run(_ reply: Reply, _ context: ChannelHandlerContext) {
            switch reply {
            case .hang: break
            case .drop: context.close(promise: nil)
            case .answer(let status, let text, let headers):
                self.send(status, text, HTTPHeaders(headers + [("Content-Length", "\(text.utf8.count)")]), context)
                context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
            case .cut(let text):
                self.send(200, text, HTTPHeaders([("Content-Length", "100000"), ("X-Consul-Index", "7")]), context)
                context.close(promise: nil)
            case .flood:
                self.send(200, "", HTTPHeaders([("Transfer-Encoding", "chunked")]), context)
                Self.flood(context.channel)
            }
        }

        private func send(_ status: Int, _ text: String, _ headers: HTTPHeaders, _ context: ChannelHandlerContext) {
            let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: status), headers: headers)
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            context.writeAndFlush(self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: text)))), promise: nil)
        }

        private static func flood(_ channel: any Channel) {
            let part = HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(repeating: UInt8(ascii: " "), count: 65_536)))
            let write = channel.writeAndFlush(part)
            write.whenSuccess { Self.flood(channel) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
