import HTTPTestSupport
import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import ParleyCore
import ParleyDiscovery
import ParleyTestKit
import ProcessTestSupport
import Synchronization
import Testing

@testable import ParleyRegistry

/// Checks against real little servers.
@Suite(.timeLimit(.minutes(3))) struct CheckTests {
    private func quick(_ configuration: inout RegistryConfiguration) {
        configuration.minimumCheckInterval = .milliseconds(50)
    }

    private func check(_ running: Running, _ definition: String) async throws {
        try await running.put(
            "/v1/agent/service/register",
            #"{"Name": "s", "Check": {"CheckID": "c", "Interval": "50ms", \#(definition)}}"#
        )
    }

    private func output(_ running: Running) async throws -> String {
        try await running.get("/v1/agent/checks")["c"]?["Output"]?.string ?? ""
    }

    /// Waits for a result of the check itself: until then there is no output.
    private func expect(
        _ running: Running,
        _ status: String,
        _ output: (String) -> Bool,
        at location: SourceLocation = #_sourceLocation
    ) async throws {
        let isSo = try await isEventually {
            let check = try await running.get("/v1/agent/checks")["c"]
            return check?["Status"]?.string == status && output(check?["Output"]?.string ?? "")
        }
        let found = try await running.get("/v1/agent/checks")["c"]
        #expect(isSo, "\(String(describing: found))", sourceLocation: location)
    }

    @Test(arguments: [
        ("200 OK", "passing"), ("204 No Content", "passing"), ("429 Too Many Requests", "warning"),
        ("503 Service Unavailable", "critical"), ("404 Not Found", "critical"),
    ])
    func httpSaysItByStatus(_ status: String, _ word: String) async throws {
        try await RawServer.with(
            .answerAndClose("HTTP/1.1 \(status)\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        ) { target, server in
            try await withRegistry(self.quick) { running in
                try await self.check(running, #""HTTP": "http://\#(target)/h", "Header": {"X-Probe": ["1", "2"]}"#)
                try await self.expect(running, word) { $0.hasPrefix("HTTP GET http://\(target)/h: \(status) Output: ") }
                let head = try #require(server.requests.first)
                for line in [
                    "GET /h HTTP/1.1", "User-Agent: Consul Health Check", "Accept: text/plain, text/*, */*",
                    "X-Probe: 1", "X-Probe: 2", "Connection: close",
                ] {
                    #expect(head.lowercased().contains(line.lowercased()), "\(head)")
                }
            }
        }
    }

    @Test func httpKeepsNoMoreOutputThanItMay() async throws {
        let body = String(repeating: "x", count: 100_000)
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: \(body.utf8.count)\r\nconnection: close\r\n\r\n" + body
        try await RawServer.with(.answerAndClose(answer)) { target, _ in
            try await withRegistry(self.quick) { running in
                try await self.check(running, #""HTTP": "http://\#(target)/""#)
                try await self.expect(running, "passing") { $0.contains("xxx") }
                #expect(try await self.output(running).utf8.count < CheckPlan.defaultOutputMaxSize + 100)
            }
        }
    }

    @Test func redirectsAreFollowedUnlessTheyAreNotToBe() async throws {
        try await RawServer.with(.answerAndClose("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")) {
            target,
            _ in
            let redirect =
                "HTTP/1.1 302 Found\r\nlocation: http://\(target)/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            try await RawServer.with(.answerAndClose(redirect)) { first, _ in
                try await withRegistry(self.quick) { running in
                    try await self.check(running, #""HTTP": "http://\#(first)/""#)
                    try await self.expect(running, "passing") { $0.contains("200 OK") }
                    try await self.check(running, #""HTTP": "http://\#(first)/", "DisableRedirects": true"#)
                    try await self.expect(running, "critical") { $0.contains("302 Found") }
                }
            }
        }
    }

    @Test func aServerThatNeverAnswersIsCritical() async throws {
        try await RawServer.with(.hang) { target, _ in
            try await withRegistry(self.quick) { running in
                try await self.check(running, #""HTTP": "http://\#(target)/", "Timeout": "100ms", "Status": "passing""#)
                try await self.expect(running, "critical") {
                    $0.contains("deadlineExceeded") || $0.contains("imeout") || $0.contains("timed out")
                }
            }
        }
    }

    @Test func tcpConnects() async throws {
        try await RawServer.with(.hang) { target, _ in
            try await withRegistry(self.quick) { running in
                try await self.check(running, #""TCP": "\#(target)""#)
                try await self.expect(running, "passing") { $0 == "TCP connect \(target): Success" }
                let nobody = try await unusedEndpoint()
                try await self.check(running, #""TCP": "\#(nobody)""#)
                try await self.expect(running, "critical") { $0.hasPrefix("dial tcp \(nobody): ") }
            }
        }
    }

    @Test func udpPassesUnlessItIsRefused() async throws {
        let server = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(
            host: "127.0.0.1",
            port: 0
        ).get()
        let port = try #require(server.localAddress?.port)
        try await withRegistry(self.quick) { running in
            try await self.check(running, #""UDP": "127.0.0.1:\#(port)", "Timeout": "200ms""#)
            try await self.expect(running, "passing") { $0 == "UDP connect 127.0.0.1:\(port): Success" }
            try await server.close()
            try await self.expect(running, "critical") { $0.hasPrefix("read udp 127.0.0.1:\(port): ") }
        }
    }

    @Test func grpcAsksTheHealthService() async throws {
        try await HealthServer.with { target, server in
            try await withRegistry(self.quick) { running in
                try await self.check(running, #""GRPC": "\#(target)/shop""#)
                try await self.expect(running, "passing") { $0 == "gRPC check \(target)/shop: success" }
                #expect(server.asked == ["shop"])
                server.status = 2
                try await self.expect(running, "critical") { $0 == "gRPC check \(target)/shop: status NOT_SERVING" }
                server.grpcStatus = "5"
                try await self.expect(running, "critical") { $0.contains("grpc-status 5") }
            }
        }
    }

    @Test func http2AnswersPings() async throws {
        try await HealthServer.with { target, _ in
            try await withRegistry(self.quick) { running in
                try await self.check(running, #""H2PING": "\#(target)", "H2PingUseTLS": false"#)
                try await self.expect(running, "passing") { $0 == "HTTP2 ping \(target): success" }
            }
        }
    }

    /// A peer that is no HTTP/2, or nothing at all.
    @Test func garbageIsCritical() async throws {
        for behaviour in [RawServer.Behaviour.closeAfterAccept, .hang, .answerAndClose("garbage\r\n\r\n")] {
            try await RawServer.with(behaviour) { target, _ in
                try await withRegistry(self.quick) { running in
                    try await self.check(running, #""GRPC": "\#(target)", "Timeout": "200ms", "Status": "passing""#)
                    try await self.expect(running, "critical") { $0.hasPrefix("gRPC check \(target): ") }
                    try await self.check(running, #""HTTP": "http://\#(target)/", "Timeout": "200ms""#)
                    try await self.expect(running, "critical") { $0.contains("http://\(target)/") }
                }
            }
        }
        try await withRegistry(self.quick) { running in
            for target in ["nonsense", "no.such.host.invalid:80", ":"] {
                try await self.check(running, #""TCP": "\#(target)", "Status": "passing""#)
                try await self.expect(running, "critical") { $0.contains("dial tcp") }
                try await self.check(running, #""GRPC": "\#(target)""#)
                try await self.expect(running, "critical") { $0.contains("gRPC check \(target): ") }
                try await self.check(running, #""HTTP": "\#(target)""#)
                try await self.expect(running, "critical") { $0.contains(target) && $0.hasPrefix("GET") }
            }
        }
    }

    /// The end of the registry does not wait for those who do not answer.
    @Test func checksUnderWayEndWithTheRegistry() async throws {
        let silent = try await DatagramBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(silent.localAddress?.port)
        let time = SystemTimeSource()
        let start = time.now
        try await RawServer.with(.hang) { target, server in
            try await withRegistry({
                self.quick(&$0)
                $0.maximumCheckTimeout = .seconds(600)
            }) { running in
                let kinds = [
                    #""GRPC": "\#(target)""#, #""HTTP": "http://\#(target)""#, #""UDP": "127.0.0.1:\#(port)""#,
                ]
                for (number, kind) in kinds.enumerated() {
                    let check = #"{"Interval": "50ms", "Timeout": "10m", \#(kind)}"#
                    try await running.put("/v1/agent/service/register", #"{"Name": "s\#(number)", "Check": \#(check)}"#)
                }
                try await server.wait { $0.connections >= 2 }
            }
        }
        #expect(time.now - start < .seconds(60))
        try await silent.close()
    }

    /// What hangs takes its own time only: the check of another host is made, and signs of life expire.
    @Test func checksThatHangDelayNoOthers() async throws {
        try await RawServer.with(.hang) { hole, server in
            try await RawServer.with(.hang) { well, _ in
                try await withRegistry({
                    self.quick(&$0)
                    $0.limits.maximumRunningChecks = 3
                    $0.limits.maximumRunningChecksPerHost = 2
                    $0.maximumCheckTimeout = .seconds(600)
                }) { running in
                    for number in 0..<5 {
                        let check = #"{"HTTP": "http://\#(hole)/", "Interval": "50ms", "Timeout": "10m"}"#
                        try await running.put(
                            "/v1/agent/service/register",
                            #"{"Name": "h\#(number)", "Check": \#(check)}"#
                        )
                    }
                    try await server.wait { $0.connections >= 2 }
                    let sign = #"{"CheckID": "t", "TTL": "100ms", "Status": "passing"}"#
                    try await running.put("/v1/agent/service/register", #"{"Name": "sign", "Check": \#(sign)}"#)
                    try await self.check(running, #""TCP": "localhost:\#(well.port)""#)
                    try await self.expect(running, "passing") { $0.contains("Success") }
                    #expect(try await isEventually { try await running.status("t") == "critical" })
                    #expect(server.connections == 2)
                }
            }
        }
    }

    @Test func aTimeoutIsNoLongerThanItMayBe() async throws {
        try await RawServer.with(.hang) { target, _ in
            try await withRegistry({
                self.quick(&$0)
                $0.maximumCheckTimeout = .milliseconds(100)
            }) { running in
                let check = #""GRPC": "\#(target)", "Timeout": "10m", "Status": "passing""#
                try await self.check(running, check)
                try await self.expect(running, "critical") { $0.contains("timed out after 0.1 seconds") }
            }
        }
    }

    /// An instance of this process registers once: it must still be there when it serves again.
    @Test func anInstanceThatIsCriticalForLongComesBack() async throws {
        let clock = ManualClock()
        let (bad, good) = (
            "HTTP/1.1 500 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        // Not while a probe is under way: the clock would take its time away.
        func advance(_ running: Running) {
            guard running.registry.engine.state.withLock({ $0.schedule.runningCount }) == 0 else { return }
            clock.advance(by: .seconds(1))
        }
        try await RawServer.with(.script([bad, bad, bad, good])) { target, server in
            try await withRegistry({ $0.reapInterval = .seconds(7) }, time: clock) { running in
                let name: ServiceName = "web"
                let instance = ServiceInstance(id: "w1", service: name, endpoint: target)
                try await running.registry.registrar(healthPath: "/up").register(instance)
                #expect(try await running.registry.resolver.resolve(name).map(\.id) == ["w1"])
                #expect(
                    try await isEventually {
                        advance(running)
                        return try await running.registry.resolver.resolve(name).isEmpty
                    }
                )
                #expect(server.requests.allSatisfy { $0.hasPrefix("GET /up ") })
                // Long enough for whoever reaps.
                for _ in 0..<3 {
                    clock.advance(by: .seconds(3_600))
                    running.registry.engine.reap(minimum: .seconds(60))
                }
                #expect(try await running.get("/v1/agent/services")["w1"] != nil)
                #expect(
                    try await isEventually {
                        advance(running)
                        return try await running.registry.resolver.resolve(name).map(\.id) == ["w1"]
                    }
                )
                try await running.registry.registrar(healthPath: "/up").deregister("w1")
                #expect(try await running.get("/v1/agent/services")["w1"] == nil)
            }
        }
    }

    @Test func laterResultsNeedTheirNumber() async throws {
        let (bad, good) = (
            "HTTP/1.1 500 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            "HTTP/1.1 200 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )
        try await RawServer.with(.script([good, bad, bad, good, bad, bad, bad])) { target, server in
            try await withRegistry(self.quick) { running in
                try await self.check(running, #""HTTP": "http://\#(target)/", "FailuresBeforeCritical": 3"#)
                try await self.expect(running, "critical") { $0.contains(": 500") }
                #expect(server.requests.count >= 7)
            }
        }
    }

    // MARK: Signs of life

    @Test func aSignOfLifeThatDoesNotComeIsCritical() async throws {
        let clock = ManualClock()
        try await withRegistry(time: clock) { running in
            try await running.put(
                "/v1/agent/service/register",
                #"{"Name": "s", "Check": {"CheckID": "c", "TTL": "10s"}}"#
            )
            try await running.put("/v1/agent/check/pass/c?note=fine")
            clock.advance(by: .seconds(9))
            try await running.put("/v1/agent/check/pass/c?note=fine")
            clock.advance(by: .seconds(9))
            #expect(try await running.status("c") == "passing")
            clock.advance(by: .seconds(2))
            try await self.expect(running, "critical") {
                $0 == "TTL expired (last output before timeout follows): fine"
            }
            // A registration does not bring it back, a sign of life does; then it can expire again.
            try await running.put(
                "/v1/agent/service/register",
                #"{"Name": "s", "Check": {"CheckID": "c", "TTL": "10s", "Status": "passing"}}"#
            )
            #expect(try await running.status("c") == "critical")
            try await running.put("/v1/agent/check/warn/c")
            #expect(try await running.status("c") == "warning")
            clock.advance(by: .seconds(11))
            try await self.expect(running, "critical") { $0 == "TTL expired" }
        }
    }

    @Test func longNotesAreCut() async throws {
        try await withRegistry { running in
            try await running.put(
                "/v1/agent/service/register",
                #"{"Name": "s", "Check": {"CheckID": "c", "TTL": "10s", "OutputMaxSize": 10}}"#
            )
            try await running.put("/v1/agent/check/update/c", #"{"Status": "passing", "Output": "0123456789abc"}"#)
            #expect(try await self.output(running) == "0123456789 ... (captured 10 of 13 bytes)")
        }
    }

    @Test func aServiceThatStaysCriticalIsDeregistered() async throws {
        let clock = ManualClock()
        try await withRegistry(time: clock) { running in
            let register = "/v1/agent/service/register"
            try await running.put(
                register,
                #"{"Name": "gone", "Check": {"TTL": "1s", "DeregisterCriticalServiceAfter": "1s"}}"#
            )
            try await running.put(register, #"{"Name": "kept", "Check": {"TTL": "1s"}}"#)
            // Asked for a second, and it is a minute at least.
            // Who reaps sleeps again when it has looked; the check has expired and waits for nothing.
            for step in [31, 28] {
                await clock.waitForSleepers(1)
                clock.advance(by: .seconds(step))
                await clock.waitForSleepers(1)
                #expect(try await running.get("/v1/agent/services")["gone"] != nil)
            }
            #expect(
                try await isEventually {
                    clock.advance(by: .seconds(31))
                    return try await running.get("/v1/agent/services")["gone"] == nil
                }
            )
            let left = try await running.get("/v1/agent/checks")
            #expect(left["service:gone"] == nil && left["service:kept"] != nil)
        }
    }
}

/// A server of gRPC's health service, and of pings, as small as it can be.
private final class HealthServer: Sendable {
    private struct State {
        var status: UInt8 = 1
        var grpcStatus = "0"
        var asked: Set<String> = []
    }

    private let state = Locked(State())

    var status: UInt8 {
        get { self.state.with { $0.status } }
        set { self.state.with { $0.status = newValue } }
    }
    var grpcStatus: String {
        get { self.state.with { $0.grpcStatus } }
        set { self.state.with { $0.grpcStatus = newValue } }
    }
    var asked: Set<String> { self.state.with { $0.asked } }

    static func with(_ body: (String, HealthServer) async throws -> Void) async throws {
        let server = HealthServer()
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        NIOHTTP2Handler(mode: .server, eventLoop: channel.eventLoop) { stream in
                            stream.eventLoop.makeCompletedFuture {
                                try stream.pipeline.syncOperations.addHandler(Stream(server))
                            }
                        }
                    )
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let result: Result<Void, any Error>
        do {
            result = .success(try await body("127.0.0.1:\(channel.localAddress?.port ?? 0)", server))
        } catch {
            result = .failure(error)
        }
        try await channel.close()
        try result.get()
    }

    private final class Stream: ChannelInboundHandler {
        typealias InboundIn = HTTP2Frame.FramePayload
        typealias OutboundOut = HTTP2Frame.FramePayload

        private let server: HealthServer
        private var received: [UInt8] = []

        init(_ server: HealthServer) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .data(let content) = self.unwrapInboundIn(data), case .byteBuffer(let buffer) = content.data
            else { return }
            self.received += buffer.readableBytesView
            guard content.endStream else { return }
            let name = String(decoding: self.received.dropFirst(7), as: UTF8.self)
            self.server.state.with { _ = $0.asked.insert(name) }
            let headers: HPACKHeaders = [":status": "200", "content-type": "application/grpc"]
            context.write(self.wrapOutboundOut(.headers(.init(headers: headers))), promise: nil)
            let message = ByteBuffer(bytes: [0, 0, 0, 0, 2, 8, self.server.status])
            context.write(self.wrapOutboundOut(.data(.init(data: .byteBuffer(message)))), promise: nil)
            let trailers: HPACKHeaders = ["grpc-status": self.server.grpcStatus]
            context.writeAndFlush(
                self.wrapOutboundOut(.headers(.init(headers: trailers, endStream: true))),
                promise: nil
            )
        }
    }
}
