internal import ParleyCore

/// Makes the checks when they are due, notes signs of life that did not come, and deregisters what was critical for too
/// long. The shell of ``CheckScheduleMachine``.
struct CheckRunner: Sendable {
    let engine: RegistryEngine
    let configuration: RegistryConfiguration

    /// Until the task is cancelled.
    func run() async {
        let clients = HTTPCheckClients()
        await withDiscardingTaskGroup { group in
            group.addTask { await self.reap() }
            while !Task.isCancelled {
                let generation = self.engine.checksChanged.generation
                let (probes, next) = self.engine.takeDueChecks()
                for probe in probes {
                    group.addTask { await self.make(probe, clients) }
                }
                await self.engine.checksChanged.wait(after: generation, until: next, on: self.engine.time)
            }
            group.cancelAll()
        }
        await clients.shutdown()
    }

    private func make(_ probe: CheckScheduleMachine.Probe, _ clients: HTTPCheckClients) async {
        let plan = self.bounded(probe.plan)
        let result = await self.withTimeout(plan.timeout) {
            switch plan.probe {
            case .http(let http): await clients.check(http, plan)
            case .tcp(let target): await SocketChecks.tcp(target, timeout: plan.timeout)
            case .udp(let target): await SocketChecks.udp(target, timeout: plan.timeout)
            case .grpc(let target, let useTLS, let verifies):
                await HTTP2Checks.grpc(target, useTLS: useTLS, verifies: verifies, timeout: plan.timeout)
            case .h2ping(let target, let useTLS, let verifies):
                await HTTP2Checks.ping(target, useTLS: useTLS, verifies: verifies, timeout: plan.timeout)
            case .ttl, .alias: CheckResult(.critical, "this is no check that can be made")
            }
        }
        guard !Task.isCancelled else { return }
        self.engine.noteResult(result, of: probe)
    }

    /// Here and not where it was registered: the file may hold plans from before a lower limit.
    private func bounded(_ plan: CheckPlan) -> CheckPlan {
        var plan = plan
        plan.timeout = min(plan.timeout, self.configuration.maximumCheckTimeout)
        // A server that is well says nothing: a slot held for longer than the interval finds out nothing more.
        if case .udp = plan.probe { plan.timeout = min(plan.timeout, plan.interval) }
        return plan
    }

    /// The last word, whatever the check itself does about its time.
    private func withTimeout(
        _ timeout: Duration,
        _ body: @escaping @Sendable () async -> CheckResult
    ) async -> CheckResult {
        await withTaskGroup(of: CheckResult?.self) { group in
            group.addTask { await body() }
            group.addTask { [time = self.engine.time] in
                try? await time.sleep(for: timeout + .milliseconds(500))
                return nil
            }
            defer { group.cancelAll() }
            return await group.next()?.flatMap { $0 } ?? CheckResult(.critical, "timed out after \(timeout)")
        }
    }

    private func reap() async {
        while !Task.isCancelled {
            do { try await self.engine.time.sleep(for: self.configuration.reapInterval) } catch { return }
            self.engine.reap(minimum: self.configuration.minimumDeregisterAfter)
        }
    }
}

/// What a check has found.
struct CheckResult: Sendable, Equatable {
    var status: CheckStatus
    var output: String

    init(_ status: CheckStatus, _ output: String) {
        self.status = status
        self.output = output
    }
}
