internal import AsyncHTTPClient
internal import HTTPTypes
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOHTTP1
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPClient
internal import ParleyHTTPServer

/// One request on its way to a service: chooses instances until one takes it.
struct UpstreamExchange: Sendable {
    struct BodyTooLarge: Error {}
    struct BrokenBody: Error {}

    let head: HTTPRequest
    /// The request target in origin form, as the client wrote it.
    let target: String
    let service: ServiceName
    let client: String?
    let context: RequestContext
    /// `nil` for a request without body.
    let body: BodyPipe?

    let configuration: GatewayConfiguration
    let resolver: any ServiceResolver
    let connections: HTTPConnections
    let turns: RoundRobin
    let logger: Logger
    let time: any TimeSource

    /// The head of the service's answer with its body to be read, or what the gateway answers instead.
    func run() async -> Result<HTTPClientResponse, ProblemError> {
        var tried: Set<ServiceInstance.ID> = []
        var last: TransportFailure?
        var isForeign = false
        for _ in 0..<max(1, self.configuration.maxAttempts) {
            guard let instance = await self.pick(avoiding: tried) else {
                return .failure(last.map(self.problem) ?? GatewayProblem.noInstance(self.service))
            }
            // Nobody new is left, and who has been asked was somebody else.
            if tried.contains(instance.id), isForeign, last == nil {
                return .failure(GatewayProblem.misdirected(self.service))
            }
            // Nobody new is left. A lost connection may have been an old one that the instance had just closed, so the
            // same instance is worth another try; one that refuses connections is not.
            if tried.contains(instance.id), let last, last.kind != .lost { return .failure(self.problem(last)) }
            tried.insert(instance.id)
            do {
                let answer = try await self.connections.client.execute(
                    self.request(to: instance),
                    deadline: self.deadline
                )
                guard self.isForeign(answer, to: instance) else { return .success(answer) }
                self.logger.warning(
                    "another instance answered at its address",
                    metadata: [
                        "service.name": "\(self.service)", "instance.id": "\(instance.id)",
                        "endpoint": "\(instance.endpoint)",
                    ]
                )
                // 421 is refused before anything is done; but a body that has been read cannot be sent again.
                guard answer.status.code == 421, body.map({ !$0.isBegun }) ?? true else {
                    return .failure(GatewayProblem.misdirected(self.service))
                }
                last = nil
                isForeign = true
            } catch {
                if let problem = self.ownProblem(error) { return .failure(problem) }
                let failure = TransportFailure(error)
                self.logger.debug(
                    "upstream failed",
                    metadata: [
                        "service.name": "\(self.service)", "endpoint": "\(instance.endpoint)", "error": "\(error)",
                    ]
                )
                guard self.mayTryAgain(failure) else { return .failure(self.problem(failure)) }
                last = failure
            }
        }
        let otherwise =
            isForeign ? GatewayProblem.misdirected(self.service) : GatewayProblem.noInstance(self.service)
        return .failure(last.map(self.problem) ?? otherwise)
    }

    /// Whether an answer names another instance than the one that was asked.
    private func isForeign(_ answer: HTTPClientResponse, to instance: ServiceInstance) -> Bool {
        guard instance.knowsItsID, let named = answer.headers.first(name: RequestContextFields.instance) else {
            return false
        }
        return named != instance.id
    }

    private func pick(avoiding tried: Set<ServiceInstance.ID>) async -> ServiceInstance? {
        do {
            let instances = try await self.resolver.resolve(self.service)
            return self.turns.pick(from: instances, of: self.service, avoiding: tried)
        } catch {
            self.logger.warning(
                "service could not be resolved",
                metadata: ["service.name": "\(self.service)", "error": "\(error)"]
            )
            return nil
        }
    }

    private var deadline: NIODeadline {
        guard let deadline = self.context.deadline else { return .distantFuture }
        return .now() + TimeAmount(deadline.remaining(at: self.time.now))
    }

    private func request(to instance: ServiceInstance) -> HTTPClientRequest {
        var request = HTTPClientRequest(url: "http://\(instance.endpoint)\(URLTarget.escaped(self.target))")
        request.method = HTTPMethod(rawValue: self.head.method.rawValue)
        request.headers = ForwardedHeaders.request(
            self.head,
            client: self.client,
            context: self.context,
            now: self.time.now
        )
        if instance.knowsItsID { request.headers.add(name: RequestContextFields.instance, value: instance.id) }
        if let body {
            let length = self.head.headerFields[.contentLength].flatMap { Int64($0) }
            request.body = .stream(body, length: length.map { .known($0) } ?? .unknown)
        }
        return request
    }

    /// A body that is being read is gone, so only what was certainly not sent goes to another instance; and requests
    /// that change nothing, as nginx does, because a service that stops loses the requests in its connections.
    private func mayTryAgain(_ failure: TransportFailure) -> Bool {
        if let body, body.isBegun { return false }
        if failure.retry == .notSent { return true }
        let isSafe = [.get, .head, .options].contains(self.head.method)
        return isSafe && self.body == nil && failure.kind == .lost
    }

    /// What went wrong on the client's side.
    private func ownProblem(_ error: any Error) -> ProblemError? {
        switch error {
        case is BodyTooLarge:
            GatewayProblem.bodyTooLarge(self.configuration.maxBodyBytes, service: self.service)
        case is BrokenBody:
            GatewayProblem.brokenBody
        case is CancellationError:
            GatewayProblem.shuttingDown
        default:
            nil
        }
    }

    private func problem(_ failure: TransportFailure) -> ProblemError {
        switch failure.kind {
        case .connect, .busy: GatewayProblem.unreachable(self.service)
        case .timeout: GatewayProblem.timedOut(self.service)
        case .garbage: GatewayProblem.garbage(self.service)
        case .lost, .invalidRequest: GatewayProblem.broken(self.service)
        case .shutDown: GatewayProblem.shuttingDown
        }
    }
}
