import Foundation
import ProcessTestSupport
import Testing

/// `parley registry` as its users run it: the guide's curl commands and dig against the built command.
@Suite(.timeLimit(.minutes(3))) struct RegistryCommandTests {
    private static func folder() throws -> String {
        let path = NSTemporaryDirectory() + "parley-registry-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    /// The command, listening.
    private struct Running {
        var process: RunningProcess
        var http: String
        var dns: String

        init(_ data: String, _ arguments: [String] = [], _ environment: [String: String] = [:]) async throws {
            let words = ["registry", "--http-port", "0", "--dns-port", "0", "--data", data, "--json"] + arguments
            self.process = try RunningProcess(binary, words, environment)
            let line = try await self.process.firstLine()
            let text = try #require(line, "\(self.process.error)")
            let addresses = try JSONDecoder().decode([String: String].self, from: Data(text.utf8))
            self.http = try #require(addresses["http"])
            self.dns = try #require(addresses["dns"])
        }

        func curl(_ path: String, _ arguments: String...) async throws -> String {
            let words = ["-sS", "-w", "\n%{http_code}", self.http + path] + arguments
            let answer = try await Subprocess.run("curl", words)
            try #require(answer.status == 0, "\(answer.error)")
            return answer.output
        }

        func dig(_ words: String...) async throws -> [String] {
            let port = self.dns.split(separator: ":").last.map(String.init) ?? ""
            let answer = try await Subprocess.run("dig", ["@127.0.0.1", "-p", port, "+short"] + words)
            try #require(answer.status == 0, "\(answer.output)\(answer.error)")
            return answer.output.split(separator: "\n").map(String.init)
        }
    }

    /// Word for word, but for the address of the check: nothing listens at the guide's.
    private static let guide = """
        {
        "ID": "user-service-1",
        "Name": "user-service",
        "Address": "192.168.1.10",
        "Port": 8080,
        "Tags": ["v1", "production"],
        "Check": {
        "HTTP": "CHECK",
        "Interval": "1s",
        "Timeout": "5s"
        }
        }
        """

    @Test func theGuidesCommandsWorkAndOutliveAKill() async throws {
        let data = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: data) }
        let first = try await Running(data)
        // The registry's own answer stands for a healthy service.
        let body = Self.guide.replacing("CHECK", with: first.http + "/v1/status/leader")
        let json = ["-X", "PUT", "-H", "Content-Type: application/json", "-d", body]
        let registered = try await first.curl(
            "/v1/agent/service/register",
            json[0],
            json[1],
            json[2],
            json[3],
            json[4],
            json[5]
        )
        #expect(registered == "\n200")
        #expect(
            try await isEventually {
                try await first.curl("/v1/health/service/user-service?passing=true").contains("192.168.1.10")
            }
        )
        #expect(try await first.dig("user-service.service.consul") == ["192.168.1.10"])
        #expect(try await first.dig("production.user-service.service.consul") == ["192.168.1.10"])
        #expect(
            try await first.dig("user-service.service.consul", "SRV") == ["1 1 8080 c0a8010a.addr.dc1.consul."]
        )
        #expect(try await first.dig("nobody.service.consul").isEmpty)
        _ = try await first.curl("/v1/kv/a/b", "-X", "PUT", "-d", "value")
        await first.process.killNow()
        let second = try await Running(data)
        let kept = try await second.curl("/v1/agent/services")
        #expect(kept.contains("user-service-1") && kept.contains("production"))
        #expect(try await second.curl("/v1/kv/a/b?raw") == "value\n200")
        // What it asked is gone with the first one's port, and that is found out.
        #expect(
            try await isEventually {
                try await second.curl("/v1/health/service/user-service?passing=true").hasPrefix("[]")
            }
        )
        #expect(try await second.dig("user-service.service.consul").isEmpty)
        _ = try await second.curl("/v1/agent/service/deregister/user-service-1", "-X", "PUT")
        #expect(try await second.curl("/v1/agent/services").hasPrefix("{}"))
        second.process.signal(SIGTERM)
        #expect(await second.process.exit() == 0)
    }

    @Test func aTokenIsAskedForAndNotShown() async throws {
        let data = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: data) }
        let running = try await Running(data, ["--memory"], ["CONSUL_HTTP_TOKEN": "s3cret-token"])
        #expect(try await running.curl("/v1/agent/services").hasSuffix("403"))
        #expect(try await running.curl("/v1/agent/services", "-H", "X-Consul-Token: wrong").hasSuffix("403"))
        #expect(try await running.curl("/v1/agent/services", "-H", "X-Consul-Token: s3cret-token").hasSuffix("200"))
        #expect(!FileManager.default.fileExists(atPath: data + "/registry.db"))
        running.process.signal(SIGINT)
        #expect(await running.process.exit() == 0)
        #expect(!running.process.error.contains("s3cret-token"))
    }

    @Test func whatCannotWorkIsSaidInOneLine() async throws {
        let data = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: data) }
        let port = try await parley(["registry", "--http-port", "70000"])
        #expect(port.status == 64 && port.error.contains("--http-port"))
        let running = try await Running(data)
        let taken = running.http.split(separator: ":").last.map(String.init) ?? ""
        let second = try await parley(["registry", "--http-port", taken, "--dns-port", "0", "--data", data + "/other"])
        #expect(second.status == 1 && second.error.contains(taken), "\(second.error)")
        #expect(second.error.split(separator: "\n").count == 1, "\(second.error)")
        let names = running.dns.split(separator: ":").last.map(String.init) ?? ""
        let third = try await parley(["registry", "--http-port", "0", "--dns-port", names, "--data", data + "/third"])
        #expect(third.status == 1 && third.error.contains(names), "\(third.error)")
        _ = FileManager.default.createFile(atPath: data + "/file", contents: nil)
        let folder = try await parley(["registry", "--http-port", "0", "--dns-port", "0", "--data", data + "/file/x"])
        #expect(folder.status == 1 && folder.error.contains("file"), "\(folder.error)")
        await running.process.killNow()
    }

    @Test func theHelpHasExamples() async throws {
        let help = try await parley(["registry", "--help"])
        #expect(help.status == 0 && help.output.contains("EXAMPLES") && help.output.contains("dig @127.0.0.1"))
    }
}
