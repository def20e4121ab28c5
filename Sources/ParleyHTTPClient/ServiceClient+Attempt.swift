internal import AsyncHTTPClient
internal import HTTPTypes
internal import NIOCore
internal import NIOHTTP1
internal import ParleyCore
internal import ParleyResilience

/// What stays the same over the tries of one call.
struct Sending: Sendable {
    let request: HTTPRequest
    let body: [UInt8]?
    let service: ServiceName
    let context: RequestContext
}

/// The transport below the policy: one request, one answer.
extension ServiceClient {
    private struct Answer: Sendable {
        var status: HTTPResponseStatus
        var headers: HTTPHeaders
        var body: [UInt8]
    }

    private struct BodyTooLarge: Error {}

    func attempt(_ attempt: Attempt, _ sending: Sending) async throws -> ServiceResponse {
        // An empty body is never asked for, so its mark would say for ever that nothing was begun.
        let mark = sending.body.flatMap { (1...WatchedBytes.maxCount).contains($0.count) ? BeginMark() : nil }
        let answer: Answer
        do {
            answer = try await self.exchange(attempt, sending, mark: mark)
        } catch {
            // Our own cancellation and a cancellation from outside look alike; only the latter cancels this task.
            if Task.isCancelled { throw CancellationError() }
            throw self.explain(error, attempt, sending, mark: mark)
        }
        // Before anything else is done with it: what somebody else says is nobody's business.
        try self.checkIdentity(of: answer, attempt, sending)
        return ServiceResponse(
            status: .init(code: Int(answer.status.code), reasonPhrase: answer.status.reasonPhrase),
            headerFields: Self.fields(answer.headers),
            body: answer.body,
            service: sending.service,
            endpoint: attempt.target.endpoint,
            attempts: attempt.number,
            requestID: sending.context.requestID
        )
    }

    /// What the end of a try means.
    func judge(_ result: Result<ServiceResponse, any Error>, attempt: Attempt) -> Judgement {
        let classifier = self.configuration.policy.classifier
        switch result {
        case .success(let response):
            let status = Int(response.status.code)
            let wait = response.headerFields[.retryAfter]
                .flatMap { RetryAfter.parse($0, wallTime: self.time.wallTime) }
            var verdict = classifier.verdict(httpStatus: status, retryAfter: wait)
            // Its answer to an impatient caller says nothing about the instance.
            if status == 504, !attempt.blamesTimeout { verdict.health = .unknown }
            // What was sent before under this key is still at work there; its answer will be this call's.
            if status == 409, response.problem?.code == ProblemDetails.keyInUse {
                verdict = Verdict(.retryableFailure, safety: .mayHaveRun, health: .well, retryAfter: wait)
            }
            return Judgement(verdict, note: "\(status)")
        case .failure(let error):
            guard let error = error as? ServiceClientError else {
                return Judgement(classifier.verdict(failure: .mayHaveRun, blamesInstance: false), note: "\(error)")
            }
            let blamesInstance: Bool
            switch error.code {
            case .wrongInstance:
                let verdict = Verdict(.retryableFailure, safety: error.retry, health: .foreign)
                return Judgement(verdict, note: "another instance answered")
            case .responseTooLarge, .shutDown:
                // It would be as large again.
                return Judgement(
                    Verdict(.permanentFailure, safety: error.retry, health: .unknown),
                    note: error.code.description
                )
            case .connectFailed, .timedOut, .connectionLost, .invalidResponse: blamesInstance = true
            case .deadlinePassed: blamesInstance = attempt.blamesTimeout
            default: blamesInstance = false
            }
            let verdict = classifier.verdict(failure: error.retry, blamesInstance: blamesInstance)
            return Judgement(verdict, note: error.code.description)
        }
    }

    private func checkIdentity(of answer: Answer, _ attempt: Attempt, _ sending: Sending) throws {
        guard let expected = attempt.target.identity else { return }
        let named = answer.headers.first(name: RequestContextFields.instance)
        if named == expected { return }
        // The instance knows its id and says it in every answer; who does not say it is somebody else. Except where it
        // fails: a server that is overrun or ends may answer before it knows what it says.
        let isFailing = answer.status.code >= 500
        if named == nil, isFailing, !self.configuration.policy.identity.isRequired { return }
        // 421 is refused before anything is done. Any other answer came from a server that did not look.
        let retry: RetrySafety = answer.status.code == 421 ? .notSent : .mayHaveRun
        let place = "\(sending.service) at \(attempt.target.endpoint)"
        let message =
            named.map {
                "\($0.prefix(128)) answered in place of \(expected), the instance of \(place). The registry's entry is "
                    + "out of date; the address has passed to another program."
            }
            ?? "What answers at \(place) does not say that it is \(expected). The registry's entry is out of date; the "
            + "address has passed to another program."
        throw ServiceClientError(
            .wrongInstance,
            message,
            service: sending.service,
            endpoint: attempt.target.endpoint,
            retry: retry,
            attempts: attempt.number
        )
    }

