import Foundation
import ParleyGateway
import Testing

/// The real files: what `NginxDiskFiles` reads and finds.
@Suite struct NginxFilesTests {
    private func inFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.path + "/parley-nginx-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder + "/conf.d", withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    private func write(_ text: String, _ path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    @Test func aConfigurationOfSeveralFiles() throws {
        try self.inFolder { folder in
            try self.write("events { } http { include conf.d/*.conf; }", folder + "/nginx.conf")
            try self.write("upstream b { server 127.0.0.1:1; }", folder + "/conf.d/b.conf")
            try self.write("upstream a { server 127.0.0.1:1; }", folder + "/conf.d/a.conf")
            try self.write("this is not read", folder + "/conf.d/c.txt")
            let (model, _) = try NginxConfiguration.read(path: folder + "/nginx.conf")
            #expect(model.upstreams.map(\.name) == ["a", "b"])
        }
    }

    @Test func filesThatCannotBeRead() throws {
        try self.inFolder { folder in
            let files = NginxDiskFiles()
            #expect(throws: NginxFileError("open() \"\(folder)/none\" failed (2: No such file or directory)")) {
                try files.contents(of: folder + "/none", limit: 10)
            }
            #expect(throws: NginxFileError.self) { try files.contents(of: folder, limit: 10) }
            try self.write("0123456789", folder + "/a")
            #expect(try files.contents(of: folder + "/a", limit: 10).count == 10)
            #expect(throws: NginxFileError.self) { try files.contents(of: folder + "/a", limit: 9) }
            #expect(try files.matches(of: folder + "/none/*", limit: 10) == [])
            try self.write("", folder + "/b")
            #expect(try files.matches(of: folder + "/[ab]", limit: 2) == [folder + "/a", folder + "/b"])
            #expect(throws: NginxFileError.self) { try files.matches(of: folder + "/?", limit: 1) }
        }
    }
}
