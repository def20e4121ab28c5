internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOSSL
public import ParleyCore
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A client of Consul's HTTP API, and of every server that speaks it, such as Parley's own registry.
///
/// ```swift
/// let client = try ConsulClient(ConsulConfiguration(url: "consul://127.0.0.1:8500"))
/// let answer = try await client.instances(of: "user-service", .init(isPassingOnly: true))
/// await client.shutdown()
/// ```
/// - Every request has a deadline and a limit on its answer (``ConsulConfiguration``); none is repeated.
/// - Registering, deregistering and reporting a check's status are harmless to repeat; a key that is written with
///   `ifIndex` is not, but says so by answering `false`.
/// - Errors are ``ConsulError``, or `CancellationError`.
public final class ConsulClient: Sendable {
    public let configuration: ConsulConfiguration
    let time: any TimeSource
    let random: any RandomSource
    private let client: HTTPClient
    private let isOpen = Mutex(true)
    /// Questions that wait at the agent may take hours together; nothing else may have to wait for them.
    private let waiting: Turns
    private let requests: Turns

    /// - Throws: ``ConsulError/Code/invalidConfiguration`` when a certificate or key cannot be read.
    public init(
        _ configuration: ConsulConfiguration = ConsulConfiguration(),
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) throws(ConsulError) {
        self.configuration = configuration
        self.time = time
        self.random = random
        self.waiting = Turns(configuration.maximumWaitingQuestions)
        self.requests = Turns(configuration.maximumRequests)
        var settings = HTTPClient.Configuration()
        settings.timeout = .init(connect: TimeAmount(configuration.connectTimeout))
        settings.redirectConfiguration = .disallow
        settings.decompression = .disabled
        settings.httpVersion = .http1Only
        // Trying again is decided by who asks.
        settings.connectionPool.retryConnectionEstablishment = false
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit =
            max(1, configuration.maximumWaitingQuestions) + max(1, configuration.maximumRequests)
        settings.connectionPool.idleTimeout = .seconds(30)
        if let tls = configuration.tls { settings.tlsConfiguration = try tls.settings() }
        if let name = configuration.tls?.serverName { settings.dnsOverride = [name: configuration.endpoint.host] }
        self.client = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: settings)
    }

    deinit {
        if self.close() { self.client.shutdown { _ in } }
    }

    /// Closes the connections; requests that are under way fail, later ones are refused with
    /// ``ConsulError/Code/closed``.
    public func shutdown() async {
        guard self.close() else { return }
        // It fails only when it has been shut down already.
        try? await self.client.shutdown()
    }

    private func close() -> Bool {
        self.isOpen.withLock { isOpen in
            defer { isOpen = false }
            return isOpen
        }
    }

    /// Whether there are more questions that want to wait than may.
    var isCrowded: Bool { self.waiting.isCrowded }

    /// What came back.
    struct Reply: Sendable {
        var index: UInt64?
        var hasLeader: Bool
        var lastContact: Duration
        var body: [UInt8]
    }

    // MARK: - Requests

    func get<Value: Decodable & Sendable>(_ path: ConsulPath, as type: Value.Type) async throws -> Value {
        let reply = try await self.send("GET", path)
        return try self.decode(reply, path)
    }

    func put(_ path: ConsulPath) async throws { _ = try await self.send("PUT", path) }

    func put(_ path: ConsulPath, _ body: some Encodable) async throws {
        let bytes: [UInt8]
        do {
            bytes = Array(try JSONEncoder().encode(body))
        } catch {
            throw ConsulError(.refused, "\(self.what("PUT", path)): what should be sent is not JSON", cause: error)
        }
        _ = try await self.send("PUT", path, body: bytes)
    }

    /// Writes what answers `true` or `false`.
    func decide(_ method: String, _ path: ConsulPath, body: [UInt8]? = nil) async throws -> Bool {
        let reply = try await self.send(method, path, body: body)
        return try self.decode(reply, path, method: method)
    }

    func decode<Value: Decodable>(_ reply: Reply, _ path: ConsulPath, method: String = "GET") throws -> Value {
        do {
            return try JSONDecoder().decode(Value.self, from: Data(reply.body))
        } catch {
            throw self.notConsul(self.what(method, path), reply.body, cause: error)
        }
    }

    /// - Parameter wait: How long the agent may take to answer on purpose.
    func send(
        _ method: String,
        _ path: ConsulPath,
        body: [UInt8]? = nil,
        wait: Duration = .zero
    ) async throws -> Reply {
        let what = self.what(method, path)
        let turns = wait > .zero ? self.waiting : self.requests
        let (status, reply) = try await turns.whenFree {
            guard self.isOpen.withLock({ $0 }) else {
                throw ConsulError(.closed, "\(what): the client has been shut down", retry: .notSent)
            }
            do {
                return try await self.exchange(method, path, body: body, timeout: self.patience(with: wait))
            } catch let error as CancellationError {
                throw error
            } catch {
                try Task.checkCancellation()
                throw ConsulError(transport: error, what: what, isRead: method == "GET", self.configuration)
            }
        }
        guard (200...299).contains(status) else {
            let text = String(decoding: reply.body.prefix(2_000), as: UTF8.self)
            throw ConsulError(status: status, text: text, what: what, isRead: method == "GET")
        }
        return reply
    }

    /// Consul answers up to a sixteenth later than it was told, so that its clients do not come back together.
    private func patience(with wait: Duration) -> Duration { wait + wait / 16 + self.configuration.requestTimeout }

    private func exchange(
        _ method: String,
        _ path: ConsulPath,
        body: [UInt8]?,
        timeout: Duration
    ) async throws -> (Int, Reply) {
        var request = HTTPClientRequest(url: self.baseAddress + path.text)
        request.method = HTTPMethod(rawValue: method)
        request.headers.add(name: "accept", value: "application/json")
        if let token = self.configuration.token { request.headers.add(name: "x-consul-token", value: token.text) }
        if let body { request.body = .bytes(body) }
        let (client, limit, outgoing) = (self.client, self.configuration.maximumAnswerBytes, request)
        return try await withThrowingTaskGroup(of: (Int, Reply)?.self) { tasks in
            tasks.addTask {
                let response = try await client.execute(outgoing, timeout: TimeAmount(timeout))
                let buffer = try await response.body.collect(upTo: limit)
                let headers = response.headers
                let reply = Reply(
                    index: headers.first(name: "X-Consul-Index").flatMap { UInt64($0) },
                    hasLeader: headers.first(name: "X-Consul-KnownLeader")?.lowercased() != "false",
                    lastContact: .milliseconds(
                        headers.first(name: "X-Consul-LastContact").flatMap { UInt32($0) } ?? 0
                    ),
                    body: Array(buffer.readableBytesView)
                )
                return (Int(response.status.code), reply)
            }
            // The library's timeout ends with the head of the answer.
            tasks.addTask { [time] in
                try await time.sleep(for: timeout)
                return nil
            }
            defer { tasks.cancelAll() }
            guard let first = try await tasks.next(), let answer = first else {
                throw HTTPClientError.deadlineExceeded
            }
            return answer
        }
    }

    /// A certificate is held against the name in the address; another name is connected to the same host.
    private var baseAddress: String {
        guard let name = self.configuration.tls?.serverName else { return self.configuration.address }
        return "https://\(name):\(self.configuration.endpoint.port)"
    }

    /// Without the query: true, and no help.
    func what(_ method: String, _ path: ConsulPath) -> String {
        "\(method) \(path.path) at \(self.configuration.address)"
    }

    func notConsul(_ what: String, _ bytes: [UInt8], cause: (any Error)? = nil) -> ConsulError {
        let start = String(decoding: bytes.prefix(60), as: UTF8.self).split(whereSeparator: \.isWhitespace)
        return ConsulError(
            .invalidAnswer,
            "\(what) is answered with something that is not Consul's ('\(start.joined(separator: " "))'): check host "
                + "and port (8500 by default), and what stands between",
            cause: cause
        )
    }
}
