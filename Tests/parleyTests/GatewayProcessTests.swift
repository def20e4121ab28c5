import Foundation
import ParleyCore
import ProcessTestSupport
import Testing

/// What only a process of its own can show: descriptors, memory, signals.
@Suite(.timeLimit(.minutes(3))) struct GatewayProcessTests {
    private struct Running {
        let process: RunningProcess
        let admin: Int
        let port: Int
        let file: String
    }

    private func withGateway(
        _ configuration: String,
        _ options: [String] = [],
        _ body: (Running) async throws -> Void
    ) async throws {
        let folder = NSTemporaryDirectory() + "parley-gateway-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let file = folder + "/parley.yaml"
        try configuration.write(toFile: file, atomically: true, encoding: .utf8)
        let process = try RunningProcess(
            binary,
            ["gateway", "run", "--config", file, "--admin", "127.0.0.1:0", "--workers", "2", "--json"] + options
        )
        var ports: [String: Int] = [:]
        let time = SystemTimeSource()
        while ports.count < 2, process.isRunning {
            for line in process.output.split(separator: "\n") {
                let said = try? JSONDecoder().decode([String: String].self, from: Data(line.utf8))
                for (what, address) in said ?? [:] {
                    ports[what] = address.split(separator: ":").last.flatMap { Int($0) }
                }
            }
            try await time.sleep(for: .milliseconds(10))
        }
        let admin = try #require(ports["admin"], "\(process.error)")
        let port = try #require(ports["listening"])
        try await body(Running(process: process, admin: admin, port: port, file: file))
        process.signal(SIGTERM)
        let status = await process.exit()
        #expect(status == 0, "\(process.error)")
    }

    private static func configuration(_ number: Int) -> String {
        """
        gateway:
          listen: 127.0.0.1:0
          upstreams: {u: ["127.0.0.1:\(number + 1)"]}
          routes: [{path: /\(number), upstream: u}, {path: /, return: 204}]
        """
    }

    @Test func aHundredReloadsLeaveNothingOpen() async throws {
        try await self.withGateway(Self.configuration(0)) { running in
            try await self.reload(running, 1)
            let before = try self.descriptors(of: running.process)
            for number in 2...101 {
                try await self.reload(running, number)
                let answer = try self.get("/", at: running.port)
                #expect(answer.hasPrefix("HTTP/1.1 204"))
            }
            #expect(try self.status(running)["generation"] as? Int == 102)
            try await self.eventually { try self.descriptors(of: running.process) <= before }
        }
    }

    private func reload(_ running: Running, _ number: Int) async throws {
        try Self.configuration(number).write(toFile: running.file, atomically: true, encoding: .utf8)
        running.process.signal(SIGHUP)
        try await self.eventually { try self.status(running)["generation"] as? Int == number + 1 }
    }

    /// Bounded generously: this is a build for debugging. What a release build takes is in the benchmarks.
    @Test func twoThousandIdleConnectionsAreSmall() async throws {
        try await self.withGateway(Self.configuration(0)) { running in
            // What is made once is made now.
            try await self.withConnections(100, to: running.port) {}
            let before = try self.residentKilobytes(of: running.process)
            try await self.withConnections(2_000, to: running.port) {
                try await self.eventually { try self.status(running)["connections"] as? Int ?? 0 >= 2_000 }
                let each = Double(try self.residentKilobytes(of: running.process) - before) / 2_000
                print("memory of an idle connection: \(each) KB")
                #expect(each < 64)
            }
            try await self.eventually { try self.status(running)["connections"] as? Int ?? 0 < 10 }
        }
    }

    /// Load balancers see red while requests are still answered.
    @Test func readinessIsRedBeforeTheSocketsClose() async throws {
        try await self.withGateway(Self.configuration(0), ["--drain-delay", "5"]) { running in
            #expect(try self.get("/health/ready", at: running.admin).hasPrefix("HTTP/1.1 200"))
            running.process.signal(SIGTERM)
            try await self.eventually { try self.get("/health/ready", at: running.admin).hasPrefix("HTTP/1.1 503") }
            #expect(try self.get("/", at: running.port).hasPrefix("HTTP/1.1 204"))
        }
    }

    // MARK: - Sockets and files

    private func eventually(_ condition: () throws -> Bool) async throws {
        let time = SystemTimeSource()
        while try !condition() { try await time.sleep(for: .milliseconds(10)) }
    }

    private func connect(_ port: Int) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = UInt16(truncatingIfNeeded: port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var patience = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Foundation.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard descriptor >= 0, result == 0 else {
            close(descriptor)
            throw TestSupportError("connect to \(port): \(errno)")
        }
        return descriptor
    }

    /// The whole answer; the connection ends behind it.
    private func get(_ path: String, at port: Int) throws -> String {
        let descriptor = try self.connect(port)
        defer { close(descriptor) }
        let bytes = Array("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".utf8)
        guard write(descriptor, bytes, bytes.count) == bytes.count else { throw TestSupportError("write: \(errno)") }
        var answer: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 65_536)
        while true {
            let count = read(descriptor, &buffer, buffer.count)
            guard count > 0 else { break }
            answer += buffer[..<count]
        }
        return String(decoding: answer, as: UTF8.self)
    }

    private func status(_ running: Running) throws -> [String: Any] {
        let answer = try self.get("/status", at: running.admin)
        let body = answer.range(of: "\r\n\r\n").map { answer[$0.upperBound...] } ?? ""
        return try #require(try JSONSerialization.jsonObject(with: Data(body.utf8)) as? [String: Any])
    }

    private func withConnections(_ count: Int, to port: Int, _ body: () async throws -> Void) async throws {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        if limit.rlim_cur < 8_192 {
            limit.rlim_cur = min(8_192, limit.rlim_max)
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        var descriptors: [Int32] = []
        defer { for descriptor in descriptors { close(descriptor) } }
        for _ in 0..<count { descriptors.append(try self.connect(port)) }
        try await body()
    }

    private func descriptors(of process: RunningProcess) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process.id)/fd").count
    }

    private func residentKilobytes(of process: RunningProcess) throws -> Int {
        let text = try String(contentsOfFile: "/proc/\(process.id)/status", encoding: .utf8)
        let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
        return try #require(line?.split(separator: " ").dropFirst().first.flatMap { Int($0) })
    }
}
