internal import HTTPTypes
package import Hummingbird
internal import Logging
internal import NIOCore
internal import NIOHTTP1
package import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Turns every error into an `application/problem+json` answer that tells a stranger nothing about our inside.
package struct ProblemRenderer: Sendable {
    let service: ServiceName

    package init(service: ServiceName) {
        self.service = service
    }

    /// - Parameter maxBodyBytes: the limit that a body was held against.
    func problem(for error: any Error, method: HTTPRequest.Method, path: String, maxBodyBytes: Int) -> ProblemError {
        switch error {
        case let error as ProblemError:
            return error
        case let error as any ProblemConvertible:
            return ProblemError(error.problem)
        case is NIOTooManyBytesError:
            return .bodyTooLarge(limit: maxBodyBytes)
        case let error as HTTPError:
            return Self.problem(error, method: method, path: path)
        case let error as any HTTPResponseError where error.status.code < 500:
            return ProblemError(error.status, code: Self.code(error.status), detail: error.status.reasonPhrase)
        case is HTTPParserError:
            return ProblemError(
                .badRequest,
                code: "malformed_request",
                detail: "The request is not well-formed HTTP.",
                headers: [.connection: "close"]
            )
        case is CancellationError:
            return ProblemError(
                .serviceUnavailable,
                code: "shutting_down",
                detail: "\(self.service) is shutting down and stopped this work; part of it may have been done.",
                headers: [.connection: "close"]
            )
        case let error as any RetryClassifiedError where error.retry == .notSent:
            // A full disk, a busy database, a queue at its limit: nothing was done, and later it may go well.
            return ProblemError(
                .serviceUnavailable,
                code: "unavailable",
                detail: "\(self.service) could not do it just now; nothing was done. Try again later.",
                headers: [.retryAfter: "1"]
            )
        default:
            return ProblemError(
                .internalServerError,
                code: "internal",
                detail: "The request failed inside \(self.service). Its operators find the reason by the request id."
            )
        }
    }

    private static func problem(_ error: HTTPError, method: HTTPRequest.Method, path: String) -> ProblemError {
        let detail: String
        if let body = error.body {
            detail = body
        } else if error.status == .notFound {
            detail = "There is nothing at \(path)."
        } else {
            detail = error.status.reasonPhrase
        }
        return ProblemError(error.status, code: Self.code(error.status), detail: detail, headers: error.headers)
    }

    /// `Not Found` becomes `not_found`.
    private static func code(_ status: HTTPResponse.Status) -> String {
        let code = status.reasonPhrase.lowercased().map { $0.isLetter || $0.isNumber ? $0 : "_" }
        return code.isEmpty ? "status_\(status.code)" : String(code)
    }

    package static func response(_ error: ProblemError, requestID: String?, path: String?) -> Response {
        var problem = error.problem
        problem.requestID = problem.requestID ?? requestID
        problem.instance = problem.instance ?? path
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Texts and one number: there is nothing in it that cannot be encoded.
        let body = (try? encoder.encode(problem)) ?? Data()
        var headers = error.headers
        headers[.contentType] = ProblemDetails.mediaType
        return Response(status: error.status, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: body)))
    }
}
