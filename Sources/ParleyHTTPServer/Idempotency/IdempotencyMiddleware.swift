internal import Crypto
internal import HTTPTypes
public import Hummingbird
internal import Logging
internal import NIOCore
public import ParleyCore
internal import Synchronization

/// Makes a request that comes twice happen once: the half of the contract that a service keeps, the other being that a
/// caller sends the same `Idempotency-Key` with each try.
///
/// - The first request with a key runs; its answer is kept for `keepFor`.
/// - The same request again gets that answer, with `Idempotency-Replayed: true`, and nothing runs.
/// - While the first is running: 409, with `Retry-After`.
/// - Another request (method, path, query or body) with the same key: 422. The key is a mistake of the caller's.
/// - An answer of 5xx, 408, 425 or 429 is not kept, nor one of more than `maxAnswerBytes`: the next try runs.
///
/// Keys belong to their caller (`X-Service`). A request without the header passes, unless `isRequired`. GET, HEAD,
/// OPTIONS, PUT and DELETE pass in any case: they mean the same when they are repeated.
///
/// **What it cannot do.** Between the handler's own commit and the keeping of its answer the process may die; then the
/// next try runs again after the lease. A handler that must not act twice even then writes the key with its rows.
public struct IdempotencyMiddleware: RouterMiddleware {
    public typealias Context = ParleyRequestContext

    /// The header, as the draft standard has it.
    public static let header = "Idempotency-Key"

    /// The limits of a middleware.
    public struct Configuration: Sendable {
        /// Whether a POST or PATCH without the header is refused (400).
        public var isRequired = false
        /// How long answers are kept.
        public var keepFor: Duration = .seconds(86_400)
        /// How long a request may be under way beyond its deadline before another may begin in its place.
        public var grace: Duration = .seconds(10)
        /// The largest answer that is kept, in bytes. Answers are collected before they are sent, up to this size.
        public var maxAnswerBytes = 1_048_576

        public init() {}
    }

    private let configuration: Configuration
    private let store: any IdempotencyStore
    private let renderer: ProblemRenderer
    private let time: any TimeSource

    public init(
        service: ServiceName,
        store: any IdempotencyStore,
        configuration: Configuration = Configuration(),
        time: any TimeSource = SystemTimeSource()
    ) {
        self.configuration = configuration
        self.store = store
        self.renderer = ProblemRenderer(service: service)
        self.time = time
    }

