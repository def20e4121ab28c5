internal import AsyncHTTPClient
internal import NIOCore
internal import NIOPosix
internal import ParleyCore
internal import Synchronization

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
                let now = self.engine.time.now
                let (due, next) = self.engine.state.withLock { state in
                    let due = state.schedule.takeDue(now: now)
                    return (due, state.schedule.nextDue)
                }
                for key in due.expired { self.expire(key) }
                for probe in due.probes {
                    group.addTask { await self.make(probe, clients) }
                }
                await self.engine.checksChanged.wait(after: generation, until: next, on: self.engine.time)
            }
            group.cancelAll()
        }
        await clients.shutdown()
    }

    private func expire(_ key: NodeItemKey) {
        self.engine.change { machine in
            guard let check = machine.checks[key], let plan = check.plan else { return RegistryStateMachine.Effects() }
            let last = check.output
            let output = last.isEmpty ? "TTL expired" : "TTL expired (last output before timeout follows): \(last)"
            return machine.update(key, status: .critical, output: CheckOutput.cut(output, to: plan.outputMaxSize))
        }
    }

    private func make(_ probe: CheckScheduleMachine.Probe, _ clients: HTTPCheckClients) async {
        let result = await self.withTimeout(probe.plan.timeout) {
            switch probe.plan.probe {
            case .http(let http): await clients.check(http, probe.plan)
            case .tcp(let target): await SocketChecks.tcp(target, timeout: probe.plan.timeout)
            case .udp(let target): await SocketChecks.udp(target, timeout: probe.plan.timeout)
            case .grpc(let target, let useTLS, let verifies):
                await HTTP2Checks.grpc(target, useTLS: useTLS, verifies: verifies, timeout: probe.plan.timeout)
            case .h2ping(let target, let useTLS, let verifies):
                await HTTP2Checks.ping(target, useTLS: useTLS, verifies: verifies, timeout: probe.plan.timeout)
            case .ttl, .alias: CheckResult(.critical, "this is no check that can be made")
            }
        }
        guard !Task.isCancelled else { return }
        let status = self.engine.state.withLock { state in
            state.schedule.finished(probe, result.status, now: self.engine.time.now)
        }
        self.engine.checksChanged.ring()
        guard let status else { return }
        let output = CheckOutput.cut(result.output, to: probe.plan.outputMaxSize)
        self.engine.change { $0.update(probe.key, status: status, output: output) }
    }

    /// The last word, whatever the check itself does about its time.
    private func withTimeout(
        _ timeout: Duration,
        _ body: @escaping @Sendable () async -> CheckResult
    ) async
        -> CheckResult
    {
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
