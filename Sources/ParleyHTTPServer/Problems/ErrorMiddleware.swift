public import Hummingbird
internal import Logging
public import ParleyCore

/// Answers every error that comes out of the handlers and the middleware below it with a problem.
///
/// A ``ParleyRouter`` has it already, as its outermost middleware: Hummingbird's router turns `HTTPError`s into answers
/// of its own form when they reach it. Errors that nobody meant for the client (everything but ``ProblemError``,
/// ``ParleyCore/ProblemConvertible`` and Hummingbird's own) are answered without details and logged with them: 503 when
/// they say that nothing was done (``ParleyCore/RetrySafety/notSent``), else 500.
public struct ErrorMiddleware: RouterMiddleware {
    private let renderer: ProblemRenderer

    public init(service: ServiceName) {
        self.renderer = ProblemRenderer(service: service)
    }

    public func handle(
        _ request: Request,
        context: ParleyRequestContext,
        next: @concurrent (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        do {
            return try await next(request, context)
        } catch {
            return self.renderer.answer(to: error, request: request, context: context)
        }
    }
}

extension ProblemRenderer {
    func answer(to error: any Error, request: Request, context: ParleyRequestContext) -> Response {
        let problem = self.problem(
            for: error,
            method: request.method,
            path: request.uri.path,
            maxBodyBytes: context.maxUploadSize
        )
        if problem.status.code >= 500 {
            context.logger.log(
                level: error is any ProblemConvertible ? .debug : .error,
                "request failed",
                metadata: [
                    "http.method": "\(request.method)", "http.path": "\(request.uri.path)",
                    "http.status": "\(problem.status.code)", "error": "\(String(reflecting: error))",
                ]
            )
        }
        return Self.response(problem, requestID: context.request.requestID, path: request.uri.path)
    }
}