    public func handle(
        _ request: Request,
        context: ParleyRequestContext,
        next: @concurrent (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        guard request.method == .post || request.method == .patch else { return try await next(request, context) }
        guard let value = request.headers[named: Self.header] else {
            if self.configuration.isRequired { throw ProblemError.keyMissing }
            return try await next(request, context)
        }
        guard ParleyCore.RequestContext.isAcceptableID(value) else { throw ProblemError.keyMalformed }
        // The body decides whether it is the same request, so it is read here; the limit is that of every request.
        let body = try await request.body.collect(upTo: context.maxUploadSize)
        var request = request
        request.body = RequestBody(buffer: body)
        let fingerprint = Self.fingerprint(request, body: body)
        let key = IdempotencyKey(caller: Self.principal(request, context), key: value)
        let now = self.time.wallTime
        let left = context.request.deadline?.remaining(at: self.time.now) ?? .seconds(60)
        let claim = try await self.store.begin(
            key,
            fingerprint: fingerprint,
            now: now,
            leaseUntil: now + left + self.configuration.grace
        )
        switch claim {
        case .begun(let token):
            return try await self.run(request, context, key: key, token: token, next: next)
        case .running(let known, let until):
            guard known == fingerprint else { throw ProblemError.keyReused }
            throw ProblemError.stillRunning(until - now)
        case .answered(let known, let answer):
            guard known == fingerprint else { throw ProblemError.keyReused }
            var headers = answer.headerFields
            headers[named: "Idempotency-Replayed"] = "true"
            let status = HTTPResponse.Status(code: answer.status)
            return Response(status: status, headers: headers, body: .init(byteBuffer: ByteBuffer(bytes: answer.body)))
        }
    }

    private func run(
        _ request: Request,
        _ context: ParleyRequestContext,
        key: IdempotencyKey,
        token: String,
        next: @concurrent (Request, ParleyRequestContext) async throws -> Response
    ) async throws -> Response {
        var response: Response
        do {
            response = try await next(request, context)
        } catch let error where !(error is CancellationError) && !Task.isCancelled {
            // An error is an answer like any other: "out of stock" is not asked twice either.
            response = self.renderer.answer(to: error, request: request, context: context)
        } catch {
            await self.release(key, token, context)
            throw error
        }
        guard Self.isKept(Int(response.status.code)) else {
            await self.release(key, token, context)
            return response
        }
        guard let length = response.body.contentLength, length <= self.configuration.maxAnswerBytes else {
            context.logger.warning(
                "answer is not kept for its idempotency key: it has no length, or a large one",
                metadata: ["http.path": "\(request.uri.path)"]
            )
            await self.release(key, token, context)
            return response
        }
        let collected = CollectedBody()
        do {
            try await response.body.write(CollectingWriter(collected: collected))
        } catch {
            await self.release(key, token, context)
            throw error
        }
        let bytes = collected.bytes
        response.body = .init(byteBuffer: ByteBuffer(bytes: bytes))
        let answer = StoredAnswer(
            status: Int(response.status.code),
            headerFields: response.headers,
            body: bytes
        )
        do {
            let until = self.time.wallTime + self.configuration.keepFor
            try await self.store.finish(key, token: token, answer: answer, until: until)
        } catch {
            // It has been done, so its caller is told; what is lost is that a second request would be recognised.
            context.logger.error(
                "answer could not be kept for its idempotency key",
                metadata: ["http.path": "\(request.uri.path)", "error": "\(error)"]
            )
        }
        return response
    }

    private func release(_ key: IdempotencyKey, _ token: String, _ context: ParleyRequestContext) async {
        do {
            try await self.store.release(key, token: token)
        } catch {
            // It is free at the end of its lease.
            context.logger.warning("idempotency key could not be released", metadata: ["error": "\(error)"])
        }
    }

    /// Who the caller is, as far as it can be told: behind a gateway all have the gateway's name, and what one of them
    /// may see another one may not.
    private static func principal(_ request: Request, _ context: ParleyRequestContext) -> String {
        let caller = context.request.caller ?? ""
        guard let credentials = request.headers[.authorization] else { return caller }
        return "\(caller) \(Self.hex(SHA256.hash(data: Array(credentials.utf8))))"
    }

    /// Refusals of the caller, and of this moment, are not about the request: another token, or another time, may have
    /// another answer.
    private static func isKept(_ status: Int) -> Bool {
        (200..<500).contains(status) && ![401, 403, 408, 425, 429].contains(status)
    }

    private static func fingerprint(_ request: Request, body: ByteBuffer) -> String {
        var hash = SHA256()
        hash.update(data: Array("\(request.method.rawValue) \(request.uri.string)\n".utf8))
        hash.update(data: Array(body.readableBytesView))
        return Self.hex(hash.finalize())
    }

    private static func hex(_ bytes: some Sequence<UInt8>) -> String {
        let digits = Array("0123456789abcdef")
        return String(bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }
}

private final class CollectedBody: Sendable {
    private let content = Mutex<[UInt8]>([])

    var bytes: [UInt8] { self.content.withLock { $0 } }

    func add(_ buffer: ByteBuffer) { self.content.withLock { $0 += buffer.readableBytesView } }
}

private struct CollectingWriter: ResponseBodyWriter {
    let collected: CollectedBody

    mutating func write(_ buffer: ByteBuffer) async throws { self.collected.add(buffer) }

    consuming func finish(_ trailingHeaders: HTTPFields?) async throws {}
}

extension ProblemError {
    fileprivate static let keyMissing = ProblemError(
        .badRequest,
        code: "idempotency_key_missing",
        detail: "This request needs an Idempotency-Key: an id of what is to be done, the same for each try."
    )

    fileprivate static let keyMalformed = ProblemError(
        .badRequest,
        code: "idempotency_key_malformed",
        detail: "An Idempotency-Key is 1 to 128 visible ASCII characters."
    )

    fileprivate static let keyReused = ProblemError(
        .unprocessableContent,
        code: "idempotency_key_reused",
        detail: "Another request was made with this Idempotency-Key; nothing was done. Use a new key for new work."
    )

    fileprivate static func stillRunning(_ left: Duration) -> ProblemError {
        ProblemError(
            .conflict,
            code: ProblemDetails.keyInUse,
            detail: "The first request with this Idempotency-Key is under way; come back for its answer.",
            headers: [.retryAfter: String(min(max(1, left.inMilliseconds / 1_000), 5))]
        )
    }
}
