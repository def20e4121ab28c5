internal import GRPCCore
internal import ParleyCore

/// Writes the current ``ParleyCore/RequestContext`` into the metadata of each call.
struct ContextClientInterceptor: ClientInterceptor {
    let time: any TimeSource

    func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingClientRequest<Input>,
        context: ClientContext,
        next:
            @concurrent (
                _ request: StreamingClientRequest<Input>,
                _ context: ClientContext
            ) async throws -> StreamingClientResponse<Output>
    ) async throws -> StreamingClientResponse<Output> {
        // The library asks interceptors once there is a stream on a connection.
        GRPCAttemptMark.current?.begin()
        guard let work = RequestContext.current else { return try await next(request, context) }
        var request = request
        RequestContextFields.grpc.write(work, now: self.time.now, to: &request.metadata)
        return try await next(request, context)
    }
}
