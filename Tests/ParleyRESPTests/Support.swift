import NIOCore
import NIOPosix
import ParleyCore
import RedisTestSupport
import Synchronization
import Testing

@testable import ParleyRESP

/// A server and a protocol version to speak with it.
struct Dialect: Sendable, CustomTestStringConvertible {
    var engine: Engine
    var prefersRESP3: Bool

    static let all = Engine.all.flatMap { engine in [true, false].map { Dialect(engine: engine, prefersRESP3: $0) } }

    var testDescription: String { "\(self.engine.name), RESP\(self.prefersRESP3 ? 3 : 2)" }
}

final class Counter: Sendable {
    private let count = Mutex(0)
    var value: Int { self.count.withLock { $0 } }
    func add() { self.count.withLock { $0 += 1 } }
}

/// The error that `body` throws, which must be one of ours.
func failure<Value>(_ body: () async throws -> Value) async throws -> RESPError {
    do {
        let value = try await body()
        throw ServerFailure("no error, but \(value)")
    } catch let error as RESPError {
        return error
    }
}

// MARK: - A server that says what a test wants

/// Answers commands from a script, over a real socket.
final class FakeServer: Sendable {
    enum Answer: Sendable {
        case bytes(String)
        case nothing
        case close
    }

    typealias Script = @Sendable (_ command: [String], _ connection: Int) -> Answer

    let port: Int
    private let source: Children

    private init(port: Int, children: Children) {
        self.port = port
        self.source = children
    }

    private final class Children: Sendable {
        let channels = Mutex<[any Channel]>([])
        let seen = Mutex<[[String]]>([])
    }

    var configuration: RESPConfiguration {
        var configuration = RESPConfiguration(endpoint: .host("127.0.0.1", port: self.port))
        configuration.backoff = Backoff(initial: .milliseconds(1), cap: .milliseconds(20))
        configuration.sharedConnections = 1
        return configuration
    }

    /// Every command so far, on all connections.
    var commands: [[String]] { self.source.seen.withLock { $0 } }
    var connections: Int { self.source.channels.withLock { $0.count } }

    /// Sends to every connection.
    func say(_ text: String) {
        for channel in self.source.channels.withLock({ $0 }) {
            channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
        }
    }

    static func with<Value>(
        _ script: @escaping Script,
        _ body: (FakeServer) async throws -> Value
    ) async throws -> Value {
        let children = Children()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let number = children.channels.withLock {
                        $0.append(channel)
                        return $0.count - 1
                    }
                    try channel.pipeline.syncOperations.addHandler(Handler(script, number, children))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let server = FakeServer(port: channel.localAddress?.port ?? 0, children: children)
        let result: Result<Value, any Error>
        do { result = .success(try await body(server)) } catch { result = .failure(error) }
        try? await channel.close()
        for child in children.channels.withLock({ $0 }) { child.close(promise: nil) }
        return try result.get()
    }

    /// What a server of today says to a handshake; `nil` for every other command.
    static func handshake(_ command: [String]) -> Answer? {
        switch command.first {
        case "HELLO": .bytes("%2\r\n+server\r\n+redis\r\n+proto\r\n:3\r\n")
        case "CLIENT", "SELECT", "AUTH": .bytes("+OK\r\n")
        default: nil
        }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        private let script: Script
        private let number: Int
        private let children: Children
        private var parser = RESPParser()
        private var received = ByteBuffer()

        init(_ script: @escaping Script, _ number: Int, _ children: Children) {
            self.script = script
            self.number = number
            self.children = children
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var incoming = self.unwrapInboundIn(data)
            self.received.writeBuffer(&incoming)
            while let value = try? self.parser.next(from: &self.received) {
                let command = (value.elements ?? []).map { $0.string ?? "" }
                self.children.seen.withLock { $0.append(command) }
                switch self.script(command, self.number) {
                case .bytes(let text):
                    context.channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
                case .nothing: break
                case .close: context.close(promise: nil)
                }
            }
        }
    }
}
