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
        let (metadata, code) =
            switch response.accepted {
            case .success(let contents): (contents.metadata, RPCError.Code?.none)
            case .failure(let error): (error.metadata, error.code)
            }
        let named = metadata[stringValues: GRPCAttemptMark.field].first { _ in true }
        if named == expected { return response }
        // Lost connections and the end of our own patience look like statuses of a server; nobody said them. A server
        // that has no such method is one, and the instance would have said its name.
        if named == nil, code != nil, code != .unimplemented { return response }
        let isRefused =
            code == .unimplemented || metadata[stringValues: GRPCAttemptMark.refusal].contains { _ in true }
        throw GRPCAttemptFailure.foreign(named: named.map { String($0.prefix(128)) }, isRefused: isRefused)
    }
}
