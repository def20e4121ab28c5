internal import Foundation
internal import ProcessTestSupport
internal import Synchronization

/// Clients on threads of their own, one request after the other on kept connections, until they are told to stop.
final class Load: Sendable {
    struct Counts: Sendable {
        var answered = 0
        /// By body: who behind has answered.
        var bodies: [String: Int] = [:]
        /// The first few of what must not happen.
        var failures: [String] = []
        var failed = 0
        var connections = 0
        var running = 0
    }

    private let counts = Mutex(Counts())
    private let isStopped = Atomic(false)

    /// - Parameters:
    ///   - fresh: A connection for each request.
    ///   - statuses: What is no failure.
    init(_ port: Int, clients: Int, path: String = "/", fresh: Bool = false, statuses: Set<Int> = [200]) {
        self.counts.withLock { $0.running = clients }
        for _ in 0..<clients {
            Thread.detachNewThread { [self] in
                while !self.isStopped.load(ordering: .relaxed) { self.connection(port, path, fresh, statuses) }
                self.counts.withLock { $0.running -= 1 }
            }
        }
    }

    private func connection(_ port: Int, _ path: String, _ fresh: Bool, _ statuses: Set<Int>) {
        do {
            let client = try Client(port)
            self.counts.withLock { $0.connections += 1 }
            while !self.isStopped.load(ordering: .relaxed) {
                let answer = try client.get(path, closing: fresh)
                let isGood = statuses.contains(answer.status) && answer.isWhole
                self.counts.withLock { counts in
                    counts.answered += 1
                    counts.bodies[answer.text, default: 0] += 1
                    if !isGood { counts.fail("\(answer.status) whole: \(answer.isWhole) \(answer.text)") }
                }
                if fresh || answer.head.lowercased().contains("connection: close") { return }
            }
        } catch {
            self.counts.withLock { $0.fail("\(error)") }
        }
    }

    var now: Counts { self.counts.withLock { $0 } }

    /// Goes on until so many requests more have been answered.
    func answers(_ count: Int) async throws {
        let goal = self.now.answered + count
        guard try await isEventually(within: .seconds(60), { self.now.answered >= goal }) else {
            throw TestSupportError("the load stands still: \(self.now)")
        }
    }

    func stop() async throws -> Counts {
        self.isStopped.store(true, ordering: .relaxed)
        _ = try await isEventually(within: .seconds(60)) { self.now.running == 0 }
        return self.now
    }
}

extension Load.Counts {
    fileprivate mutating func fail(_ what: String) {
        self.failed += 1
        if self.failures.count < 10 { self.failures.append(what) }
    }
}
