import ArgumentParser
import Foundation
import PeerBench

@main
struct AMQPBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "ParleyAMQP beside a C client (librabbitmq) and a Python client (pika), on one broker in one run.",
        subcommands: [Compare.self, Work.self],
        defaultSubcommand: Compare.self
    )
}

struct Work: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "One measurement in this process.")

    @Argument var port: Int
    @Argument(help: "publish or consume") var mode: String
    @Argument var count: Int
    @Argument var window: Int
    @Argument var bytes: Int

    func run() async throws {
        try await Worker(port: self.port, count: self.count, window: self.window, bytes: self.bytes).run(self.mode)
    }
}

struct Compare: AsyncParsableCommand {
    @Option(help: "The broker's port.") var port: Int
    @Option(help: "The C peer, compiled.") var cPeer: String
    @Option(help: "A Python that has pika.") var python: String
    @Option(help: "The Python peer.") var pythonPeer: String
    @Option(help: "Measurements of each figure; the median counts.") var rounds = 3
    @Option(help: "Bytes of a message's body.") var bytes = 256
    @Option(help: "Messages for each figure; a tenth of it at window 1, a fifth of it for Python.") var messages =
        100_000

    private struct Case {
        var name: String
        var mode: String
        var window: Int
        var count: Int
    }

    func run() async throws {
        let cases = [
            Case(name: "confirmed publishes, window 1", mode: "publish", window: 1, count: self.messages / 10),
            Case(name: "confirmed publishes, window 100", mode: "publish", window: 100, count: self.messages),
            Case(name: "confirmed publishes, window 1000", mode: "publish", window: 1_000, count: self.messages),
            Case(name: "consume and ack, prefetch 200", mode: "consume", window: 200, count: self.messages),
        ]
        var rows = [
            ["\(self.bytes) bytes a message", "client", "per second", "CPU us a message", "CPU x C", "CPU x pika"]
        ]
        for one in cases {
            FileHandle.standardError.write(Data("  \(one.name) …\n".utf8))
            // In turn, so that a slow minute of the machine meets all of them.
            var figures: [[PeerBench.Figure]] = [[], [], []]
            for _ in 0..<self.rounds {
                for client in 0..<3 { figures[client].append(try self.measure(one, client)) }
            }
            let medians = figures.map(PeerBench.median)
            for (client, name) in ["ParleyAMQP", "C: librabbitmq", "Python: pika"].enumerated() {
                let figure = medians[client]
                rows.append([
                    client == 0 ? one.name : "", name, String(format: "%.0f", figure.rate),
                    String(format: "%.2f", figure.cpu), String(format: "%.2f", figure.cpu / medians[1].cpu),
                    String(format: "%.2f", figure.cpu / medians[2].cpu),
                ])
            }
        }
        print(PeerBench.table(rows, texts: 2))
    }

    private func measure(_ one: Case, _ client: Int) throws -> PeerBench.Figure {
        let count = client == 2 ? one.count / 5 : one.count
        func arguments(_ mode: String, _ window: Int) -> [String] {
            ["\(self.port)", mode, "\(count)", "\(window)", "\(self.bytes)"]
        }
        let own = Bundle.main.executablePath ?? CommandLine.arguments[0]
        if one.mode == "consume" { _ = try self.run(own, ["work"] + arguments("publish", 1_000)) }
        let mine = arguments(one.mode, one.window)
        let output =
            switch client {
            case 0: try self.run(own, ["work"] + mine)
            case 1: try self.run(self.cPeer, mine)
            default: try self.run(self.python, [self.pythonPeer] + mine)
            }
        return try PeerBench.figure(of: output)
    }

    private func run(_ executable: String, _ arguments: [String]) throws -> String {
        try PeerBench.run(executable, arguments).text
    }
}
