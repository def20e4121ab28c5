internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
public import ParleyCore
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// A client for RabbitMQ's management API: what `rabbitmqctl` and `rabbitmqadmin` do, over HTTP.
///
/// ```swift
/// let management = try RabbitMQManagement(url: "http://guest:guest@localhost:15672")
/// try await management.put(RabbitMQTopology.VirtualHost("shop"))
/// let queues = try await management.queues(in: "shop")
/// await management.shutdown()
/// ```
/// - Creating what is there already, the same, succeeds; so does deleting what is not there.
/// - Every request has a deadline and a limit on its answer (``RabbitMQManagementConfiguration``); none is repeated.
/// - Numbers of messages are RabbitMQ's statistics, which lag by up to five seconds.
public final class RabbitMQManagement: Sendable {
    public let configuration: RabbitMQManagementConfiguration
    private let client: HTTPClient
    private let time: any TimeSource
    private let isOpen = Mutex(true)

    public init(_ configuration: RabbitMQManagementConfiguration, time: any TimeSource = SystemTimeSource()) {
        self.configuration = configuration
        self.time = time
        var settings = HTTPClient.Configuration()
        settings.timeout = .init(connect: TimeAmount(configuration.connectTimeout))
        settings.redirectConfiguration = .disallow
        settings.decompression = .disabled
        settings.httpVersion = .http1Only
        settings.connectionPool.retryConnectionEstablishment = false
        settings.connectionPool.concurrentHTTP1ConnectionsPerHostSoftLimit = 4
        // Shorter than the broker's, so that no request meets a connection that is being closed at the other end.
        settings.connectionPool.idleTimeout = .seconds(30)
        self.client = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: settings)
    }

    /// - Parameter url: As ``RabbitMQManagementConfiguration/init(url:)`` reads it.
    public convenience init(url: String) throws(RabbitMQManagementError) {
        self.init(try RabbitMQManagementConfiguration(url: url))
    }

    deinit {
        if self.close() { self.client.shutdown { _ in } }
    }

    /// Closes the connections; requests that are under way fail.
    public func shutdown() async {
        guard self.close() else { return }
        try? await self.client.shutdown()
    }

    private func close() -> Bool {
        self.isOpen.withLock { isOpen in
            defer { isOpen = false }
            return isOpen
        }
    }

    // MARK: - Requests

    /// Reads `path` as `Answer`.
    func get<Answer: Decodable & Sendable>(
        _ path: ManagementPath,
        as type: Answer.Type = Answer.self
    ) async throws -> Answer {
        let answer = try await self.send("GET", path, body: nil)
        return try self.decode(answer, "GET", path)
    }

    /// Writes; what comes back is of no interest.
    func put(_ path: ManagementPath, _ body: some Encodable) async throws {
        _ = try await self.send("PUT", path, body: try Self.encode(body))
    }

    func post(_ path: ManagementPath, _ body: some Encodable) async throws {
        _ = try await self.send("POST", path, body: try Self.encode(body))
    }

    func post<Answer: Decodable & Sendable>(
        _ path: ManagementPath,
        _ body: some Encodable,
        as type: Answer.Type
    ) async throws -> Answer {
        try self.decode(try await self.send("POST", path, body: try Self.encode(body)), "POST", path)
    }

    /// Deletes; not being there is as good.
    func delete(_ path: ManagementPath) async throws {
        do {
            _ = try await self.send("DELETE", path, body: nil)
        } catch let error as RabbitMQManagementError where error.code == .notFound {}
    }

    /// All pages of a listing.
    func list<Item: Decodable & Sendable>(
        _ path: ManagementPath,
        columns: String? = nil,
        of type: Item.Type = Item.self
    ) async throws -> [Item] {
        var items: [Item] = []
        let size = min(500, max(1, self.configuration.pageSize))
        for page in 1... {
            var path = path
            path.query = "page=\(page)&page_size=\(size)" + (columns.map { "&columns=\($0)" } ?? "")
            let answer: ManagementPage<Item>
            do {
                answer = try await self.get(path)
            } catch let error as RabbitMQManagementError
                where page > 1 && error.reason?.hasPrefix("Page out of range") == true
            {
                break  // the list has become shorter meanwhile
            }
            items += answer.items
            if items.count > self.configuration.maximumItems {
                throw RabbitMQManagementError(
                    .answerTooLarge,
                    "\(self.what("GET", path)) lists more than \(self.configuration.maximumItems) things: "
                        + "ask for one virtual host, or raise maximumItems"
                )
            }
            if page >= answer.pageCount || answer.items.isEmpty { break }
        }
        return items
    }

    // MARK: - One exchange of request and answer

    private func send(_ method: String, _ path: ManagementPath, body: [UInt8]?) async throws -> [UInt8] {
        let what = self.what(method, path)
        guard self.isOpen.withLock({ $0 }) else {
            throw RabbitMQManagementError(.closed, "\(what): the client has been shut down", retry: .notSent)
        }
        let (status, bytes): (Int, [UInt8])
        do {
            (status, bytes) = try await self.exchange(method, path, body: body)
        } catch let error as CancellationError {
            throw error
        } catch {
            try Task.checkCancellation()
            throw self.failure(error, what, isRead: method == "GET")
        }
        guard !(200...299).contains(status) else { return bytes }
        guard let refusal = try? JSONDecoder().decode(ManagementRefusal.self, from: Data(bytes)) else {
            // The API answers every refusal in JSON.
            throw self.notManagement(what, status, bytes)
        }
        throw RabbitMQManagementError(
            status: status,
            reason: refusal.text,
            user: self.configuration.user,
            what: what
        )
    }

    private func exchange(
        _ method: String,
        _ path: ManagementPath,
        body: [UInt8]?
    ) async throws -> (Int, [UInt8]) {
        var request = HTTPClientRequest(url: self.configuration.address + path.text)
        request.method = HTTPMethod(rawValue: method)
        request.setBasicAuth(username: self.configuration.user, password: self.configuration.password.text)
        request.headers.add(name: "accept", value: "application/json")
        if let body {
            request.headers.add(name: "content-type", value: "application/json")
            request.body = .bytes(body)
        }
        let (client, limit, timeout) = (
            self.client, self.configuration.maximumAnswerBytes, self.configuration.requestTimeout
        )
        let outgoing = request
        return try await withThrowingTaskGroup(of: (Int, [UInt8])?.self) { tasks in
            tasks.addTask {
                let response = try await client.execute(outgoing, timeout: TimeAmount(timeout))
                let buffer = try await response.body.collect(upTo: limit)
                return (Int(response.status.code), Array(buffer.readableBytesView))
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

    private func decode<Answer: Decodable>(
        _ bytes: [UInt8],
        _ method: String,
        _ path: ManagementPath
    ) throws -> Answer {
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(bytes))
        } catch {
            throw self.notManagement(self.what(method, path), 200, bytes)
        }
    }

    private static func encode(_ value: some Encodable) throws -> [UInt8] {
        do {
            return Array(try JSONEncoder().encode(value))
        } catch {
            // A number that JSON has no word for.
            throw RabbitMQManagementError(
                .refused,
                "a value cannot be written as JSON: use finite numbers",
                retry: .permanent
            )
        }
    }

    private func what(_ method: String, _ path: ManagementPath) -> String {
        var path = path
        path.query = nil  // columns and pages: true, and no help
        return "\(method) \(path.text) at \(self.configuration.address)"
    }

    private func notManagement(_ what: String, _ status: Int, _ bytes: [UInt8]) -> RabbitMQManagementError {
        let start = String(decoding: bytes.prefix(60), as: UTF8.self).split(whereSeparator: \.isWhitespace)
        return RabbitMQManagementError(
            .notManagement,
            "\(what) is answered \(status) with something that is not the management API's ('"
                + start.joined(separator: " ") + "'): check host and port (15672 by default), and that the plugin "
                + "rabbitmq_management is enabled",
            retry: status >= 500 ? .mayHaveRun : .permanent,
            status: status
        )
    }
}

