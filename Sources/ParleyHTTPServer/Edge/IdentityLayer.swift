internal import HTTPTypes
internal import Hummingbird
internal import ParleyCore
internal import ParleyDiscovery

/// Refuses what is meant for another instance.
struct IdentityLayer: EdgeLayer {
    let identity: InstanceIdentity

    func respond(
        to request: Request,
        context: ParleyRequestContext,
        next: any HTTPResponder<ParleyRequestContext>
    ) async throws -> Response {
        let meant = request.headers[named: RequestContextFields.instance]
        guard self.identity.accepts(meant) else { throw ProblemError.misdirected(meant: meant ?? "") }
        return try await next.respond(to: request, context: context)
    }
}
