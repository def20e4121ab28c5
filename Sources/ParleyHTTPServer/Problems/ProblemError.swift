public import HTTPTypes
public import Hummingbird
internal import NIOCore
public import ParleyCore

/// An error that a handler throws to answer with ``ParleyCore/ProblemDetails``.
///
/// ```swift
/// throw ProblemError(.notFound, code: "order_not_found", detail: "There is no order \(id).")
/// ```
public struct ProblemError: ProblemConvertible, HTTPResponseError, CustomStringConvertible {
    public var status: HTTPResponse.Status
    public var problem: ProblemDetails
    /// Further header fields of the answer.
    public var headers: HTTPFields

    /// - Parameters:
    ///   - code: a short constant for programs, in snake case.
    ///   - detail: what happened and what the reader can do; a stranger reads it.
    public init(
        _ status: HTTPResponse.Status,
        code: String,
        detail: String,
        title: String? = nil,
        headers: HTTPFields = [:],
        extra: [String: String] = [:]
    ) {
        self.status = status
        self.headers = headers
        self.problem = ProblemDetails(
            title: title ?? status.reasonPhrase,
            status: Int(status.code),
            detail: detail,
            code: code,
            extra: extra
        )
    }

    public init(_ problem: ProblemDetails, headers: HTTPFields = [:]) {
        let code = problem.status.flatMap { (400...599).contains($0) ? $0 : nil } ?? 500
        self.status = HTTPResponse.Status(code: code)
        self.headers = headers
        self.problem = problem
        self.problem.status = code
        if self.problem.title == nil { self.problem.title = self.status.reasonPhrase }
    }

    public var description: String {
        "ProblemError(\(self.status.code) \(self.problem.code ?? "")): \(self.problem.detail ?? "")"
    }

    public func response(from request: Request, context: some Hummingbird.RequestContext) throws -> Response {
        ProblemRenderer.response(self, requestID: nil, path: nil)
    }
}

extension ProblemError {
    static func bodyTooLarge(limit: Int) -> ProblemError {
        ProblemError(
            .contentTooLarge,
            code: "body_too_large",
            detail: "The body is larger than the \(limit) bytes accepted here.",
            extra: ["maxBytes": "\(limit)"]
        )
    }

    static func misdirected(meant: String) -> ProblemError {
        ProblemError(
            .misdirectedRequest,
            code: "misdirected_request",
            detail: "The request is meant for another instance than the one at this address; nothing was done.",
            extra: ["meant": String(meant.prefix(128))]
        )
    }

    static let deadlinePassed = ProblemError(
        .gatewayTimeout,
        code: "deadline_passed",
        detail: "The caller's deadline passed before the work was begun; nothing was done."
    )

    static let deadlineReached = ProblemError(
        .gatewayTimeout,
        code: "deadline_reached",
        detail: "The deadline came while the work was under way. It was stopped, and part of it may have been done."
    )
}
