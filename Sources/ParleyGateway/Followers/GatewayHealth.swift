internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPClient
internal import Synchronization

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What `/health`, `/health/live` and `/health/ready` answer.
///
/// Each service of our own is asked whether it is ready; of other upstreams it is told what balancing and checks know.
/// The details are for people and dashboards: the gateway's own status does not depend on them.
final class GatewayHealth: Sendable {
    enum Question: Sendable { case whole, live, ready }

    struct ServiceReport: Sendable, Codable {
        var status: HealthStatus
        var instances: Int
        var ready: Int
        /// How many instances stand how, as balancing sees it: `{"available": 2, "ejected": 1}`.
        var standing: [String: Int]?
    }

    struct Report: Sendable, Codable {
        /// In the words of the guide's own gateway.
        var gateway = "healthy"
        var status: HealthStatus
        var services: [String: ServiceReport]
    }

    private struct State {
        var plan: GatewayPlan?
        var isDraining = false
        var cached: (until: ContinuousClock.Instant, report: Report)?
    }

    /// An answer is kept this long, so that a crowd of questions does not become a crowd of requests to each service.
    private static let lifetime: Duration = .seconds(1)
    /// Of a service with more instances, so many are asked.
    private static let maxInstances = 16

    private let connections: HTTPConnections
    private let timeLimit: Duration
    private let time: any TimeSource
    private let state = Mutex(State())

    init(connections: HTTPConnections, timeLimit: Duration, time: any TimeSource) {
        self.connections = connections
        self.timeLimit = timeLimit
        self.time = time
    }

    func adopt(_ plan: GatewayPlan) {
        self.state.withLock { state in
            state.plan = plan
            state.cached = nil
        }
    }

    func beginDraining() { self.state.withLock { $0.isDraining = true } }

    /// A status and the body for it.
    func answer(_ question: Question) async -> (UInt16, ByteBuffer) {
        let isDraining = self.state.withLock { $0.isDraining }
        var report = Report(status: isDraining ? .critical : .passing, services: [:])
        if question == .whole { report = await self.report() }
        if isDraining { report.gateway = "draining" }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        // Texts and numbers: there is nothing in it that cannot be encoded.
        let body = (try? encoder.encode(report)) ?? Data()
        return (isDraining && question != .live ? 503 : 200, ByteBuffer(bytes: body))
    }

    private func report() async -> Report {
        let (plan, cached) = self.state.withLock { ($0.plan, $0.cached) }
        if let cached, self.time.now < cached.until { return cached.report }
        var services: [String: ServiceReport] = [:]
        await withTaskGroup(of: (String, ServiceReport).self) { group in
            for (name, upstream, isAsked) in Self.subjects(of: plan) {
                group.addTask { (name, await self.report(on: upstream, isAsked: isAsked)) }
            }
            for await (name, report) in group { services[name] = report }
        }
        let report = Report(status: services.values.map(\.status).max() ?? .passing, services: services)
        let until = self.time.now.advanced(by: Self.lifetime)
        self.state.withLock { $0.cached = (until, report) }
        return report
    }

    /// Each service once: where it is reached in two ways, the one that can be asked.
    private static func subjects(of plan: GatewayPlan?) -> [(String, Upstream, Bool)] {
        var subjects: [String: (String, Upstream, Bool)] = [:]
        for upstream in plan?.upstreams.values.map({ $0 }) ?? [] {
            var name = upstream.model.name
            if case .service(let service) = upstream.model.instances { name = service }
            let isAsked = plan?.answersHealth(upstream) ?? false
            if isAsked || subjects[name] == nil { subjects[name] = (name, upstream, isAsked) }
        }
        return Array(subjects.values)
    }

    private func report(on upstream: Upstream, isAsked: Bool) async -> ServiceReport {
        let states = upstream.group.states(now: MonotonicTime.milliseconds)
        var standing: [String: Int] = [:]
        for state in states { standing["\(state.standing)", default: 0] += 1 }
        var asked = states.count
        var ready = standing["available"] ?? 0
        if isAsked {
            let some = states.prefix(Self.maxInstances).map(\.peer)
            asked = some.count
            ready = await withTaskGroup(of: Bool.self) { group in
                for peer in some { group.addTask { await self.isReady(peer) } }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
        }
        return ServiceReport(
            status: ready == 0 ? .critical : ready < asked ? .warning : .passing,
            instances: states.count,
            ready: ready,
            standing: standing
        )
    }

    private func isReady(_ peer: PeerModel) async -> Bool {
        let request = HTTPClientRequest(url: "http://\(peer.name)/health/ready")
        let deadline = NIODeadline.now() + TimeAmount(self.timeLimit)
        guard let response = try? await self.connections.client.execute(request, deadline: deadline) else {
            return false
        }
        // Read, so that the connection can be used again; a health answer is small.
        _ = try? await response.body.collect(upTo: 65_536)
        return (200..<300).contains(response.status.code)
    }
}
