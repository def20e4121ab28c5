import Foundation
import ParleyCore
import ProcessTestSupport
import Testing

extension ChaosTests {
    @Suite struct Certificates {
        private func curl(_ gateway: ChaosGateway, _ options: [String], _ path: String) async throws -> String {
            let answer = try await Subprocess.run(
                "/usr/bin/env",
                ["curl", "--silent", "--insecure", "--output", "/dev/null", "--max-time", "60"] + options
                    + ["https://localhost:\(gateway.port)\(path)"]
            )
            #expect(answer.status == 0, "\(answer.status) \(answer.error)")
            return answer.output + answer.error
        }

        @Test func newOnesAreShownUnderLoadAndNoRequestFails() async throws {
            let folder = try ChaosFolder()
            for number in 0..<4 { try await Certificate.make(number, in: folder) }
            try Certificate.show(0, in: folder)
            let configuration = """
                gateway:
                  listen: {address: "127.0.0.1:0", tls: true, http2: true}
                  names: [localhost]
                  tls: {certificate: \(folder.file("server.pem")), key: \(folder.file("server.key"))}
                  keepalive_requests: 1000000
                  routes: [{path: /, return: {status: 200, text: here}}]
                """
            try await ChaosGateway.with(configuration, folder: folder) { gateway in
                // Two connections that last, one of each protocol, and one handshake after the other.
                let report = ["--write-out", "%{http_code} %{num_connects}\\n"]
                async let first = self.curl(gateway, ["--http1.1", "--rate", "100/s"] + report, "/[1-600]")
                async let second = self.curl(gateway, ["--http2", "--rate", "100/s"] + report, "/[1-600]")
                for round in 1...12 {
                    try Certificate.show(round % 4, in: folder)
                    try await gateway.reload(configuration)
                    let seen = try await self.curl(gateway, ["--verbose"], "/new")
                    #expect(seen.contains("CN=certificate-\(round % 4)"), "round \(round): \(seen)")
                    #expect(seen.contains("200"))
                }
                for lines in [try await first, try await second] {
                    let answers = lines.split(separator: "\n")
                    #expect(answers.count == 600)
                    #expect(answers.first == "200 1")
                    // The connection that was opened under the first certificate serves to the end.
                    #expect(answers.dropFirst().allSatisfy { $0 == "200 0" }, "\(Set(answers))")
                }
                // A key that is not the certificate's: the one in force stays, and it is said.
                try FileManager.default.removeItem(atPath: folder.file("server.key"))
                try FileManager.default.copyItem(atPath: folder.file("1.key"), toPath: folder.file("server.key"))
                gateway.process.signal(SIGHUP)
                let isSaid = try await isEventually { gateway.process.error.contains("still is") }
                #expect(isSaid, "\(gateway.process.error)")
                let seen = try await self.curl(gateway, ["--verbose"], "/new")
                #expect(seen.contains("CN=certificate-0"), "\(seen)")
            }
        }
    }
}