// MARK: - What goes wrong on the way

extension RabbitMQManagement {
    /// - Parameter isRead: Reading twice does no harm, so nothing is uncertain about it.
    private func failure(_ error: any Error, _ what: String, isRead: Bool) -> RabbitMQManagementError {
        let begun: RetrySafety = isRead ? .notSent : .mayHaveRun
        func connecting(_ why: String, _ cause: (any Error)? = nil) -> RabbitMQManagementError {
            RabbitMQManagementError(
                .cannotConnect,
                "\(what): \(why); is the broker running, its plugin rabbitmq_management enabled "
                    + "(rabbitmq-plugins enable rabbitmq_management), and the port right?",
                retry: .notSent,
                cause: cause
            )
        }
        switch error {
        case let error as RabbitMQManagementError: return error
        case let error as NIOConnectionError:
            let hasAddress = !error.connectionErrors.isEmpty
            let isRefused = error.connectionErrors.allSatisfy { ($0.error as? IOError)?.errnoCode == ECONNREFUSED }
            if !hasAddress { return connecting("the name '\(error.host)' has no address") }
            return isRefused ? connecting("nobody listens there") : connecting("no connection", error)
        case is NIOTooManyBytesError:
            return RabbitMQManagementError(
                .answerTooLarge,
                "\(what): the answer is longer than \(self.configuration.maximumAnswerBytes) bytes; ask for one "
                    + "virtual host, or raise maximumAnswerBytes",
                retry: .permanent
            )
        case let error as HTTPClientError:
            switch error {
            case .connectTimeout, .getConnectionFromPoolTimeout, .tlsHandshakeTimeout:
                return connecting("no connection in \(self.configuration.connectTimeout)")
            case .readTimeout, .writeTimeout, .deadlineExceeded:
                return RabbitMQManagementError(
                    .timedOut,
                    "\(what): no answer in \(self.configuration.requestTimeout); "
                        + (isRead ? "try again" : "it may have been done: look, then try again"),
                    retry: begun
                )
            case .alreadyShutdown:
                return RabbitMQManagementError(
                    .closed,
                    "\(what): the client has been shut down",
                    retry: .notSent,
                    cause: error
                )
            case .invalidURL, .emptyHost, .emptyScheme:
                return RabbitMQManagementError(.invalidAddress, "\(what): the address is invalid", cause: error)
            default: break
            }
        case ChannelError.connectTimeout: return connecting("no connection in time")
        case let error as IOError where error.errnoCode == ECONNREFUSED: return connecting("nobody listens there")
        default: break
        }
        let name = String(describing: type(of: error))
        if name.contains("SSL") || name.contains("TLS") { return connecting("TLS failed", error) }
        if error is HTTPParserError {
            return RabbitMQManagementError(
                .notManagement,
                "\(what): what answers there does not speak HTTP; the management API's port is 15672 by default",
                cause: error
            )
        }
        return RabbitMQManagementError(
            .connectionLost,
            "\(what): the connection broke before the answer; "
                + (isRead ? "try again" : "it may have been done: look, then try again"),
            retry: begun,
            cause: error
        )
    }
}

