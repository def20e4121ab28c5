import ArgumentParser
import Foundation
import NIOCore
import NIOPosix
import PeerBench

@main
struct RegistryBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract:
            "The registry with many instances and many who wait: how soon they hear of a change, and what it costs.",
        discussion: "The registry is a process of its own. CPU is its processor time, which other work on the machine "
            + "disturbs least.",
        subcommands: [Measure.self, Serve.self],
        defaultSubcommand: Measure.self
    )
}

struct Measure: AsyncParsableCommand {
    @Option(help: "Instances, ten of each service.") var instances = 10_000
    @Option(help: "Questions that wait for the same service.") var watchers = 1_000
    @Option(help: "Changes that wake them; the median and the worst count.") var changes = 10
    @Option(help: "The same for the long answer.") var longChanges = 3
    @Option(help: "Questions for each figure, over HTTP and over DNS.") var questions = 40_000
    @Option(help: "Only rows whose part has this name: writes, wakes, reads, dns or long.") var only: String?

    func run() async throws {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let bench = Bench(options: self, group: group)
        if self.wants("writes") { try await bench.writes() }
        if ["wakes", "reads", "dns"].contains(where: self.wants) {
            try await RegistryProcess.with { registry in
                bench.memory("RSS, empty", registry)
                try await bench.register(self.instances, services: self.instances / 10, in: registry, connections: 32)
                try await registry.untilIdle()
                bench.memory("RSS, \(self.instances) instances", registry)
                if self.wants("reads") { try await bench.reads(registry) }
                if self.wants("dns") { try await bench.dns(registry) }
                if self.wants("wakes") { try await bench.wakes(registry, "s7", changes: self.changes) }
            }
        }
        if self.wants("long") {
            try await RegistryProcess.with { registry in
                try await bench.register(self.instances, services: 1, in: registry, connections: 32)
                try await bench.long(registry)
            }
        }
        print(PeerBench.table([["", "", "", "CPU us each"]] + bench.rows, texts: 1))
        try await group.shutdownGracefully()
    }

    private func wants(_ part: String) -> Bool { self.only.map { $0 == part } ?? true }
}
