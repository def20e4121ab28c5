import Foundation
import ParleyCore
import ProcessTestSupport
import Testing

extension ChaosTests {
    @Suite struct Disks {
        private static let configuration = """
            gateway:
              listen: 127.0.0.1:0
              routes: [{path: /, return: {status: 200, text: here}}]
            """

        private func isServing(_ gateway: ChaosGateway) throws {
            for _ in 0..<200 { #expect(try Client.get("/", at: gateway.port).text == "here") }
        }

        /// Each write fails with "no space left on device".
        @Test func aFullDiskUnderTheLogStopsNoRequest() async throws {
            try await ChaosGateway.with(Self.configuration, options: ["--access-log", "/dev/full"]) { gateway in
                let before = try gateway.residentKilobytes
                try self.isServing(gateway)
                let load = Load(gateway.port, clients: 4)
                try await load.answers(3_000)
                #expect(try await load.stop().failed == 0)
                #expect(try gateway.residentKilobytes - before < 30_000)
                let isSaid = try await isEventually { gateway.process.error.contains("/dev/full") }
                #expect(isSaid, "what is lost must be said: \(gateway.process.error)")
                // Once, or now and then; not for each line.
                #expect(gateway.process.error.split(separator: "\n").count < 50)
            }
        }

        /// A limit on the size of files, whose signal ends a process that does not expect it. There is room again after
        /// the file was moved away.
        @Test func aLimitOnFileSizesStopsNoRequest() async throws {
            let folder = try ChaosFolder()
            let log = folder.file("access.log")
            let shell = "ulimit -f 8"
            try await ChaosGateway.with(
                Self.configuration,
                options: ["--access-log", log],
                shell: shell,
                folder: folder
            ) { gateway in
                try self.isServing(gateway)
                let isFull = try await isEventually {
                    try self.isServing(gateway)
                    return gateway.process.error.contains("access.log")
                }
                #expect(isFull, "what is lost must be said: \(gateway.process.error)")
                try FileManager.default.moveItem(atPath: log, toPath: log + ".1")
                gateway.process.signal(SIGUSR1)
                let goesOn = try await isEventually {
                    try self.isServing(gateway)
                    return (try? String(contentsOfFile: log, encoding: .utf8))?.contains("GET") ?? false
                }
                #expect(goesOn)
            }
        }

        /// What a command prints may have no place to go. The gateway itself works on; one whose work is the text fails.
        @Test func aFullDiskUnderTheCommandIsSaid() async throws {
            let folder = try ChaosFolder()
            let port = try Listener.freePort()
            let configuration = Self.configuration.replacingOccurrences(of: "127.0.0.1:0", with: "127.0.0.1:\(port)")
            try folder.write(configuration, to: "parley.yaml")
            let words = [ChaosGateway.binary, "gateway", "run", "--config", folder.file("parley.yaml")]
            let silent = try RunningProcess(
                "/bin/sh",
                ["-c", "exec \"$0\" \"$@\" > /dev/full 2> /dev/full"] + words + ["--admin", "off", "--workers", "2"]
            )
            func says(_ text: String) async throws -> Bool {
                try await isEventually { (try? Client.get("/", at: port))?.text == text || !silent.isRunning }
            }
            #expect(try await says("here") && silent.isRunning)
            // A reload says that it is in force, and a broken one what is wrong: to nobody.
            let other = configuration.replacingOccurrences(of: "here", with: "there")
            for (text, answer) in [("gateway: [", "here"), (other, "there")] {
                try folder.write(text, to: "parley.yaml")
                silent.signal(SIGHUP)
                #expect(try await says(answer) && silent.isRunning)
            }
            silent.signal(SIGTERM)
            #expect(await silent.exit() == 0)
            try folder.write("server { listen 8080; location / { return 200 a; } }", to: "nginx.conf")
            let convert = try await Subprocess.run(
                "/bin/sh",
                ["-c", "exec \"$0\" \"$@\" > /dev/full", ChaosGateway.binary, "gateway", "convert"]
                    + ["--nginx", folder.file("nginx.conf")]
            )
            #expect(convert.status != 0)
            #expect(convert.error.lowercased().contains("space"), "\(convert.error)")
        }
    }
}
