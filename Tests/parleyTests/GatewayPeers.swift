import Foundation
import ParleyCore
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// `parley gateway run` in a process of its own, with HTTP/2 in the clear and over TLS.
struct ServingGateway: Sendable {
    let process: RunningProcess
    let plain: Int
    let secure: Int
    /// Its own, with `ca.pem`; gone with it.
    let folder: String

    enum Language: String, Sendable, CaseIterable { case yaml, nginx }

    /// - Parameter parts: what stands below `gateway:`, or within `http { … }` beside the sockets: `{listen}` is where
    ///   they go.
    static func with(
        _ language: Language = .yaml,
        _ parts: String,
        _ body: (ServingGateway) async throws -> Void
    ) async throws {
        let folder = NSTemporaryDirectory() + "parley-gateway-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let made = try await Subprocess.run(RabbitMQServer.root + "/dev/servers/certificates", [folder])
        guard made.status == 0 else { throw TestSupportError(made.error) }
        let text: String
        switch language {
        case .yaml:
            text = """
                gateway:
                  listen: [{address: "127.0.0.1:0", http2: true}, {address: "127.0.0.1:0", tls: true, http2: true}]
                  tls: {certificate: \(folder)/server.pem, key: \(folder)/server.key}

                """ + parts.split(separator: "\n").map { "  \($0)\n" }.joined()
        case .nginx:
            let listen = """
                listen 127.0.0.1:\(try freePort()) http2;
                listen 127.0.0.1:\(try freePort()) ssl http2;
                ssl_certificate \(folder)/server.pem;
                ssl_certificate_key \(folder)/server.key;
                """
            text = parts.replacingOccurrences(of: "{listen}", with: listen)
        }
        let file = folder + "/gateway.\(language.rawValue)"
        try text.write(toFile: file, atomically: true, encoding: .utf8)
        let option = language == .yaml ? "--config" : "--nginx"
        let process = try RunningProcess(
            binary,
            ["gateway", "run", option, file, "--admin", "off", "--workers", "2", "--json"]
        )
        var ports: [String: Int] = [:]
        let time = SystemTimeSource()
        while ports.count < 2, process.isRunning {
            for line in process.output.split(separator: "\n") {
                let said = try? JSONDecoder().decode([String: String].self, from: Data(line.utf8))
                guard let address = said?["listening"], let url = URL(string: address) else { continue }
                ports[url.scheme ?? ""] = url.port
            }
            try await time.sleep(for: .milliseconds(10))
        }
        let plain = try #require(ports["http"], "\(process.error)")
        let secure = try #require(ports["https"], "\(process.error)")
        try await body(ServingGateway(process: process, plain: plain, secure: secure, folder: folder))
        process.signal(SIGTERM)
        let status = await process.exit()
        #expect(status == 0, "\(process.error)")
    }

    /// Of the system's choice; whoever is quicker may take it away.
    private static func freePort() throws -> Int {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, size) == 0 ? getsockname(descriptor, $0, &size) : -1
            }
        }
        guard result == 0 else { throw TestSupportError("a free port: \(errno)") }
        return Int(UInt16(bigEndian: address.sin_port))
    }
}

/// Clients and servers that others wrote, in Python.
enum GatewayPeer {
    private static let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().path + "/Peer/peer.py"

    /// With Google's gRPC, in C++ below Python.
    private static func withGRPC() async throws -> [String: String] {
        let packages = try await Subprocess.run(RabbitMQServer.root + "/dev/servers/grpc-peer", [])
        guard packages.status == 0 else { throw TestSupportError(packages.error) }
        return ["PYTHONPATH": packages.output.trimmingCharacters(in: .whitespacesAndNewlines)]
    }

    /// A server, and the port that it listens on.
    static func serving(_ command: String) async throws -> (process: RunningProcess, port: Int) {
        let environment = command == "http" ? [:] : try await Self.withGRPC()
        let process = try RunningProcess("python3", [Self.script, command], environment)
        let line = try await process.firstLine()
        return (process, try #require(line.flatMap { Int($0) }, "\(process.error)"))
    }

    static func calls(_ arguments: String...) async throws -> Subprocess.Answer {
        let environment = try await Self.withGRPC()
        return try await Subprocess.run("python3", [Self.script, "grpc-client"] + arguments, environment)
    }
}
