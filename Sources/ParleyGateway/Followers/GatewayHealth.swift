internal import AsyncHTTPClient
internal import NIOCore
internal import ParleyCore
internal import ParleyDiscovery
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
        var isAsking = false
        var cached: (until: ContinuousClock.Instant, report: Report)?
    }

    /// An answer is kept this long, so that a crowd of questions does not become a crowd of requests to each service.
    private static let lifetime: Duration = .seconds(1)
    /// Of a service with more instances, so many are asked.
    private static let maxInstances = 16

    private let questions: OwnQuestions
    private let timeLimit: Duration
    private let time: any TimeSource
    private let state = Mutex(State())
    private let asked = Signal()

    init(questions: OwnQuestions, timeLimit: Duration, time: any TimeSource) {
        self.questions = questions
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

    /// However many ask, the services are asked once.
    private func report() async -> Report {
        while true {
            let generation = self.asked.generation
            let now = self.time.now
            let (known, isOurs, plan) = self.state.withLock { state -> (Report?, Bool, GatewayPlan?) in
                if let cached = state.cached, now < cached.until { return (cached.report, false, nil) }
                guard !state.isAsking else { return (nil, false, nil) }
                state.isAsking = true
                return (nil, true, state.plan)
            }
            if let known { return known }
            if isOurs { return await self.ask(plan) }
            await self.asked.wait(after: generation, until: nil, on: self.time)
        }
    }

    private func ask(_ plan: GatewayPlan?) async -> Report {
        var services: [String: ServiceReport] = [:]
        await withTaskGroup(of: (String, ServiceReport).self) { group in
            for (name, upstream, isAsked) in Self.subjects(of: plan) {
                group.addTask { (name, await self.report(on: upstream, isAsked: isAsked)) }
            }
            for await (name, report) in group { services[name] = report }
        }
        let report = Report(status: services.values.map(\.status).max() ?? .passing, services: services)
        let until = self.time.now.advanced(by: Self.lifetime)
        self.state.withLock { state in
            state.isAsking = false
            // A reload has other services.
            if state.plan === plan { state.cached = (until, report) }
        }
        self.asked.ring()
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
        guard let answer = try? await self.questions.answer(to: request, within: self.timeLimit) else { return false }
        return (200..<300).contains(answer.status)
    }
}
