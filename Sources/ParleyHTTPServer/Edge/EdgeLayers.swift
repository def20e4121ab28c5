internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import ParleyCore

/// One layer around the router. Layers are responders around a responder, not Hummingbird middleware, because the
/// deadline must run what is below it in a child task, and a middleware's `next` cannot leave its call.
protocol EdgeLayer: Sendable {
    func respond(
        to request: Request,
        context: ParleyRequestContext,
        next: any HTTPResponder<ParleyRequestContext>
    ) async throws -> Response
}

struct LayeredResponder: HTTPResponder {
    let layer: any EdgeLayer
    let next: any HTTPResponder<ParleyRequestContext>

    func respond(to request: Request, context: ParleyRequestContext) async throws -> Response {
        try await self.layer.respond(to: request, context: context, next: self.next)
    }

    /// - Parameter layers: the outermost first.
    static func stack(
        _ layers: [any EdgeLayer],
        around responder: any HTTPResponder<ParleyRequestContext>
    ) -> any HTTPResponder<ParleyRequestContext> {
        layers.reversed().reduce(responder) { LayeredResponder(layer: $1, next: $0) }
    }
}

/// One line per request, when its answer is known: request id and trace are in the logger's own metadata. Bytes are
/// those that the heads announce; `-` stands for a body without a length. A handler that streams its body writes it
/// later.
struct AccessLogLayer: EdgeLayer {
    let level: Logger.Level
    let time: any TimeSource

    func respond(
        to request: Request,
        context: ParleyRequestContext,
        next: any HTTPResponder<ParleyRequestContext>
    ) async throws -> Response {
        let start = self.time.now
        let response = try await next.respond(to: request, context: context)
        let end = self.time.now
        context.logger.log(
            level: self.level,
            "request",
            metadata: [
                "http.method": "\(request.method)", "http.path": "\(request.uri.path)",
                "http.status": "\(response.status.code)", "caller": "\(context.request.caller ?? "-")",
                "duration.us": "\(start.duration(to: end).inMicroseconds)",
                "request.bytes": "\(request.headers[.contentLength] ?? "-")",
                "response.bytes": "\(response.body.contentLength.map { "\($0)" } ?? "-")",
                "deadline.left.ms":
                    "\(context.request.deadline.map { "\($0.remaining(at: end).inMilliseconds)" } ?? "-")",
            ]
        )
        return response
    }
}

/// Whatever is thrown below becomes a problem answer.
struct ErrorLayer: EdgeLayer {
    let renderer: ProblemRenderer

    func respond(
        to request: Request,
        context: ParleyRequestContext,
        next: any HTTPResponder<ParleyRequestContext>
    ) async throws -> Response {
        do {
            return try await next.respond(to: request, context: context)
        } catch {
            return self.renderer.answer(to: error, request: request, context: context)
        }
    }
}

/// Refuses what no route can answer: unknown methods, and bodies above the limit. A body of unknown length is counted
/// while it is read.
struct RequestLimitsLayer: EdgeLayer {
    func respond(
        to request: Request,
        context: ParleyRequestContext,
        next: any HTTPResponder<ParleyRequestContext>
    ) async throws -> Response {
        guard ParleyRouter.methods.contains(request.method) else {
            throw ProblemError(
                .notImplemented,
                code: "unknown_method",
                detail: "\(request.method.rawValue) is not a method that this server knows."
            )
        }
        let limit = context.maxUploadSize
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw ProblemError.bodyTooLarge(limit: limit)
        }
        var request = request
        request.body = RequestBody(asyncSequence: BoundedBody(base: request.body, limit: limit))
        return try await next.respond(to: request, context: context)
    }
}

/// A body that ends with an error once it is longer than `limit` bytes.
struct BoundedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let base: RequestBody
    let limit: Int

    struct AsyncIterator: AsyncIteratorProtocol {
        var base: RequestBody.AsyncIterator
        let limit: Int
        var count = 0

        @concurrent
        mutating func next() async throws -> ByteBuffer? {
            guard let buffer = try await self.base.next() else { return nil }
            self.count += buffer.readableBytes
            guard self.count <= self.limit else { throw ProblemError.bodyTooLarge(limit: self.limit) }
            return buffer
        }
    }

    func makeAsyncIterator() -> AsyncIterator {
        AsyncIterator(base: self.base.makeAsyncIterator(), limit: self.limit)
    }
}

/// Work whose deadline has passed is not begun; work that reaches it is cancelled. Both are answered 504. Work that
/// goes on when the time for draining is over is cancelled too, and answered 503.
///
/// The answer comes when the handler has noticed the cancellation: a handler that ignores it delays its own 504.
struct DeadlineLayer: EdgeLayer {
    let time: any TimeSource
    let state: ListenerState

    func respond(
        to request: Request,
        context: ParleyRequestContext,
        next: any HTTPResponder<ParleyRequestContext>
    ) async throws -> Response {
        guard let deadline = context.request.deadline else {
            return try await self.state.whileServing { try await next.respond(to: request, context: context) }
        }
        guard !deadline.hasPassed(at: self.time.now) else { throw ProblemError.deadlinePassed }
        return try await withThrowingTaskGroup(of: Response?.self) { group in
            group.addTask { try await next.respond(to: request, context: context) }
            group.addTask { [time] in
                try await time.sleep(until: deadline.instant)
                return nil
            }
            group.addTask { [state] in
                await state.untilDrainIsOver()
                throw CancellationError()
            }
            defer { group.cancelAll() }
            guard let response = try await group.next() ?? nil else { throw ProblemError.deadlineReached }
            return response
        }
    }
}
