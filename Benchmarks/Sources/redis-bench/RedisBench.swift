import ArgumentParser
import Foundation
import PeerBench

@main
struct RedisBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "ParleyRESP beside redis-benchmark and redis-py, on one server in one run; and the bus on top of it.",
        subcommands: [Compare.self, Work.self],
        defaultSubcommand: Compare.self
    )
}

struct Work: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "One measurement in this process.")

    @Argument var port: Int
    @Argument(help: "fill, xadd, read, readack, publish or consume") var mode: String
    @Argument var count: Int
    @Argument var pipeline: Int
    @Argument var connections: Int
    @Argument var bytes: Int

    func run() async throws {
        let worker = Worker(
            port: self.port,
            count: self.count,
            pipeline: self.pipeline,
            connections: self.connections,
            bytes: self.bytes
        )
        try await worker.run(self.mode)
    }
}

struct Compare: AsyncParsableCommand {
    @Option(help: "The server's port.") var port: Int
    @Option(help: "A Python that has redis-py and hiredis.") var python: String
    @Option(help: "The Python peer.") var pythonPeer: String
    @Option(help: "Measurements of each figure; the median counts.") var rounds = 3
    @Option(help: "Bytes of a message's body.") var bytes = 256
    @Option(help: "Messages for each figure; a tenth of it without a pipeline, a fifth of it for Python.")
    var messages = 200_000

    private struct Case {
        var name: String
        var mode: String
        var pipeline: Int
        var connections: Int
        var count: Int
        var hasBenchmark = false
        var hasPython = true
        var isFilled = false
    }

    func run() async throws {
        let n = self.messages
        let cases = [
            Case(name: "XADD alone", mode: "xadd", pipeline: 1, connections: 1, count: n / 10, hasBenchmark: true),
            Case(name: "XADD, pipeline 16", mode: "xadd", pipeline: 16, connections: 1, count: n, hasBenchmark: true),
            Case(name: "XADD, pipeline 100", mode: "xadd", pipeline: 100, connections: 1, count: n, hasBenchmark: true),
            Case(
                name: "XADD, 8 connections, pipeline 16",
                mode: "xadd",
                pipeline: 16,
                connections: 8,
                count: n,
                hasBenchmark: true,
                hasPython: false
            ),
            Case(
                name: "XREADGROUP NOACK, 100 a time",
                mode: "read",
                pipeline: 100,
                connections: 1,
                count: n,
                hasBenchmark: true,
                isFilled: true
            ),
            Case(
                name: "XREADGROUP + XACK, 100 a time",
                mode: "readack",
                pipeline: 100,
                connections: 1,
                count: n,
                isFilled: true
            ),
            Case(
                name: "bus: publish, 16 a call, 8 callers",
                mode: "publish",
                pipeline: 16,
                connections: 8,
                count: n / 2,
                hasPython: false
            ),
            Case(
                name: "bus: consume and settle, prefetch 200",
                mode: "consume",
                pipeline: 200,
                connections: 1,
                count: n / 2,
                hasPython: false
            ),
        ]
        var rows = [
            [
                "\(self.bytes) bytes a message", "client", "per second", "x redis-benchmark", "CPU us a message",
                "CPU x redis-py",
            ]
        ]
        for one in cases {
            FileHandle.standardError.write(Data("  \(one.name) …\n".utf8))
            // In turn, so that a slow minute of the machine meets all of them.
            var own: [PeerBench.Figure] = []
            var benchmark: [PeerBench.Figure] = []
            var python: [PeerBench.Figure] = []
            for _ in 0..<self.rounds {
                own.append(try self.own(one))
                if one.hasBenchmark { benchmark.append(try self.benchmark(one)) }
                if one.hasPython { python.append(try self.python(one)) }
            }
            let reference = benchmark.isEmpty ? nil : PeerBench.median(benchmark)
            let slow = python.isEmpty ? nil : PeerBench.median(python)
            func row(_ title: String, _ client: String, _ figure: PeerBench.Figure) -> [String] {
                [
                    title, client, String(format: "%.0f", figure.rate),
                    reference.map { String(format: "%.2f", figure.rate / $0.rate) } ?? "",
                    String(format: "%.2f", figure.cpu), slow.map { String(format: "%.2f", figure.cpu / $0.cpu) } ?? "",
                ]
            }
            rows.append(row(one.name, "Parley", PeerBench.median(own)))
            if let reference { rows.append(row("", "redis-benchmark", reference)) }
            if let slow { rows.append(row("", "redis-py", slow)) }
        }
        print(PeerBench.table(rows, texts: 2))
    }

    private var executable: String { Bundle.main.executablePath ?? CommandLine.arguments[0] }

    private func words(_ mode: String, _ one: Case, _ count: Int) -> [String] {
        ["\(self.port)", mode, "\(count)", "\(one.pipeline)", "\(one.connections)", "\(self.bytes)"]
    }

    private func fill(_ one: Case, _ count: Int) throws {
        _ = try PeerBench.run(self.executable, ["work"] + self.words("fill", one, one.isFilled ? count : 0))
    }

    private func own(_ one: Case) throws -> PeerBench.Figure {
        if one.mode != "consume", one.mode != "publish" { try self.fill(one, one.count) }
        if one.mode == "consume" {
            var first = one
            first.pipeline = 100
            _ = try PeerBench.run(self.executable, ["work"] + self.words("publish", first, one.count))
        }
        return try PeerBench.figure(
            of: try PeerBench.run(self.executable, ["work"] + self.words(one.mode, one, one.count)).text
        )
    }

    private func python(_ one: Case) throws -> PeerBench.Figure {
        let count = one.count / 5
        try self.fill(one, count)
        let arguments = [self.pythonPeer] + self.words(one.mode, one, count)
        return try PeerBench.figure(of: try PeerBench.run(self.python, arguments).text)
    }

    private func benchmark(_ one: Case) throws -> PeerBench.Figure {
        try self.fill(one, one.count)
        let isRead = one.mode == "read"
        // One request reads as many messages as a pipeline of additions adds.
        let requests = isRead ? one.count / one.pipeline : one.count
        var words = ["-p", "\(self.port)", "-n", "\(requests)", "-c", "\(one.connections)", "--csv"]
        words += ["-P", isRead ? "1" : "\(one.pipeline)"]
        words +=
            isRead
            ? ["XREADGROUP", "GROUP", "g", "c", "COUNT", "\(one.pipeline)", "NOACK", "STREAMS", "bench", ">"]
            : ["XADD", "bench", "*", "data", String(repeating: "x", count: self.bytes)]
        let answer = try PeerBench.run("/usr/bin/redis-benchmark", words)
        // The last line: the command and its rate, in quotation marks.
        let cells = answer.text.split(whereSeparator: \.isNewline).last?.split(separator: "\"").map(String.init) ?? []
        guard let rate = cells.compactMap({ Double($0) }).first else {
            throw PeerBench.Failure("no figures from redis-benchmark: \(answer.text)")
        }
        return PeerBench.Figure(
            rate: isRead ? rate * Double(one.pipeline) : rate,
            cpu: answer.cpu * 1e6 / Double(one.count)
        )
    }
}
