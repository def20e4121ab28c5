import Foundation
import NIOCore
import PeerBench

/// What is measured, and the rows that it has made.
final class Bench {
    let options: Measure
    private let group: any EventLoopGroup
    private(set) var rows: [[String]] = []

    init(options: Measure, group: any EventLoopGroup) {
        (self.options, self.group) = (options, group)
    }

    private func row(_ name: String, _ value: Double, _ unit: String, cpu: Double? = nil, digits: Int = 0) {
        FileHandle.standardError.write(Data("  \(name): \(value) \(unit)\n".utf8))
        self.rows.append([
            name, String(format: "%.\(digits)f", value), unit, cpu.map { String(format: "%.1f", $0) } ?? "",
        ])
    }

    func memory(_ name: String, _ registry: RegistryProcess) { self.row(name, registry.memory, "MB", digits: 1) }

    /// Runs `body`, which does `count` things, and makes a row of how many that were a second.
    private func rate(
        _ name: String,
        _ count: Int,
        of registry: RegistryProcess,
        _ body: () async throws -> Void
    ) async throws {
        let (began, used) = (NIODeadline.now(), registry.processorTime)
        try await body()
        let seconds = Double((.now() - began).nanoseconds) / 1e9
        let cpu = (registry.processorTime - used) * 1e6 / Double(count)
        self.row(name, Double(count) / seconds, "/s", cpu: cpu)
    }

    private func connections(_ count: Int, to registry: RegistryProcess) async throws -> [RawConnection] {
        var connections: [RawConnection] = []
        for _ in 0..<count { connections.append(try await RawConnection.open(registry.httpPort, on: self.group)) }
        return connections
    }

    private func close(_ connections: [RawConnection]) async throws {
        for connection in connections { try await connection.close() }
    }

    /// `count` requests over so many connections, one at a time on each.
    private func send(
        _ count: Int,
        over connections: [RawConnection],
        _ request: @escaping @Sendable (Int) -> ByteBuffer
    ) async throws {
        let sent = Counter()
        let answers = connections.map { connection in
            connection.send {
                let number = sent.next()
                return number < count ? request(number) : nil
            }
        }
        _ = try await EventLoopFuture.whenAllSucceed(answers, on: self.group.any()).get()
    }

    // MARK: Writes

    /// Instances of services s0, s1, … with a check each, which shall not expire while this runs.
    func register(_ count: Int, services: Int, in registry: RegistryProcess, connections: Int) async throws {
        let all = try await self.connections(connections, to: registry)
        try await self.send(count, over: all) { Self.registration($0, service: "s\($0 % services)") }
        try await self.close(all)
    }

    private static func registration(_ number: Int, service: String) -> ByteBuffer {
        let body = """
            {"ID":"i\(number)","Name":"\(service)","Address":"10.1.\(number / 250).\(number % 250)","Port":8080,\
            "Tags":["v1"],"Meta":{"zone":"a"},"Check":{"CheckID":"c\(number)","TTL":"1h","Status":"passing"}}
            """
        return Self.request("PUT", "/v1/agent/service/register", body)
    }

    private static func request(_ method: String, _ path: String, _ body: String = "") -> ByteBuffer {
        let length = method == "GET" ? "" : "Content-Length: \(body.utf8.count)\r\n"
        return ByteBuffer(string: "\(method) \(path) HTTP/1.1\r\nHost: registry\r\n\(length)\r\n\(body)")
    }

