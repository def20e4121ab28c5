public import ParleyCore

/// Says where a service can be reached right now.
///
/// **Pull.** A caller asks before each call (or each try of a call) and does not keep the answer; a resolver that asks
/// a remote registry therefore keeps its own copy and answers from it. It is called often and concurrently.
///
/// **What the answer means.** The instances that should get requests, in no particular order, each once. An *empty
/// list* is a full answer: the service is known or unknown, and no instance can be called now. It is not an error,
/// because the next answer may differ; the caller decides whether to wait.
///
/// **What an error means.** The resolver could not find out, for instance because the registry cannot be reached. A
/// resolver that has answered before should answer with the last instances it knows rather than throw: a registry that
/// is down must not take down calls that would work. Errors are ``DiscoveryError``; nothing has been sent to the
/// service, so their `retry` is never `mayHaveRun`. The caller backs off, the resolver does not sleep.
///
/// **Cancellation.** A resolver that waits throws `CancellationError` when the task is cancelled.
public protocol ServiceResolver: Sendable {
    /// The instances of `service` that should get requests now.
    func resolve(_ service: ServiceName) async throws -> [ServiceInstance]
}

/// Tells a registry which instances there are.
///
/// Both calls are idempotent: registering an id again replaces what was known under it, and deregistering an unknown id
/// does nothing. A service registers when it accepts connections (not earlier) and deregisters when it begins to drain.
public protocol ServiceRegistrar: Sendable {
    /// Makes `instance` known; a resolver of the same registry answers with it from now on, or soon.
    func register(_ instance: ServiceInstance) async throws
    /// Forgets the instance with this id.
    func deregister(_ id: ServiceInstance.ID) async throws
}
