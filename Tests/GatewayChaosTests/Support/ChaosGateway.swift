internal import Foundation
internal import ParleyCore
internal import ProcessTestSupport
internal import Testing

/// A `parley gateway run` with a configuration of its own, in a folder of its own, whose limits on open files are as high
/// as the machine allows.
final class ChaosGateway: Sendable {
    static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().path

    static var binary: String {
        ProcessInfo.processInfo.environment["PARLEY_BINARY"] ?? Self.root + "/.build/debug/parley"
    }

    /// As many as the system lets a process have, here and in what is started from here.
    static let descriptorLimit: Int = {
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        limit.rlim_cur = min(limit.rlim_max, 65_536)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return Int(limit.rlim_cur)
    }()

    let process: RunningProcess
    let port: Int
    let admin: Int
    let folder: ChaosFolder

    private init(process: RunningProcess, port: Int, admin: Int, folder: ChaosFolder) {
        self.process = process
        self.port = port
        self.admin = admin
        self.folder = folder
    }

    /// - Parameters:
    ///   - configuration: The section `gateway` of parley.yaml; its first socket is ``port``.
    ///   - shell: What a shell does before it becomes the gateway: `ulimit -f 8`.
    static func with<Value>(
        _ configuration: String,
        options: [String] = [],
        shell: String? = nil,
        folder: ChaosFolder? = nil,
        _ body: (ChaosGateway) async throws -> Value
    ) async throws -> Value {
        let gateway = try await Self.start(configuration, options: options, shell: shell, folder: folder)
        let value = try await body(gateway)
        gateway.process.signal(SIGTERM)
        let status = await gateway.process.exit()
        #expect(status == 0, "\(gateway.process.error)")
        return value
    }

    static func start(
        _ configuration: String,
        options: [String] = [],
        shell: String? = nil,
        folder: ChaosFolder? = nil
    ) async throws -> ChaosGateway {
        _ = Self.descriptorLimit
        let folder = try folder ?? ChaosFolder()
        try folder.write(configuration, to: "parley.yaml")
        let arguments = [
            "gateway", "run", "--config", folder.file("parley.yaml"), "--admin", "127.0.0.1:0", "--workers", "2",
            "--json", "--grace-period", "5",
        ]
        let words = [Self.binary] + arguments + options
        let process =
            if let shell {
                try RunningProcess("/bin/sh", ["-c", shell + " && exec \"$0\" \"$@\""] + words)
            } else {
                try RunningProcess(words[0], Array(words.dropFirst()))
            }
        let ports = try await Self.ports(of: process)
        return ChaosGateway(process: process, port: ports.listening, admin: ports.admin, folder: folder)
    }

    private static func ports(of process: RunningProcess) async throws -> (listening: Int, admin: Int) {
        var ports: [String: Int] = [:]
        _ = try await isEventually {
            for line in process.output.split(separator: "\n") {
                let said = try? JSONDecoder().decode([String: String].self, from: Data(line.utf8))
                for (what, address) in said ?? [:] where ports[what] == nil {
                    ports[what] = address.split(separator: ":").last.flatMap { Int($0) }
                }
            }
            return ports.count == 2 || !process.isRunning
        }
        guard let listening = ports["listening"], let admin = ports["admin"] else {
            throw TestSupportError("the gateway does not start: \(process.error)")
        }
        return (listening, admin)
    }

    // MARK: - What it says about itself

    func status() throws -> [String: Any] {
        let answer = try Client.get("/status", at: self.admin)
        guard answer.status == 200 else { throw TestSupportError("/status: \(answer.status) \(answer.text)") }
        return try #require(try JSONSerialization.jsonObject(with: Data(answer.body)) as? [String: Any])
    }

    var generation: Int {
        get throws { try self.status()["generation"] as? Int ?? 0 }
    }

    var connections: Int {
        get throws { try self.status()["connections"] as? Int ?? 0 }
    }

    /// Puts another configuration in force.
    func reload(_ configuration: String) async throws {
        let before = try self.generation
        try self.folder.write(configuration, to: "parley.yaml")
        self.process.signal(SIGHUP)
        let isThere = try await isEventually { try self.generation > before }
        #expect(isThere, "\(self.process.error)")
    }

    // MARK: - What the system says about it

    var descriptors: Int {
        get throws { try FileManager.default.contentsOfDirectory(atPath: "/proc/\(self.process.id)/fd").count }
    }

    var residentKilobytes: Int {
        get throws {
            let text = try String(contentsOfFile: "/proc/\(self.process.id)/status", encoding: .utf8)
            let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
            return try #require(line?.split(separator: " ").dropFirst().first.flatMap { Int($0) })
        }
    }

    /// Nothing that the test has opened is still open.
    func returns(to descriptors: Int) async throws {
        let hasReturned = try await isEventually { try self.descriptors <= descriptors }
        let now = try self.descriptors
        #expect(hasReturned, "\(now) descriptors, \(descriptors) before")
    }
}

/// A folder that goes with its last reference.
final class ChaosFolder: Sendable {
    let path = NSTemporaryDirectory() + "parley-chaos-\(UUID().uuidString)"

    init() throws { try FileManager.default.createDirectory(atPath: self.path, withIntermediateDirectories: true) }

    deinit { try? FileManager.default.removeItem(atPath: self.path) }

    func file(_ name: String) -> String { self.path + "/" + name }

    func write(_ text: String, to name: String) throws {
        try text.write(toFile: self.file(name), atomically: true, encoding: .utf8)
    }
}
