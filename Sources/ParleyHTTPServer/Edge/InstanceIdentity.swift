internal import HTTPTypes
internal import Hummingbird
internal import ParleyCore
internal import ParleyDiscovery
internal import Synchronization

/// Under which id others know this instance, once it does so itself.
final class InstanceIdentity: Sendable {
    private let known: Mutex<ServiceInstance.ID?>

    init(_ id: ServiceInstance.ID?) {
        self.known = Mutex(id)
    }

    var id: ServiceInstance.ID? { self.known.withLock { $0 } }

    func become(_ id: ServiceInstance.ID) { self.known.withLock { $0 = id } }

    /// Whether a request is meant for this instance, as far as can be said: one that names nobody is.
    func accepts(_ headers: HTTPFields) -> Bool {
        guard let meant = headers[named: RequestContextFields.instance], let id = self.id else { return true }
        return meant == id
    }
}

/// Refuses what is meant for another instance.
struct IdentityLayer: EdgeLayer {
    let identity: InstanceIdentity

    func respond(
        to request: Request,
        context: ParleyRequestContext,
        next: any HTTPResponder<ParleyRequestContext>
    ) async throws -> Response {
        guard self.identity.accepts(request.headers) else {
            throw ProblemError.misdirected(meant: request.headers[named: RequestContextFields.instance] ?? "")
        }
        return try await next.respond(to: request, context: context)
    }
}
