import ArgumentParser
import AsyncHTTPClient
import Foundation
import HTTPTypes
import Logging
import NIOCore
import NIOPosix
import ParleyCore
import ParleyDiscovery
import ParleyHTTPClient
import ParleyResilience

@main
struct ResilienceBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "What the resilience of a client costs: for a call that does nothing, and for calls over HTTP.",
        discussion: "Rows alternate within one run; only their ratios mean something on a busy machine."
    )

    @Option(help: "Calls that do nothing, for each row and round.") var calls = 300_000
    @Option(help: "Calls over HTTP, for each row and round.") var requests = 20_000
    @Option(help: "Calls over HTTP at once.") var concurrency = 32
    @Option(help: "Rounds; the best of each row counts, over HTTP the median.") var rounds = 5

    func run() async throws {
        try await self.stack()
        try await self.overHTTP()
    }

    // MARK: The stack alone

    private func stack() async throws {
        let targets = (1...8).map { number in
            CallTarget(id: "i-\(number)", endpoint: Endpoint(host: "10.0.0.\(number)", port: 80))
        }
        var fastest = ResiliencePolicy()
        fastest.balancing = .peakEWMA()
        let rows: [(String, ResilientCaller)] = [
            ("no stage but the time limits", ResilientCaller(policy: .plain)),
            ("as it comes", ResilientCaller(policy: ResiliencePolicy())),
            ("as it comes, peak EWMA", ResilientCaller(policy: fastest)),
        ]
        var best = [Double](repeating: .infinity, count: rows.count + 1)
        for _ in 0..<self.rounds {
            best[0] = min(best[0], try await self.nanoseconds(self.calls) { try await Self.work() })
            for (index, row) in rows.enumerated() {
                let caller = row.1
                let call = Call("service", isRepeatable: true)
                let time = try await self.nanoseconds(self.calls) {
                    try await caller.call(
                        call,
                        targets: { targets },
                        classify: { _, _ in Judgement(.success, note: "200") },
                        attempt: { _ in try await Self.work() }
                    ).value
                }
                best[index + 1] = min(best[index + 1], time)
            }
        }
        print("a call that does nothing, 8 instances          ns/call   over bare")
        self.line("bare", best[0], nil)
        for (index, row) in rows.enumerated() { self.line(row.0, best[index + 1], best[index + 1] - best[0]) }
    }

    @inline(never)
    private static func work() async throws -> Int { 200 }

    private func nanoseconds(_ count: Int, _ body: () async throws -> Int) async throws -> Double {
        var sum = 0
        let start = ContinuousClock.now
        for _ in 0..<count { sum += try await body() }
        let elapsed = start.duration(to: .now)
        guard sum == 200 * count else { throw ExitCode.failure }
        return (Double(elapsed.components.seconds) * 1e9 + Double(elapsed.components.attoseconds) / 1e9) / Double(count)
    }

    private func line(_ name: String, _ value: Double, _ over: Double?) {
        let padded = name.padding(toLength: 44, withPad: " ", startingAt: 0)
        print("\(padded) \(String(format: "%9.0f", value))" + (over.map { String(format: "   %9.0f", $0) } ?? ""))
    }

    // MARK: Over HTTP

    private func overHTTP() async throws {
        let listener = try await EchoServer.start()
        let endpoint = Endpoint(host: "127.0.0.1", port: listener.localAddress?.port ?? 0)
        var settings = HTTPClient.Configuration()
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = self.concurrency
        let http = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: settings)
        let logger = Logger(label: "bench") { _ in SwiftLogNoOpLogHandler() }
        let resolver = StaticResolver(["service": [endpoint]])
        var configuration = ServiceClient.Configuration(name: "bench")
        configuration.maxConnectionsPerEndpoint = self.concurrency
        let client = ServiceClient(configuration: configuration, resolver: resolver, logger: logger)
        let borrowing = ServiceClient(
            configuration: configuration,
            resolver: resolver,
            httpClient: http,
            logger: logger
        )
        let url = "http://\(endpoint)/thing"
        let request = HTTPRequest(method: .get, scheme: nil, authority: nil, path: "/thing")
        let rows: [(String, @Sendable () async throws -> Int)] = [
            (
                "AsyncHTTPClient alone",
                {
                    let response = try await http.execute(HTTPClientRequest(url: url), deadline: .now() + .seconds(30))
                    return try await response.body.collect(upTo: 1_048_576).readableBytes
                }
            ),
            ("ServiceClient", { try await client.send(request, to: "service").body.count }),
            ("ServiceClient on the same connections", { try await borrowing.send(request, to: "service").body.count }),
        ]
        var rates = [[Double]](repeating: [], count: rows.count)
        for _ in 0..<self.rounds {
            for (index, row) in rows.enumerated() { rates[index].append(try await self.perSecond(row.1)) }
        }
        let medians = rates.map { $0.sorted()[$0.count / 2] }
        print("")
        print("GET at \(self.concurrency) at once                          calls/s     of bare")
        for (row, value) in zip(rows, medians) {
            let padded = row.0.padding(toLength: 44, withPad: " ", startingAt: 0)
            print("\(padded) \(String(format: "%9.0f   %8.2f", value, value / medians[0]))")
        }
        await client.shutdown()
        try await http.shutdown()
        try await listener.close()
    }

    private func perSecond(_ body: @escaping @Sendable () async throws -> Int) async throws -> Double {
        let each = self.requests / self.concurrency
        let start = ContinuousClock.now
        try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<self.concurrency {
                group.addTask {
                    for _ in 0..<each where try await body() != 2 { throw ExitCode.failure }
                }
            }
            try await group.waitForAll()
        }
        let elapsed = start.duration(to: .now)
        let seconds = Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18
        return Double(each * self.concurrency) / seconds
    }
}

/// Answers every request with two bytes, and does as little as possible for it.
private enum EchoServer {
    static func start() async throws -> any Channel {
        try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 256)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Handler()) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private static let answer = ByteBuffer(string: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        private var tail: [UInt8] = []

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            // Only the last bytes: a longer request is not the business of who answers it here.
            self.tail = (self.tail + self.unwrapInboundIn(data).readableBytesView.suffix(4)).suffix(4)
            // One request at a time on a connection, without a body: its end is the end of what has come.
            guard self.tail == Array("\r\n\r\n".utf8) else { return }
            context.writeAndFlush(self.wrapOutboundOut(Self.answer), promise: nil)
        }
    }
}
