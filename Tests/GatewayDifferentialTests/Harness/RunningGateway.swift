internal import Foundation
internal import ParleyCore
internal import ProcessTestSupport
internal import Synchronization

/// What a scenario is played against.
enum Gateway: String, Sendable {
    case nginx
    case parley

    /// Held against nginx. `PARLEY_DIFFERENTIAL_SUBJECT=nginx` holds nginx against itself, which proves the harness.
    static let subject: Gateway = {
        let name = ProcessInfo.processInfo.environment["PARLEY_DIFFERENTIAL_SUBJECT"] ?? ""
        return Gateway(rawValue: name) ?? .parley
    }()

    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path

    static let nginxBinary = Once {
        let answer = try await Subprocess.run(Self.root + "/dev/servers/nginx", [])
        guard answer.status == 0 else { throw TestSupportError(answer.error) }
        return answer.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    static var parleyBinary: String {
        ProcessInfo.processInfo.environment["PARLEY_BINARY"] ?? Self.root + "/.build/debug/parley"
    }
}

/// A value that the first who asks for it makes.
final class Once: Sendable {
    private let task: Mutex<Task<String, any Error>?> = Mutex(nil)
    private let make: @Sendable () async throws -> String

    init(_ make: @escaping @Sendable () async throws -> String) { self.make = make }

    var value: String {
        get async throws {
            let make = self.make
            let task = self.task.withLock { task in
                if let task { return task }
                let new = Task { try await make() }
                task = new
                return new
            }
            return try await task.value
        }
    }
}

/// A gateway that runs with a scenario's configuration, in a folder of its own.
struct RunningGateway: Sendable {
    let kind: Gateway
    let ports: [String: Int]
    let process: RunningProcess
    private let folder: String

    var port: Int { self.ports["listen"] ?? 0 }
    var log: String {
        (self.process.output + self.process.error).split(separator: "\n").suffix(12).joined(separator: "\n")
    }

    static func with<Value: Sendable>(
        _ kind: Gateway,
        _ scenario: Scenario,
        _ upstreams: UpstreamSet,
        _ body: (RunningGateway) async throws -> Value
    ) async throws -> Value {
        let gateway = try await Self.start(kind, scenario, upstreams)
        let result: Result<Value, any Error>
        do {
            result = .success(try await body(gateway))
        } catch {
            result = .failure(error)
        }
        try await gateway.stop()
        return try result.get()
    }

    private static func start(_ kind: Gateway, _ scenario: Scenario, _ upstreams: UpstreamSet) async throws -> Self {
        let folder = NSTemporaryDirectory() + "parley-gateway-\(UUID().uuidString)"
        do {
            let ports = try await Self.prepare(folder, scenario, upstreams)
            let process = try await Self.launch(kind, folder)
            let gateway = Self(kind: kind, ports: ports, process: process, folder: folder)
            try await gateway.listens()
            return gateway
        } catch {
            try? FileManager.default.removeItem(atPath: folder)
            throw error
        }
    }

    /// - Returns: The ports that it is to listen on.
    private static func prepare(
        _ folder: String,
        _ scenario: Scenario,
        _ upstreams: UpstreamSet
    ) async throws -> [String: Int] {
        try FileManager.default.createDirectory(atPath: folder + "/tmp", withIntermediateDirectories: true)
        var text = scenario.configuration.replacingOccurrences(of: "{folder}", with: folder)
        var ports: [String: Int] = [:]
        for name in ["listen", "listen2", "listen3"] where text.contains("{\(name)}") {
            let (descriptor, port) = try Socket.bound()
            Socket.end(descriptor)
            ports[name] = port
        }
        for (name, port) in ports.merging(upstreams.ports, uniquingKeysWith: { first, _ in first }) {
            text = text.replacingOccurrences(of: "{\(name)}", with: "127.0.0.1:\(port)")
        }
        try text.write(toFile: folder + "/scenario.conf", atomically: true, encoding: .utf8)
        for (name, content) in scenario.files {
            try content.write(toFile: folder + "/" + name, atomically: true, encoding: .utf8)
        }
        if text.contains("server.pem") {
            let answer = try await Subprocess.run(Gateway.root + "/dev/servers/certificates", [folder])
            guard answer.status == 0 else { throw TestSupportError("dev/servers/certificates: " + answer.error) }
        }
        return ports
    }

    private static func launch(_ kind: Gateway, _ folder: String) async throws -> RunningProcess {
        guard kind == .nginx else {
            let arguments = [
                "gateway", "run", "--workers", "1", "--admin", "off", "--nginx", folder + "/scenario.conf",
            ]
            return try RunningProcess(Gateway.parleyBinary, arguments)
        }
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { "\($0)_temp_path tmp/\($0);" }
        let main = """
            pid nginx.pid;
            events { worker_connections 1024; }
            http {
                access_log off;
                \(temporary.joined(separator: "\n    "))
                include scenario.conf;
            }
            """
        try main.write(toFile: folder + "/main.conf", atomically: true, encoding: .utf8)
        let arguments = [
            "-p", folder + "/", "-c", folder + "/main.conf", "-e", "stderr",
            "-g", "daemon off; master_process off; worker_processes 1;",
        ]
        return try RunningProcess(try await Gateway.nginxBinary.value, arguments)
    }

    private func listens() async throws {
        let time = SystemTimeSource()
        let end = time.now.advanced(by: .seconds(20))
        for port in self.ports.values {
            while true {
                if let descriptor = try? Socket.opened(to: port) {
                    Socket.end(descriptor)
                    break
                }
                guard self.process.isRunning, time.now < end else {
                    throw TestSupportError("\(self.kind.rawValue) does not listen on \(port):\n\(self.log)")
                }
                try await time.sleep(for: .milliseconds(3))
            }
        }
    }

    private func stop() async throws {
        self.process.signal(SIGTERM)
        let hasEnded = try await isEnding(self.process)
        if !hasEnded { await self.process.killNow() }
        try? FileManager.default.removeItem(atPath: self.folder)
        guard hasEnded else { throw TestSupportError("\(self.kind.rawValue) does not end on SIGTERM") }
    }

    private func isEnding(_ process: RunningProcess) async throws -> Bool {
        let time = SystemTimeSource()
        let end = time.now.advanced(by: .seconds(10))
        while process.isRunning {
            guard time.now < end else { return false }
            try await time.sleep(for: .milliseconds(3))
        }
        return true
    }
}
