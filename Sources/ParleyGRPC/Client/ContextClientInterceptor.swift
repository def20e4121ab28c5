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
        let mark = GRPCAttemptMark.current
        mark?.begin()
        var request = request
        if let work = RequestContext.current {
            RequestContextFields.grpc.write(work, now: self.time.now, to: &request.metadata)
        }
        guard let expected = mark?.identity else { return try await next(request, context) }
        request.metadata.replaceOrAddString(expected, forKey: GRPCAttemptMark.field)
        let response = try await next(request, context)
        let (metadata, isRefused) =
            switch response.accepted {
            case .success(let contents): (contents.metadata, false)
            case .failure(let error): (error.metadata, error.code == .unavailable)
            }
        // Servers of others say nothing, and are believed.
        if let named = metadata[stringValues: GRPCAttemptMark.field].first(where: { _ in true }), named != expected {
            throw GRPCAttemptFailure.foreign(named: String(named.prefix(128)), isRefused: isRefused)
        }
        return response
    }
}
