internal import GRPCCore
internal import ParleyCore

/// Turns every error of a handler into a gRPC status that tells a stranger nothing about our inside.
struct GRPCStatus {
    let service: ServiceName

    /// - Parameters:
    ///   - isLate: the caller's deadline has passed.
    func error(for error: any Error, isLate: Bool) -> RPCError {
        switch error {
        case let error as RPCError: error
        case let error as any RPCErrorConvertible: RPCError(error)
        case let error as any ProblemConvertible: Self.error(error.problem)
        case is CancellationError where isLate:
            RPCError(code: .deadlineExceeded, message: "The deadline came while \(self.service) was at work.")
        case is CancellationError:
            RPCError(code: .cancelled, message: "\(self.service) stopped this work; part of it may have been done.")
        case let error as any RetryClassifiedError where error.retry == .notSent:
            RPCError(
                code: .unavailable,
                message: "\(self.service) could not do it just now; nothing was done. Try again later."
            )
        default:
            RPCError(
                code: .internalError,
                message: "The call failed inside \(self.service). Its operators find the reason by the request id."
            )
        }
    }

    /// Whether an operator should read about it: what we answer ourselves explains itself.
    static func isUnexpected(_ error: any Error) -> Bool {
        switch error {
        case is RPCError, is any RPCErrorConvertible, is any ProblemConvertible, is CancellationError: false
        default: true
        }
    }

    private static func error(_ problem: ProblemDetails) -> RPCError {
        var metadata: Metadata = [:]
        if let code = problem.code { metadata.addString(code, forKey: "problem-code") }
        return RPCError(
            code: Self.code(problem.status ?? 500),
            message: problem.detail ?? problem.title ?? "",
            metadata: metadata
        )
    }

    /// The code whose meaning comes nearest; https://cloud.google.com/apis/design/errors has the same table backwards.
    static func code(_ status: Int) -> RPCError.Code {
        switch status {
        case 400, 411, 413, 414, 415, 422: .invalidArgument
        case 401: .unauthenticated
        case 403: .permissionDenied
        case 404, 410: .notFound
        case 405, 501: .unimplemented
        case 408, 504: .deadlineExceeded
        case 409: .aborted
        case 412, 428: .failedPrecondition
        case 429: .resourceExhausted
        case 499: .cancelled
        case 502, 503: .unavailable
        default: .internalError
        }
    }
}