    func writes() async throws {
        let count = self.options.instances
        let folder = NSTemporaryDirectory() + "registry-bench-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        for (place, path) in [("in memory", String?.none), ("on disk", folder + "/registry.db")] {
            for connections in [1, 32] {
                try await RegistryProcess.with(path: path.map { "\($0)-\(connections)" }) { registry in
                    // One at a time waits for the disk each time.
                    let count = path != nil && connections == 1 ? count / 5 : count
                    try await self.rate(
                        "registrations \(place), \(connections) at once",
                        count,
                        of: registry
                    ) { try await self.register(count, services: count / 10, in: registry, connections: connections) }
                }
            }
        }
    }

    // MARK: Reads

    func reads(_ registry: RegistryProcess) async throws {
        let count = self.options.questions
        let same = Self.request("GET", "/v1/health/service/s7")
        for connections in [1, 32] {
            let all = try await self.connections(connections, to: registry)
            try await self.rate("health of one service of 10, \(connections) at once", count, of: registry) {
                try await self.send(count, over: all) { _ in same }
            }
            // Nobody has asked it before, or something has changed since.
            try await self.rate("health of 10, a new answer each, \(connections) at once", count, of: registry) {
                try await self.send(count, over: all) { Self.request("GET", "/v1/health/service/s7?new=\($0)") }
            }
            try await self.close(all)
        }
    }

    func dns(_ registry: RegistryProcess) async throws {
        let count = self.options.questions
        for (question, word) in [(DNSAsker.Question.address, "A"), (.service, "SRV")] {
            for inFlight in [1, 32] {
                try await self.rate("DNS \(word) of 10 instances, \(inFlight) at once", count, of: registry) {
                    try await DNSAsker.ask(
                        question,
                        "s7.service.consul",
                        port: registry.dnsPort,
                        count: count,
                        inFlight: inFlight,
                        on: self.group
                    )
                }
            }
        }
    }

    // MARK: Waking

    /// Many wait for one service, and one of its checks changes.
    func wakes(_ registry: RegistryProcess, _ service: String, changes: Int) async throws {
        let path = "/v1/health/service/\(service)"
        let (writer, all) = (
            try await self.connections(1, to: registry)[0],
            try await self.connections(self.options.watchers, to: registry)
        )
        try await registry.untilIdle()
        self.memory("RSS, and \(all.count) connections", registry)
        var (fromAnswer, fromRequest, cpu) = ([Double](), [Double](), [Double]())
        for number in 0..<changes {
            let index = try await writer.send(Self.request("GET", path)).get().index
            let waiting = all.map { $0.send(Self.request("GET", "\(path)?index=\(index)&wait=10m")) }
            try await registry.untilIdle()
            if number == 0 { self.memory("RSS, and \(all.count) who wait", registry) }
            let word = number.isMultiple(of: 2) ? "fail" : "pass"
            let (began, used) = (NIODeadline.now(), registry.processorTime)
            let changed = try await writer.send(Self.request("PUT", "/v1/agent/check/\(word)/c7")).get().at
            let answers = try await EventLoopFuture.whenAllSucceed(waiting, on: self.group.any()).get()
            guard answers.allSatisfy({ $0.index > index }) else {
                throw PeerBench.Failure("some were woken by something else")
            }
            let last = answers.map(\.at).max() ?? began
            fromAnswer.append(Double((last - changed).nanoseconds) / 1e6)
            fromRequest.append(Double((last - began).nanoseconds) / 1e6)
            cpu.append((registry.processorTime - used) * 1e6 / Double(answers.count))
        }
        let name = "last of \(all.count) answers after the change"
        let middle = cpu.sorted()[cpu.count / 2]
        self.row("\(name), median of \(changes)", fromAnswer.sorted()[changes / 2], "ms", cpu: middle, digits: 1)
        self.row("\(name), worst", fromAnswer.max() ?? .nan, "ms", digits: 1)
        self.row("\(name)'s sending, worst", fromRequest.max() ?? .nan, "ms", digits: 1)
        try await registry.untilIdle()
        self.memory("RSS afterwards", registry)
        self.row("RSS, the most so far", registry.peakMemory, "MB", digits: 1)
        try await self.close(all + [writer])
    }

    /// The same when the answer has all instances.
    func long(_ registry: RegistryProcess) async throws {
        let connection = try await self.connections(1, to: registry)[0]
        for name in ["made and sent", "sent again"] {
            let began = NIODeadline.now()
            let answer = try await connection.send(Self.request("GET", "/v1/health/service/s0")).get()
            let size = String(format: "%.1f", Double(answer.bytes) / 1e6)
            self.row(
                "\(size) MB of \(self.options.instances) instances, \(name)",
                Double((answer.at - began).nanoseconds) / 1e6,
                "ms",
                digits: 1
            )
        }
        try await connection.close()
        try await self.wakes(registry, "s0", changes: self.options.longChanges)
    }
}
