public import AsyncHTTPClient
public import HTTPTypes
public import Logging
internal import NIOCore
internal import NIOHTTP1
public import ParleyCore
public import ParleyDiscovery
public import ServiceLifecycle

/// Calls services by name over HTTP.
///
/// For each try it asks the resolver, takes the instances in turn, and writes the ``ParleyCore/RequestContext`` of the
/// current task into the headers: request id, trace (a child of it), its own name as the caller, the time that is left,
/// the retry budget. A call without a context begins one.
///
/// **When it tries again.** Always when nothing was sent (no instance, connection refused, unknown host); when the
/// request may have been carried out, only if repeating it is harmless: GET, HEAD, OPTIONS, PUT, DELETE, or any method
/// with an `Idempotency-Key` header. 429 is tried again, 502, 503 and 504 if repeating is harmless; `Retry-After` is
/// obeyed. Never beyond the deadline, `maxAttempts`, or the context's retry budget. When tries run out on a status,
/// that answer is returned: a status is never an error here.
///
/// **Life.** A client that made its own connections closes them when ``run()`` ends, or with its last reference.
public final class ServiceClient: Service, Sendable {
    private let configuration: Configuration
    private let resolver: any ServiceResolver
    private let connections: HTTPConnections
    private let logger: Logger
    private let time: any TimeSource
    private let random: any RandomSource
    private let ids: UUIDv7Generator
    private let turns = RoundRobin()

    /// - Parameters:
    ///   - httpClient: connections to use; the owner shuts them down, and its timeouts and redirect rules apply in
    ///     place of the configuration's. Without one the client makes its own.
    public init(
        configuration: Configuration,
        resolver: any ServiceResolver,
        httpClient: HTTPClient? = nil,
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) {
        self.configuration = configuration
        self.resolver = resolver
        self.connections =
            httpClient.map { HTTPConnections(borrowing: $0) }
            ?? HTTPConnections(
                connectTimeout: configuration.connectTimeout,
                maxConnectionsPerEndpoint: configuration.maxConnectionsPerEndpoint
            )
        self.logger = logger
        self.time = time
        self.random = random
        self.ids = UUIDv7Generator(time: time, random: random)
    }

    /// Runs `body` with a client of its own and shuts it down afterwards.
    public static func withClient<Value>(
        configuration: Configuration,
        resolver: any ServiceResolver,
        logger: Logger,
        _ body: (ServiceClient) async throws -> Value
    ) async throws -> Value {
        let client = ServiceClient(configuration: configuration, resolver: resolver, logger: logger)
        do {
            let value = try await body(client)
            await client.shutdown()
            return value
        } catch {
            await client.shutdown()
            throw error
        }
    }

    /// Waits for the graceful shutdown (or cancellation), then closes the connections. Put it *before* the servers in a
    /// `ServiceGroup`: the group stops its services in reverse order, and draining handlers still make calls.
    public func run() async throws {
        try? await gracefulShutdown()
        await self.shutdown()
    }

    /// Closes the connections; calls under way fail, later ones end with ``ServiceClientError/Code/shutDown``.
    public func shutdown() async { await self.connections.shutdown() }

    /// Sends `request` to an instance of `service` and returns its complete answer, whatever the status.
    ///
    /// - Parameters:
    ///   - request: its `path` begins with `/`; scheme and authority come from the instance.
    ///   - deadline: until when the caller waits. The context's deadline counts too; the earlier one wins.
    /// - Throws: ``ServiceClientError``, or `CancellationError` when the task is cancelled.
    public func send(
        _ request: HTTPRequest,
        body: [UInt8]? = nil,
        to service: ServiceName,
        deadline: Deadline? = nil
    ) async throws -> ServiceResponse {
        var call = try self.makeCall(request, body: body, to: service, deadline: deadline)
        while true {
            call.rules.begin()
            let action: RetryRules.Action
            let result: Result<ServiceResponse, ServiceClientError>
            do throws(AttemptError) {
                let response = try await self.attempt(&call)
                let wait = RetryRules.retryAfter(
                    response.headerFields[named: "Retry-After"],
                    wallTime: self.time.wallTime
                )
                action = call.rules.answered(
                    Int(response.status.code),
                    retryAfter: wait,
                    at: self.time.now,
                    random: self.random
                )
                result = .success(response)
            } catch {
                guard case .failed(let failure) = error else { throw CancellationError() }
                action = call.rules.failed(failure.retry, at: self.time.now, random: self.random)
                result = .failure(failure)
            }
            guard case .retry(let delay) = action else { return try self.end(result, of: call) }
            self.logger.debug(
                "service call is tried again",
                metadata: [
                    "service.name": "\(service)", "request.id": "\(call.context.requestID)",
                    "attempt": "\(call.rules.attempts)", "delay.ms": "\(delay.inMilliseconds)",
                ]
            )
            try await self.time.sleep(for: delay)
        }
    }

