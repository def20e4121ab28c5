import Foundation
import HTTPTestSupport
import Logging
import ParleyCore
import ServiceLifecycle
import Synchronization
import Testing

@testable import ParleyGateway

/// One file of nginx's language, in memory.
struct ConfigurationText: NginxFiles {
    var text: String

    func contents(of path: String, limit: Int) throws(NginxFileError) -> [UInt8] { Array(self.text.utf8) }
    func matches(of pattern: String, limit: Int) throws(NginxFileError) -> [String] { [] }
}

/// What the text says, with two event loops, and with each socket on a port that the system chooses.
func model(_ text: String) throws -> GatewayModel {
    var (model, _) = try NginxConfiguration.read(path: "test.conf", files: ConfigurationText(text: text))
    model.workers = 2
    for server in model.servers.indices {
        for listen in model.servers[server].listens.indices {
            model.servers[server].listens[listen].host = "127.0.0.1"
            model.servers[server].listens[listen].port = 0
        }
    }
    return model
}

struct RunningGateway: Sendable {
    let runtime: GatewayRuntime
    let endpoint: Endpoint
    let group: ServiceGroup
}

func withRuntime<Value>(
    _ model: GatewayModel,
    options: GatewayRuntime.Options = .init(),
    _ body: (RunningGateway) async throws -> Value
) async throws -> Value {
    let runtime = try GatewayRuntime(model: model, options: options, logger: testLogger)
    return try await withRunning(runtime) { group in
        let address = try #require(try await runtime.listeningAddresses().first)
        let port = try #require(address.split(separator: ":").last.flatMap { Int($0) })
        return try await body(
            RunningGateway(runtime: runtime, endpoint: Endpoint(host: "127.0.0.1", port: port), group: group)
        )
    }
}

/// Waits for what is about to be so; ended by the test's time limit.
func eventually(_ condition: () async throws -> Bool) async throws {
    let time = SystemTimeSource()
    while try await !condition() { try await time.sleep(for: .milliseconds(5)) }
}

/// How many descriptors of this process are a file.
func descriptors(of path: String) throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count { descriptor in
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(descriptor)")) == path
    }
}

/// How many connections have this port of the loopback at this process's or at the other end, but for those that only
/// the system still remembers.
func connections(to port: Int) throws -> Int {
    let wanted = ":" + String(port, radix: 16, uppercase: true).leftPadded(to: 4)
    let table = try String(contentsOfFile: "/proc/self/net/tcp", encoding: .utf8)
    return table.split(separator: "\n").dropFirst().count { line in
        let words = line.split(separator: " ")
        guard words.count > 9, words[3] != "0A", words[9] != "0" else { return false }
        return words[1].hasSuffix(wanted) || words[2].hasSuffix(wanted)
    }
}

extension String {
    fileprivate func leftPadded(to count: Int) -> String {
        String(repeating: "0", count: max(0, count - self.count)) + self
    }
}