    private func exchange(_ attempt: Attempt, _ sending: Sending, mark: BeginMark?) async throws -> Answer {
        let now = self.time.now
        let request = self.makeRequest(attempt, sending, at: now, mark: mark)
        // The library's own deadline ends with the head, and costs no task; the rest has mostly come with it.
        let head = NIODeadline.now() + TimeAmount(attempt.limit.remaining(at: now))
        let response = try await self.connections.client.execute(request, deadline: head)
        let maxBytes = self.configuration.maxResponseBytes
        if let length = response.headers.first(name: "content-length").flatMap({ Int($0) }),
            length > maxBytes, request.method != .HEAD
        {
            throw BodyTooLarge()
        }
        let body = try await attempt.withinLimit(on: self.time) {
            var body: [UInt8] = []
            for try await chunk in response.body {
                guard body.count + chunk.readableBytes <= maxBytes else { throw BodyTooLarge() }
                body.append(contentsOf: chunk.readableBytesView)
            }
            return body
        }
        return Answer(status: response.status, headers: response.headers, body: body)
    }

    private func makeRequest(
        _ attempt: Attempt,
        _ sending: Sending,
        at now: ContinuousClock.Instant,
        mark: BeginMark?
    ) -> HTTPClientRequest {
        let target = URLTarget.escaped(sending.request.path ?? "/")
        var request = HTTPClientRequest(url: "http://\(attempt.target.endpoint)\(target)")
        request.method = HTTPMethod(rawValue: sending.request.method.rawValue)
        var headers = HTTPHeaders()
        for field in sending.request.headerFields { headers.add(name: field.name.rawName, value: field.value) }
        // What a caller has written itself gives way; most have written nothing.
        let mayRepeat = !headers.isEmpty
        func write(_ name: String, _ value: String) {
            // The library refuses what no header can hold; a context from elsewhere must not make a call fail.
            let value = HTTPField.isValidValue(value) ? value : HTTPField(name: .retryAfter, value: value).value
            if mayRepeat {
                headers.replaceOrAdd(name: name, value: value)
            } else {
                headers.add(name: name, value: value)
            }
        }
        var context = sending.context
        context.trace = context.trace?.child(random: self.random) ?? TraceParent(random: self.random)
        context.deadline = attempt.limit
        context.retryBudget = attempt.hopBudget
        RequestContextFields.http.write(context, now: now, write)
        if let identity = attempt.target.identity {
            write(RequestContextFields.instance, identity)
        } else if mayRepeat {
            headers.remove(name: RequestContextFields.instance)
        }
        if let authority = sending.request.authority, !authority.isEmpty { write("host", authority) }
        request.headers = headers
        if let body = sending.body {
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
        _ attempt: Attempt,
        _ sending: Sending,
        mark: BeginMark?
    ) -> ServiceClientError {
        let endpoint = attempt.target.endpoint
        let place = "\(sending.service) at \(endpoint)"
        let wasBegun = mark.map { $0.isSet }
        func make(_ code: ServiceClientError.Code, _ message: String, _ retry: RetrySafety) -> ServiceClientError {
            ServiceClientError(
                code,
                message,
                service: sending.service,
                endpoint: endpoint,
                retry: retry,
                attempts: attempt.number,
                cause: error
            )
        }
        if error is AttemptTimedOut || error as? HTTPClientError == .deadlineExceeded {
            let retry: RetrySafety = wasBegun == false ? .notSent : .mayHaveRun
            if attempt.limit == attempt.deadline {
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
                "No connection to \(place): \(error). Is it running there? `ss -ltnp | grep \(endpoint.port)`",
                failure.retry
            )
        case .busy:
            return make(
                .tooManyCalls,
                "All \(self.configuration.maxConnectionsPerEndpoint) connections to \(place) are in use "
                    + "(maxConnectionsPerEndpoint), and none became free in time.",
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