    private func end(_ result: Result<ServiceResponse, ServiceClientError>, of call: Call) throws -> ServiceResponse {
        do {
            return try result.get()
        } catch {
            var failure = error
            failure.attempts = call.rules.attempts
            // One try that may have been carried out decides for all of them.
            if failure.retry == .notSent, call.rules.mayHaveRun { failure.retry = .mayHaveRun }
            throw failure
        }
    }
}

extension ServiceClient {
    /// What stays the same over the tries of one call, and what they have learned.
    private struct Call {
        let request: HTTPRequest
        let body: [UInt8]?
        let service: ServiceName
        let deadline: Deadline
        var context: RequestContext
        var rules: RetryRules
        /// Instances that have just failed: the next try goes elsewhere if it can.
        var avoided: Set<ServiceInstance.ID> = []
    }

    private enum AttemptError: Error {
        case failed(ServiceClientError)
        case cancelled
    }

    private func makeCall(
        _ request: HTTPRequest,
        body: [UInt8]?,
        to service: ServiceName,
        deadline: Deadline?
    ) throws -> Call {
        let path = request.path ?? ""
        guard path.hasPrefix("/"), path.utf8.allSatisfy({ (33...126).contains($0) && $0 != UInt8(ascii: "#") }) else {
            throw ServiceClientError(
                .invalidRequest,
                "The path \"\(path)\" for \(service) must begin with / and consist of visible ASCII characters; "
                    + "percent-encode the others.",
                service: service,
                retry: .permanent
            )
        }
        var context = RequestContext.current ?? RequestContext(requestID: self.ids.next().description)
        context.caller = self.configuration.name.description
        let own = deadline ?? Deadline(after: self.configuration.timeout, on: self.time)
        let limit = min(own, context.deadline ?? own)
        guard !limit.hasPassed(at: self.time.now) else {
            throw ServiceClientError(
                .deadlinePassed,
                "The deadline passed before \(service) was called; nothing was sent.",
                service: service,
                retry: .notSent
            )
        }
        let rules = RetryRules(
            request: request,
            maxAttempts: self.configuration.maxAttempts,
            budget: context.retryBudget,
            backoff: self.configuration.backoff,
            deadline: limit
        )
        return Call(
            request: request,
            body: body,
            service: service,
            deadline: limit,
            context: context,
            rules: rules
        )
    }

    private func attempt(_ call: inout Call) async throws(AttemptError) -> ServiceResponse {
        let instance = try await self.pick(for: call)
        let limit = min(call.deadline, Deadline(after: self.configuration.attemptTimeout, on: self.time))
        let mark = call.body.flatMap { $0.count <= WatchedBytes.maxCount ? BeginMark() : nil }
        let request = self.makeRequest(call, instance: instance, limit: limit, mark: mark)
        do {
            let answer = try await self.exchange(request, limit: limit)
            return ServiceResponse(
                status: .init(code: Int(answer.status.code), reasonPhrase: answer.status.reasonPhrase),
                headerFields: Self.fields(answer.headers),
                body: answer.body,
                service: call.service,
                endpoint: instance.endpoint,
                attempts: call.rules.attempts,
                requestID: call.context.requestID
            )
        } catch {
            // Our own cancellation and a cancellation from outside look alike; only the latter cancels this task.
            if Task.isCancelled { throw .cancelled }
            call.avoided.insert(instance.id)
            throw .failed(self.explain(error, call: call, instance: instance, limit: limit, mark: mark))
        }
    }

    private func pick(for call: Call) async throws(AttemptError) -> ServiceInstance {
        let instances: [ServiceInstance]
        do {
            instances = try await self.resolver.resolve(call.service)
        } catch {
            if Task.isCancelled { throw .cancelled }
            throw .failed(
                ServiceClientError(
                    .resolverFailed,
                    "The instances of \(call.service) could not be looked up: \(error)",
                    service: call.service,
                    retry: .notSent,
                    cause: error
                )
            )
        }
        guard let instance = self.turns.pick(from: instances, of: call.service, avoiding: call.avoided) else {
            throw .failed(
                ServiceClientError(
                    .noInstance,
                    "No instance of \(call.service) is registered now. Is it running, is its name spelled like this, "
                        + "and does it pass its health checks?",
                    service: call.service,
                    retry: .notSent
                )
            )
        }
        return instance
    }

    private struct Answer: Sendable {
        var status: HTTPResponseStatus
        var headers: HTTPHeaders
        var body: [UInt8]
    }

    private struct AttemptTimedOut: Error {}
    private struct BodyTooLarge: Error {}

