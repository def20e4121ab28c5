internal import HTTPTypes
internal import ParleyCore
internal import ParleyHTTPServer

/// What the gateway itself answers, each with what to do about it.
enum GatewayProblem {
    static let badPath = ProblemError(
        .badRequest,
        code: "bad_path",
        detail:
            "The path must begin with / and hold neither \".\" or \"..\" segments nor control characters, encoded or "
            + "not."
    )

    static func methodNotAllowed(_ method: HTTPRequest.Method, allow: String) -> ProblemError {
        ProblemError(
            .methodNotAllowed,
            code: "method_not_allowed",
            detail: "\(method.rawValue) is not possible here; use \(allow).",
            headers: [.allow: allow]
        )
    }

    static let noRoute = ProblemError(
        .notFound,
        code: "no_route",
        detail: "No service is behind this path. Check its spelling and the gateway's routes."
    )

    static func forbidden(_ service: ServiceName) -> ProblemError {
        ProblemError(
            .forbidden,
            code: "client_not_allowed",
            detail:
                "This path is not open to your address; ask the operators to add it to the route's allowed clients.",
            extra: ["service": "\(service)"]
        )
    }

    static func bodyTooLarge(_ limit: Int, service: ServiceName) -> ProblemError {
        ProblemError(
            .contentTooLarge,
            code: "body_too_large",
            detail: "The body is larger than the \(limit) bytes that the gateway accepts.",
            extra: ["service": "\(service)", "maxBytes": "\(limit)"]
        )
    }

    static func noInstance(_ service: ServiceName) -> ProblemError {
        ProblemError(
            .serviceUnavailable,
            code: "no_instance",
            detail: "No instance of \(service) is available now. Is it running and registered? Try again later.",
            headers: [.retryAfter: "1"],
            extra: ["service": "\(service)"]
        )
    }

    static func unreachable(_ service: ServiceName) -> ProblemError {
        ProblemError(
            .badGateway,
            code: "upstream_unreachable",
            detail: "\(service) accepts no connection; nothing was sent. Is it running? Try again later.",
            extra: ["service": "\(service)"]
        )
    }

    static func broken(_ service: ServiceName) -> ProblemError {
        ProblemError(
            .badGateway,
            code: "upstream_broke",
            detail: "The connection to \(service) broke before it answered; the request may have been carried out.",
            extra: ["service": "\(service)"]
        )
    }

    static func garbage(_ service: ServiceName) -> ProblemError {
        ProblemError(
            .badGateway,
            code: "upstream_garbage",
            detail: "\(service) did not answer in HTTP; is it registered with the right port?",
            extra: ["service": "\(service)"]
        )
    }

    static func misdirected(_ service: ServiceName) -> ProblemError {
        ProblemError(
            .badGateway,
            code: "upstream_misdirected",
            detail:
                "Another program answers at the address of \(service); its answer was thrown away. Try again later.",
            extra: ["service": "\(service)"]
        )
    }

    static func timedOut(_ service: ServiceName) -> ProblemError {
        ProblemError(
            .gatewayTimeout,
            code: "upstream_timeout",
            detail: "\(service) did not answer in time; the request may have been carried out.",
            extra: ["service": "\(service)"]
        )
    }

    static let shuttingDown = ProblemError(
        .serviceUnavailable,
        code: "shutting_down",
        detail: "The gateway is shutting down. Try again.",
        headers: [.connection: "close"]
    )

    static let brokenBody = ProblemError(
        .badRequest,
        code: "malformed_body",
        detail: "The body of the request is not well-formed HTTP.",
        headers: [.connection: "close"]
    )
}
