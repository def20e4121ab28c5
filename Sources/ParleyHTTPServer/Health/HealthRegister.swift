public import ParleyCore
public import ParleyDiscovery
internal import Synchronization

/// The named checks that tell whether a service can do its work, and whether it is going away.
///
/// `/health/ready` and `/health` ask it. A check answers a ``ParleyDiscovery/HealthStatus``; one that throws, or that
/// takes longer than the time limit, is `critical`. Checks run at the same time, once per question, so they are cheap.
public final class HealthRegister: Sendable {
    /// How many checks there may be; further ones are not taken.
    public static let maxChecks = 64

    /// What one check said.
    public struct Result: Sendable, Hashable, Codable {
        public var status: HealthStatus
        /// In a few words; never the text of an error, which may hold addresses and passwords.
        public var output: String?
    }

    /// What all of them said.
    public struct Report: Sendable, Hashable, Codable {
        public var service: String
        /// The worst of the checks; `critical` while the service drains.
        public var status: HealthStatus
        public var isDraining: Bool
        public var checks: [String: Result]
    }

    private struct State {
        var isDraining = false
        var checks: [String: @Sendable () async throws -> HealthStatus] = [:]
    }

    public let service: ServiceName
    private let state = Mutex(State())
    private let timeLimit: Duration
    private let time: any TimeSource

    /// - Parameter timeLimit: how long each check may take.
    public init(
        service: ServiceName,
        timeLimit: Duration = .seconds(1),
        time: any TimeSource = SystemTimeSource()
    ) {
        self.service = service
        self.timeLimit = timeLimit
        self.time = time
    }

    /// Adds a check, or replaces the one of this name. `false` when there are ``maxChecks`` already.
    @discardableResult
    public func add(_ name: String, _ check: @escaping @Sendable () async throws -> HealthStatus) -> Bool {
        self.state.withLock { state in
            guard state.checks.count < Self.maxChecks || state.checks[name] != nil else { return false }
            state.checks[name] = check
            return true
        }
    }

    /// Turns readiness red for good; an ``HTTPService`` does it when its graceful shutdown begins.
    public func beginDraining() { self.state.withLock { $0.isDraining = true } }

    public var isDraining: Bool { self.state.withLock { $0.isDraining } }

    /// Runs all checks.
    public func report() async -> Report {
        let (isDraining, checks) = self.state.withLock { ($0.isDraining, $0.checks) }
        var results: [String: Result] = [:]
        await withTaskGroup(of: (String, Result).self) { group in
            for (name, check) in checks {
                group.addTask { (name, await self.run(check)) }
            }
            for await (name, result) in group { results[name] = result }
        }
        let worst = results.values.map(\.status).max() ?? .passing
        return Report(
            service: self.service.description,
            status: isDraining ? .critical : worst,
            isDraining: isDraining,
            checks: results
        )
    }

    private func run(_ check: @escaping @Sendable () async throws -> HealthStatus) async -> Result {
        await withTaskGroup(of: Result?.self) { group in
            group.addTask {
                do {
                    return Result(status: try await check())
                } catch is CancellationError {
                    return nil
                } catch {
                    return Result(status: .critical, output: "failed: \(type(of: error))")
                }
            }
            group.addTask { [time, timeLimit] in
                try? await time.sleep(for: timeLimit)
                return nil
            }
            let first = await group.next() ?? nil
            group.cancelAll()
            return first ?? Result(status: .critical, output: "no answer within \(self.timeLimit.inMilliseconds) ms")
        }
    }
}