    /// One request and its whole answer, within `limit`.
    private func exchange(_ request: HTTPClientRequest, limit: Deadline) async throws -> Answer {
        try await withThrowingTaskGroup(of: Answer.self) { group in
            group.addTask { [connections, maxBytes = self.configuration.maxResponseBytes] in
                // The library's own deadline stays out of it: it does not cover the body, and ours covers both.
                let response = try await connections.client.execute(request, deadline: .distantFuture)
                if let length = response.headers.first(name: "content-length").flatMap({ Int($0) }),
                    length > maxBytes, request.method != .HEAD
                {
                    throw BodyTooLarge()
                }
                var body: [UInt8] = []
                for try await chunk in response.body {
                    guard body.count + chunk.readableBytes <= maxBytes else { throw BodyTooLarge() }
                    body.append(contentsOf: chunk.readableBytesView)
                }
                return Answer(status: response.status, headers: response.headers, body: body)
            }
            group.addTask { [time] in
                try await time.sleep(until: limit.instant)
                throw AttemptTimedOut()
            }
            defer { group.cancelAll() }
            guard let answer = try await group.next() else { throw CancellationError() }
            return answer
        }
    }

    private func makeRequest(
        _ call: Call,
        instance: ServiceInstance,
        limit: Deadline,
        mark: BeginMark?
    ) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: "http://\(instance.endpoint)\(call.request.path ?? "/")")
        request.method = HTTPMethod(rawValue: call.request.method.rawValue)
        var fields = call.request.headerFields
        var context = call.context
        context.trace = context.trace?.child(random: self.random) ?? TraceParent(random: self.random)
        context.deadline = limit
        context.retryBudget = call.rules.budget
        RequestContextFields.http.write(context, now: self.time.now) { fields[named: $0] = $1 }
        for field in fields { request.headers.add(name: field.name.rawName, value: field.value) }
        if let authority = call.request.authority, !authority.isEmpty {
            request.headers.replaceOrAdd(name: "host", value: authority)
        }
        if let body = call.body {
            request.body =
                mark.map { .bytes(WatchedBytes(bytes: body, mark: $0), length: .known(Int64(body.count))) }
                ?? .bytes(ByteBuffer(bytes: body))
        }
        return request
    }

    private static func fields(_ headers: HTTPHeaders) -> HTTPFields {
        var fields = HTTPFields()
        for (name, value) in headers {
            if let name = HTTPField.Name(name) { fields.append(HTTPField(name: name, value: value)) }
        }
        return fields
    }

    private func explain(
        _ error: any Error,
        call: Call,
        instance: ServiceInstance,
        limit: Deadline,
        mark: BeginMark?
    ) -> ServiceClientError {
        let place = "\(call.service) at \(instance.endpoint)"
        let wasBegun = mark.map { $0.isSet }
        func make(_ code: ServiceClientError.Code, _ message: String, _ retry: RetrySafety) -> ServiceClientError {
            ServiceClientError(
                code,
                message,
                service: call.service,
                endpoint: instance.endpoint,
                retry: retry,
                attempts: call.rules.attempts,
                cause: error
            )
        }
        if error is AttemptTimedOut {
            let retry: RetrySafety = wasBegun == false ? .notSent : .mayHaveRun
            if limit == call.deadline {
                return make(.deadlinePassed, "\(place) did not answer before the deadline of the call.", retry)
            }
            return make(
                .timedOut,
                "\(place) did not answer within \(self.configuration.attemptTimeout.inMilliseconds) ms. Is it "
                    + "overloaded, or is attemptTimeout too short for this call?",
                retry
            )
        }
        if error is BodyTooLarge {
            return make(
                .responseTooLarge,
                "The answer of \(place) is larger than \(self.configuration.maxResponseBytes) bytes; ask for less, or "
                    + "raise maxResponseBytes.",
                .mayHaveRun
            )
        }
        let failure = TransportFailure(error, wasBegun: wasBegun)
        switch failure.kind {
        case .connect:
            return make(
                .connectFailed,
                "No connection to \(place): \(error). Is it running there? `ss -ltnp | grep \(instance.endpoint.port)`",
                failure.retry
            )
        case .timeout:
            return make(.timedOut, "\(place) did not answer in time: \(error)", failure.retry)
        case .lost:
            return make(.connectionLost, "The connection to \(place) broke: \(error)", failure.retry)
        case .garbage:
            return make(
                .invalidResponse,
                "\(place) did not answer in HTTP: \(error). Is it the right port?",
                failure.retry
            )
        case .invalidRequest:
            return make(.invalidRequest, "The request for \(place) cannot be sent: \(error)", failure.retry)
        case .shutDown:
            return make(.shutDown, "The client was shut down before \(place) was called.", failure.retry)
        }
    }
}
