internal import AsyncHTTPClient
internal import NIOCore
internal import NIOHTTP1
internal import ParleyCore
internal import ParleyDiscovery
internal import ParleyHTTPClient
internal import Synchronization

/// Asks every routed service whether it is ready. For people and dashboards: the gateway's own answer does not depend
/// on it.
final class GatewayHealth: Sendable {
    struct ServiceReport: Sendable, Codable {
        var status: HealthStatus
        var instances: Int
        var ready: Int
    }

    struct Report: Sendable, Codable {
        /// In the words of the guide's own gateway.
        var gateway = "healthy"
        var status: HealthStatus
        var services: [String: ServiceReport]
    }

    /// An answer is kept this long, so that a crowd of questions does not become a crowd of requests to each service.
    private static let lifetime: Duration = .seconds(1)
    /// Of a service with more instances, so many are asked.
    private static let maxInstances = 16

    private let services: [ServiceName]
    private let resolver: any ServiceResolver
    private let connections: HTTPConnections
    private let timeLimit: Duration
    private let time: any TimeSource
    private let cached = Mutex<(until: ContinuousClock.Instant, report: Report)?>(nil)

    init(
        services: [ServiceName],
        resolver: any ServiceResolver,
        connections: HTTPConnections,
        timeLimit: Duration,
        time: any TimeSource
    ) {
        self.services = services
        self.resolver = resolver
        self.connections = connections
        self.timeLimit = timeLimit
        self.time = time
    }

    func report() async -> Report {
        if let cached = self.cached.withLock({ $0 }), self.time.now < cached.until { return cached.report }
        var services: [String: ServiceReport] = [:]
        await withTaskGroup(of: (ServiceName, ServiceReport).self) { group in
            for service in self.services {
                group.addTask { (service, await self.ask(service)) }
            }
            for await (service, report) in group { services[service.description] = report }
        }
        let report = Report(status: services.values.map(\.status).max() ?? .passing, services: services)
        let until = self.time.now.advanced(by: Self.lifetime)
        self.cached.withLock { $0 = (until, report) }
        return report
    }

    private func ask(_ service: ServiceName) async -> ServiceReport {
        let all = (try? await self.resolver.resolve(service)) ?? []
        let instances = all.prefix(Self.maxInstances)
        let ready = await withTaskGroup(of: Bool.self) { group in
            for instance in instances {
                group.addTask { await self.isReady(instance.endpoint) }
            }
            return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
        }
        let status: HealthStatus = ready == 0 ? .critical : ready < instances.count ? .warning : .passing
        return ServiceReport(status: status, instances: all.count, ready: ready)
    }

    private func isReady(_ endpoint: Endpoint) async -> Bool {
        let request = HTTPClientRequest(url: "http://\(endpoint)/health/ready")
        let deadline = NIODeadline.now() + TimeAmount(self.timeLimit)
        guard let response = try? await self.connections.client.execute(request, deadline: deadline) else {
            return false
        }
        // Read, so that the connection can be used again; a health answer is small.
        _ = try? await response.body.collect(upTo: 65_536)
        return (200..<300).contains(response.status.code)
    }
}
