import Foundation
import ParleyCore
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// `parley gateway` and `parley explain` as their users run them, as far as no gateway runs.
@Suite(.timeLimit(.minutes(3))) struct GatewayCommandTests {
    private static let example = RabbitMQServer.root + "/Examples/Gateway"

    private static func folder() throws -> String {
        let path = NSTemporaryDirectory() + "parley-gateway-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    @Test func theGuidesConfigurationBecomesYAMLThatIsValid() async throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let file = folder + "/out.yaml"
        let convert = ["gateway", "convert", "--nginx", Self.example + "/nginx.conf"]
        let printed = try await parley(convert)
        #expect(printed.status == 0, "\(printed.error)")
        #expect(printed.output.contains("rate: 200r/m"))
        #expect(printed.output.contains("access: [allow 10.0.0.0/8, deny all]"))
        let written = try await parley(convert + ["-o", file])
        #expect(written.status == 0, "\(written.error)")
        #expect(try String(contentsOfFile: file, encoding: .utf8) == printed.output)
        let again = try await parley(convert + ["-o", file])
        #expect(again.status != 0)
        #expect(again.error.contains("--force"))
    }

    @Test func theExampleIsValid() async throws {
        let test = ["gateway", "test", "--config", Self.example + "/parley.yaml", "--json"]
        let answer = try await parley(test)
        #expect(answer.status == 0, "\(answer.error)")
        let summary = try json(answer)
        #expect(summary["locations"] as? Int == 5)
        #expect(summary["upstreams"] as? Int == 4)
    }

    @Test func errorsHaveTheirPlaces() async throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try Data("gateway:\n  listen: 80\n  routs: []\n".utf8).write(to: URL(fileURLWithPath: folder + "/a.yaml"))
        try Data("server {\n  liste 80;\n}\n".utf8).write(to: URL(fileURLWithPath: folder + "/a.conf"))
        let yaml = try await parley(["gateway", "test", "--config", "a.yaml"], folder: folder)
        #expect(yaml.status == 1)
        #expect(yaml.error.hasPrefix("a.yaml:3:3: 'gateway' has no key 'routs' (did you mean 'routes'?)"))
        let nginx = try await parley(["gateway", "test", "--nginx", "a.conf"], folder: folder)
        #expect(nginx.status == 1)
        #expect(nginx.error.contains("a.conf:2:3: unknown directive \"liste\""), "\(nginx.error)")
        let missing = try await parley(["gateway", "test", "--config", "none.yaml"], folder: folder)
        #expect(missing.status == 1)
        #expect(missing.error.contains("none.yaml: there is no such file"))
    }

    @Test(arguments: [
        (["gateway", "test"], "--nginx FILE or --config"),
        (["gateway", "run", "--nginx", "a", "--config", "b"], "--nginx FILE or --config"),
        (["gateway", "run", "--nginx", "a", "--workers", "0"], "--workers must be"),
        (["gateway", "run", "--nginx", "a", "--admin", "9901x"], "--admin must be host:port"),
        (["explain", "--last", "0"], "--last must be"),
    ])
    func wrongOptionsAreSaid(words: [String], message: String) async throws {
        let answer = try await parley(words)
        #expect(answer.status == 64)
        #expect(answer.error.contains(message), "\(answer.error)")
    }

    @Test func helpHasExamples() async throws {
        for words in [
            ["gateway"], ["gateway", "run"], ["gateway", "test"], ["gateway", "convert"], ["gateway", "replay"],
            ["gateway", "reload"], ["gateway", "status"], ["explain"],
        ] {
            let answer = try await parley(words + ["--help"])
            #expect(answer.status == 0)
            #expect(answer.output.contains("EXAMPLES"), "\(words)")
        }
    }

    @Test func aGatewayThatIsNotThereIsSaid() async throws {
        // Port 1 is nobody's.
        for words in [["explain", "x"], ["gateway", "status"], ["gateway", "reload"]] {
            let answer = try await parley(words + ["--admin", "127.0.0.1:1"])
            #expect(answer.status == 1)
            #expect(answer.error.contains("no gateway answers at http://127.0.0.1:1"), "\(answer.error)")
        }
    }

    /// A configuration that has become wrong is refused, and the one in force stays.
    @Test func aRunningGatewayReloadsAndEnds() async throws {
        let folder = try Self.folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let file = folder + "/parley.yaml"
        let right = "gateway:\n  listen: 127.0.0.1:0\n  routes: [{path: /, return: 204}]\n"
        try Data(right.utf8).write(to: URL(fileURLWithPath: file))
        let running = try RunningProcess(
            binary,
            ["gateway", "run", "--config", file, "--admin", "127.0.0.1:0", "--json"]
        )
        // Its sockets may be said first.
        let time = SystemTimeSource()
        var admin: String?
        while admin == nil, running.isRunning {
            for line in running.output.split(separator: "\n") {
                admin = admin ?? (try? JSONDecoder().decode([String: String].self, from: Data(line.utf8)))?["admin"]
            }
            try await time.sleep(for: .milliseconds(10))
        }
        let address = try #require(admin, "\(running.error)")
        let status = try await parley(["gateway", "status", "--admin", address, "--json"])
        #expect(status.status == 0, "\(status.error)")
        #expect(try json(status)["generation"] as? Int == 1)
        #expect(try await parley(["gateway", "reload", "--admin", address]).status == 0)
        try Data("gateway:\n  listem: 1\n".utf8).write(to: URL(fileURLWithPath: file))
        let refused = try await parley(["gateway", "reload", "--admin", address])
        #expect(refused.status == 1)
        #expect(refused.error.contains("parley.yaml:2:3: 'gateway' has no key 'listem'"), "\(refused.error)")
        #expect(try await parley(["gateway", "status", "--admin", address]).status == 0)
        let missing = try await parley(["explain", "none", "--admin", address])
        #expect(missing.error.contains("There is no record"), "\(missing.error)")
        running.signal(SIGTERM)
        #expect(await running.exit() == 0, "\(running.error)")
    }
}
