internal import GRPCCore
internal import Logging
internal import ParleyCore
internal import ParleyDiscovery

/// What stands around every handler: the context is read and made current, a call past its deadline is not begun, one
/// whose deadline comes or whose caller goes away is cancelled, errors become statuses, and each call is logged once.
struct ContextServerInterceptor: ServerInterceptor {
    let service: ServiceName
    let identity: InstanceIdentity
    /// How long a call without a deadline may take to answer; streamed answers have no such limit.
    let requestTimeout: Duration
    let accessLogLevel: Logger.Level
    let logger: Logger
    let drain: Drain
    let time: any TimeSource
    let ids: UUIDv7Generator

    func intercept<Input: Sendable, Output: Sendable>(
        request: StreamingServerRequest<Input>,
        context: ServerContext,
        next:
            @Sendable @concurrent (
                _ request: StreamingServerRequest<Input>,
                _ context: ServerContext
            ) async throws -> StreamingServerResponse<Output>
    ) async throws -> StreamingServerResponse<Output> {
        let begin = self.time.now
        let work = RequestContextFields.grpc.read(request.metadata, now: begin, orElse: self.ids.next().description)
        let call = Call(interceptor: self, context: context, work: work, begin: begin)
        do {
            let meant = request.metadata[stringValues: GRPCAttemptMark.field].first { _ in true }
            guard self.identity.accepts(meant) else {
                throw RPCError(
                    code: .unavailable,
                    message: "This is another instance than \(meant ?? ""); nothing was done.",
                    metadata: [GRPCAttemptMark.refusal: "1"]
                )
            }
            if let deadline = work.deadline, deadline.hasPassed(at: begin) {
                throw RPCError(
                    code: .deadlineExceeded,
                    message: "The deadline passed before \(self.service) began; nothing was done."
                )
            }
            let limit = work.deadline ?? Deadline(begin.advanced(by: self.requestTimeout))
            // It has ended when `bounded` returns, which the compiler cannot see.
            var response = try await withoutActuallyEscaping(next) { next in
                try await work.withCurrent {
                    try await call.bounded(by: limit) { try await next(request, context) }
                }
            }
            guard case .success(var contents) = response.accepted else {
                if case .failure(let error) = response.accepted { call.ended(error) }
                return response
            }
            contents.metadata.replaceOrAddString(work.requestID, forKey: RequestContextFields.grpc.requestID)
            self.identity.id.map { contents.metadata.replaceOrAddString($0, forKey: GRPCAttemptMark.field) }
            // A streamed answer is written after this has returned.
            let producer = contents.producer
            contents.producer = { writer in
                do {
                    let trailers = try await work.withCurrent {
                        try await call.bounded(by: work.deadline) { try await producer(writer) }
                    }
                    call.ended(nil)
                    return trailers
                } catch {
                    throw call.ended(error)
                }
            }
            response.accepted = .success(contents)
            return response
        } catch {
            throw call.ended(error)
        }
    }

    /// One call on its way through.
    private struct Call: Sendable {
        let interceptor: ContextServerInterceptor
        let context: ServerContext
        let work: RequestContext
        let begin: ContinuousClock.Instant

        private struct Stopped: Error {}

        /// Runs `body` until it ends, the deadline comes or the caller goes away.
        ///
        /// The library says the latter by a handle alone; our handlers know only the cancellation of their task.
        func bounded<Value: Sendable>(
            by deadline: Deadline?,
            _ body: @escaping @Sendable () async throws -> Value
        ) async throws -> Value {
            let time = self.interceptor.time
            return try await withThrowingTaskGroup(of: Value.self) { group in
                group.addTask { try await body() }
                group.addTask { [handle = self.context.cancellation, drain = self.interceptor.drain] in
                    try await handle.cancelled
                    // It fires at the beginning of a graceful shutdown, too; then there is time to finish.
                    if let end = drain.end { try await time.sleep(until: end.instant) }
                    throw Stopped()
                }
                if let deadline {
                    group.addTask {
                        try await time.sleep(until: deadline.instant)
                        throw Stopped()
                    }
                }
                defer { group.cancelAll() }
                do {
                    guard let value = try await group.next() else { throw CancellationError() }
                    return value
                } catch is Stopped {
                    throw CancellationError()
                }
            }
        }

        /// - Returns: What the caller is told.
        @discardableResult
        func ended(_ error: (any Error)?) -> RPCError {
            let now = self.interceptor.time.now
            let isLate =
                self.work.deadline?.hasPassed(at: now)
                ?? (self.begin.duration(to: now) >= self.interceptor.requestTimeout)
            var status = GRPCStatus(service: self.interceptor.service)
                .error(for: error ?? CancellationError(), isLate: isLate)
            var metadata: Logger.Metadata = [
                "rpc.method": "\(self.context.descriptor.fullyQualifiedMethod)",
                "rpc.status": "\(error == nil ? "ok" : "\(status.code)")",
                "request.id": "\(self.work.requestID)",
                "duration.ms": "\(self.begin.duration(to: now).inMilliseconds)",
            ]
            if let caller = self.work.caller { metadata["caller"] = "\(caller)" }
            if let trace = self.work.trace { metadata["trace.id"] = "\(trace.traceID)" }
            if let error, GRPCStatus.isUnexpected(error) {
                metadata["error"] = "\(error)"
                self.interceptor.logger.error("call failed", metadata: metadata)
            } else {
                self.interceptor.logger.log(level: self.interceptor.accessLogLevel, "call", metadata: metadata)
            }
            if let id = self.interceptor.identity.id {
                status.metadata.replaceOrAddString(id, forKey: GRPCAttemptMark.field)
            }
            status.metadata.replaceOrAddString(self.work.requestID, forKey: RequestContextFields.grpc.requestID)
            return status
        }
    }
}
