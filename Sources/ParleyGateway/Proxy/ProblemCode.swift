internal import NIOCore

/// What went wrong, for programs: the `code` of an answer in problem details, and what to do about it.
enum ProblemCode: String, Sendable, Hashable, CaseIterable {
    case badPath = "bad_path"
    case malformedRequest = "malformed_request"
    case headerTooLarge = "header_too_large"
    case uriTooLong = "uri_too_long"
    case bodyTooLarge = "body_too_large"
    case methodNotAllowed = "method_not_allowed"
    case noRoute = "no_route"
    case clientNotAllowed = "client_not_allowed"
    case unauthorized
    case rateLimited = "rate_limited"
    case connectionLimited = "connection_limited"
    case noInstance = "no_instance"
    case unreachable = "upstream_unreachable"
    case broke = "upstream_broke"
    case garbage = "upstream_garbage"
    case misdirected = "upstream_misdirected"
    case timedOut = "upstream_timeout"
    case overloaded
    case shuttingDown = "shutting_down"
    case internalError = "internal"
    case idempotencyKeyMissing = "idempotency_key_missing"
    case idempotencyKeyMalformed = "idempotency_key_malformed"
    case idempotencyKeyReused = "idempotency_key_reused"
    case idempotencyKeyInUse = "idempotency_key_in_use"
    case idempotencyBodyTooLarge = "idempotency_body_too_large"

    /// - Parameter lastFailure: Of the last attempt, when no instance has answered.
    init?(status: UInt16, flags: ResponseFlags, lastFailure: UpstreamFailure.Kind?) {
        if flags.contains(.totalTimeout) {
            self = .timedOut
        } else if (502...504).contains(status), let lastFailure {
            switch lastFailure {
            case .connect, .tls: self = .unreachable
            case .connectTimeout, .sendTimeout, .readTimeout: self = .timedOut
            case .lost, .truncated, .refused: self = .broke
            case .garbage, .headTooLarge: self = .garbage
            case .misdirected: self = .misdirected
            case .overflow: self = .overloaded
            }
        } else if status == 405 {
            self = .methodNotAllowed
        } else if status == 414 {
            self = .uriTooLong
        } else if let entry = Self.byFlag.first(where: { flags.contains($0.flag) }) {
            self = entry.code
        } else {
            return nil
        }
    }

    private static let byFlag: [(flag: ResponseFlags, code: ProblemCode)] = [
        (.noRoute, .noRoute), (.addressDenied, .clientNotAllowed), (.unauthorized, .unauthorized),
        (.bodyTooLarge, .bodyTooLarge), (.rateLimited, .rateLimited), (.connectionLimited, .connectionLimited),
        (.noneHealthy, .noInstance), (.overflow, .overloaded), (.invalidHeader, .headerTooLarge),
        (.clientProtocolError, .malformedRequest), (.internalError, .internalError),
    ]

    /// For a stranger: what happened and what to do, and nothing about what is inside.
    func detail(service: String, maxBodySize: Int64) -> String {
        switch self {
        case .badPath:
            "The path must begin with / and hold neither \".\" or \"..\" segments nor control characters, encoded or "
                + "not."
        case .malformedRequest: "The request is not well-formed HTTP."
        case .headerTooLarge: "The header fields are larger than the gateway accepts, or not allowed."
        case .uriTooLong: "The target of the request is longer than the gateway accepts."
        case .bodyTooLarge: "The body is larger than the \(maxBodySize) bytes that the gateway accepts."
        case .methodNotAllowed: "This method is not possible here; the field Allow names those that are."
        case .noRoute: "No service is behind this path. Check its spelling and the gateway's routes."
        case .clientNotAllowed:
            "This path is not open to your address; ask the operators to add it to the route's allowed clients."
        case .unauthorized: "Credentials are missing, or not right for this path."
        case .rateLimited: "More requests than allowed came in this time. Try again later, and less often."
        case .connectionLimited: "As many requests at once as allowed are under way. Try again later."
        case .noInstance:
            "No instance of \(service) is available now. Is it running and registered? Try again later."
        case .unreachable:
            "\(service) accepts no connection; nothing was sent. Is it running? Try again later."
        case .broke:
            "The connection to \(service) broke before it answered; the request may have been carried out."
        case .garbage: "\(service) did not answer in HTTP; check the port that it is registered with."
        case .misdirected:
            "Another program answers at the address of \(service); its answer was thrown away. Try again later."
        case .timedOut: "\(service) did not answer in time; the request may have been carried out."
        case .overloaded: "\(service) has as many requests as it may have at once. Try again later."
        case .shuttingDown: "The gateway is shutting down. Try again."
        case .internalError: "The gateway could not go on with the request. Its operators find the reason by its id."
        case .idempotencyKeyMissing:
            "This request needs an Idempotency-Key: an id of what is to be done, the same for each try."
        case .idempotencyKeyMalformed: "An Idempotency-Key is 1 to 128 visible ASCII characters."
        case .idempotencyKeyReused:
            "Another request was made with this Idempotency-Key; nothing was done. Use a new key for new work."
        case .idempotencyBodyTooLarge:
            "With an Idempotency-Key, a body may have \(GatewayWorker.maxHeldBody) bytes: it is compared as a whole."
        case .idempotencyKeyInUse:
            "The first request with this Idempotency-Key is under way; come back for its answer."
        }
    }
}

extension Exchange {
    private func problemCode(_ status: UInt16) -> ProblemCode? {
        self.problem
            ?? ProblemCode(status: status, flags: self.flags, lastFailure: self.attempts.last?.failure?.kind)
    }

    func problemBody(_ status: UInt16) -> ByteBuffer {
        let target = self.rawTarget.readableBytesView
        let path = String(decoding: target.prefix { $0 != UInt8(ascii: "?") }, as: UTF8.self)
        var service: String?
        if case .service(let name) = (self.upstream ?? self.location?.upstream)?.model.instances { service = name }
        let code = self.problemCode(status)
        let words = "\(StatusLine.text(status))".dropFirst(4)
        let limit = self.location?.settings.maxBodySize ?? 0
        return ErrorBody.problem(
            status,
            code: code?.rawValue ?? (words.isEmpty ? "status_\(status)" : Self.snake(words)),
            detail: code?.detail(service: service ?? "The service", maxBodySize: limit) ?? String(words),
            requestID: self.recordedID,
            path: path,
            service: service
        )
    }

    /// What a program may do with the answer, where problems are told in detail.
    func appendProblemFields(to block: inout FieldBlock) {
        guard self.plan.model.errorFormat == .problem, self.status >= 400 else { return }
        switch self.problemCode(self.status) {
        case .methodNotAllowed:
            if case .health = self.location?.model.action {
                block.append("Allow", "GET, HEAD" as StaticString, .other)
            } else {
                block.append("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS" as StaticString, .other)
            }
        case .noInstance, .idempotencyKeyInUse: block.append("Retry-After", "1" as StaticString, .retryAfter)
        default: break
        }
    }

    /// `Not Found` becomes `not_found`.
    private static func snake(_ words: Substring) -> String {
        String(words.lowercased().map { $0.isLetter || $0.isNumber ? $0 : "_" })
    }
}
