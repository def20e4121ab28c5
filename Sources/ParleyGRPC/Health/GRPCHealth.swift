internal import GRPCCore
public import ParleyCore
internal import SwiftProtobuf
internal import Synchronization

/// What the standard health service (`grpc.health.v1`) answers: for each service of a server whether it serves.
///
/// The empty name is the server as a whole. Services that nobody has set are unknown (`NOT_FOUND`).
public final class GRPCHealth: Sendable {
    private struct State {
        var serving: [String: Bool]
        var isDraining = false
    }

    private let state: Mutex<State>
    private let changed = Signal()
    private let time: any TimeSource

    /// - Parameter services: full names (`users.v1.UserService`) that serve from the beginning, besides the server.
    public init(services: [String] = [], time: any TimeSource = SystemTimeSource()) {
        var serving = Dictionary(services.map { ($0, true) }) { $1 }
        serving[""] = true
        self.state = Mutex(State(serving: serving))
        self.time = time
    }

    /// Says whether `service` does its work; watchers are told.
    public func set(_ isServing: Bool, for service: String = "") {
        self.state.withLock { $0.serving[service] = isServing }
        self.changed.ring()
    }

    /// Nothing serves any more, whatever is set later; a ``GRPCService`` does it when its graceful shutdown begins.
    public func beginDraining() {
        self.state.withLock { $0.isDraining = true }
        self.changed.ring()
    }

    var isDraining: Bool { self.state.withLock { $0.isDraining } }

    /// `nil` for a service that is not known.
    public func isServing(_ service: String = "") -> Bool? {
        self.state.withLock { state in state.serving[service].map { $0 && !state.isDraining } }
    }

    func status(of service: String) -> Grpc_Health_V1_HealthCheckResponse.ServingStatus {
        self.isServing(service).map { $0 ? .serving : .notServing } ?? .serviceUnknown
    }

    /// Calls `tell` with the status now and after each change, until the task is cancelled.
    func watch(
        _ service: String,
        _ tell: (Grpc_Health_V1_HealthCheckResponse.ServingStatus) async throws -> Void
    ) async throws {
        var told: Grpc_Health_V1_HealthCheckResponse.ServingStatus?
        while true {
            try Task.checkCancellation()
            let generation = self.changed.generation
            let status = self.status(of: service)
            if status != told {
                try await tell(status)
                told = status
            }
            // The server cannot close while a watcher stays, and there is nothing more to tell.
            if self.isDraining { return }
            await self.changed.wait(after: generation, until: nil, on: self.time)
        }
    }
}

/// `grpc.health.v1.Health` over a ``GRPCHealth``.
struct HealthRPCs: Grpc_Health_V1_Health.SimpleServiceProtocol {
    let health: GRPCHealth

    func check(
        request: Grpc_Health_V1_HealthCheckRequest,
        context: ServerContext
    ) async throws -> Grpc_Health_V1_HealthCheckResponse {
        let status = self.health.status(of: request.service)
        guard status != .serviceUnknown else {
            throw RPCError(code: .notFound, message: "This server has no service '\(request.service.prefix(200))'.")
        }
        return .with { $0.status = status }
    }

    func watch(
        request: Grpc_Health_V1_HealthCheckRequest,
        response: RPCWriter<Grpc_Health_V1_HealthCheckResponse>,
        context: ServerContext
    ) async throws {
        try await self.health.watch(request.service) { status in try await response.write(.with { $0.status = status })
        }
    }
}
