public import HTTPTypes
public import Hummingbird
public import ParleyCore

/// Hummingbird's router with our answers: problems for every error, 405 with `Allow` for a known path and another
/// method, HEAD wherever there is GET, OPTIONS everywhere.
///
/// Routes, groups and middleware are added as with Hummingbird's own:
///
/// ```swift
/// let router = ParleyRouter(service: "user-service")
/// router.group("api/v1/users").get(":id") { request, context in … }
/// ```
///
/// It is filled in one place and then given to an ``HTTPService``; it is not for use from several tasks.
public final class ParleyRouter: RouterMethods, HTTPResponderBuilder {
    public typealias Context = ParleyRequestContext

    private struct Path {
        var path: RouterPath
        var methods: [HTTPRequest.Method]
    }

    /// The methods of RFC 9110 and RFC 5789; requests with any other are answered 501.
    static let methods: [HTTPRequest.Method] = [.get, .head, .post, .put, .patch, .delete, .options, .trace, .connect]

    private let router: Router<ParleyRequestContext>
    private var paths: [String: Path] = [:]

    public init(service: ServiceName) {
        self.router = Router(context: ParleyRequestContext.self, options: [.autoGenerateHeadEndpoints])
        // Above all other middleware and all handlers, so that it sees every error before the router does.
        self.router.add(middleware: ErrorMiddleware(service: service))
    }

    /// Adds a middleware; it applies to the routes that are added after it.
    @discardableResult
    public func add(middleware: any MiddlewareProtocol<Request, Response, ParleyRequestContext>) -> Self {
        self.router.add(middleware: middleware)
        return self
    }

    @discardableResult
    public func on<Responder: HTTPResponder>(
        _ path: RouterPath,
        method: HTTPRequest.Method,
        responder: Responder
    ) -> Self where Responder.Context == ParleyRequestContext {
        self.router.on(path, method: method, responder: responder)
        self.paths[path.description, default: Path(path: path, methods: [])].methods.append(method)
        return self
    }

    /// Called once, by ``HTTPService``.
    public func buildResponder() -> RouterResponder<ParleyRequestContext> {
        for path in self.paths.values { self.addAnswersForOtherMethods(path) }
        self.paths.removeAll()
        return self.router.buildResponder()
    }

    private func addAnswersForOtherMethods(_ path: Path) {
        var allowed = path.methods
        if allowed.contains(.get), !allowed.contains(.head) { allowed.append(.head) }
        if !allowed.contains(.options) { allowed.append(.options) }
        let allow = allowed.map(\.rawValue).sorted().joined(separator: ", ")
        if !path.methods.contains(.options) {
            self.router.on(path.path, method: .options) { _, _ in
                Response(status: .noContent, headers: [.allow: allow])
            }
        }
        for method in Self.methods where !allowed.contains(method) {
            self.router.on(path.path, method: method) { request, _ -> Response in
                throw ProblemError(
                    .methodNotAllowed,
                    code: "method_not_allowed",
                    detail: "\(request.method.rawValue) is not possible at \(request.uri.path); use \(allow).",
                    headers: [.allow: allow]
                )
            }
        }
    }
}