/// A refusal's body; `reason` is a text or, from some validations, something else.
private struct ManagementRefusal: Decodable {
    var text: String

    private enum CodingKeys: String, CodingKey { case error, reason }

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        guard container.contains(.error) || container.contains(.reason) else {
            throw DecodingError.dataCorrupted(.init(codingPath: [], debugDescription: "no refusal"))
        }
        let error = try? container.decode(String.self, forKey: .error)
        let reason = try? container.decode(RabbitMQValue.self, forKey: .reason)
        if case .string(let text) = reason { self.text = text } else { self.text = reason?.description ?? error ?? "" }
    }
}

private struct ManagementPage<Item: Decodable & Sendable>: Decodable, Sendable {
    var items: [Item]
    var pageCount: Int

    private enum CodingKeys: String, CodingKey {
        case items
        case pageCount = "page_count"
    }
}

/// A path below `/api`, whose segments are names and so are escaped: the virtual host `/` is `%2F`.
struct ManagementPath: Sendable {
    private var path = "/api"
    var query: String?

    init(_ segments: String...) {
        for segment in segments { self.path += "/" + Self.escaped(segment) }
    }

    var text: String { self.path + (self.query.map { "?" + $0 } ?? "") }

    static func escaped(_ segment: String) -> String {
        // The two that a URL's reader would take for directions.
        if segment == "." { return "%2E" }
        if segment == ".." { return "%2E%2E" }
        var text = ""
        for byte in segment.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"),
                UInt8(ascii: "~"):
                text.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                text += "%" + (digits.utf8.count == 1 ? "0" : "") + digits
            }
        }
        return text
    }
}
