import ArgumentParser
import Foundation
import Logging
import ParleyCore

@main
struct ParleyBench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure the durable bus and the saga coordinator on this machine's disk.",
        discussion: "Everything is durable (WAL, synchronous=FULL): what is counted has been synced to disk."
    )

    @Option(help: "Seconds for each row.") var seconds = 5.0
    @Option(help: "Folder for the databases; its disk is what is measured.") var folder = "."
    @Option(help: "Only rows whose name contains this.") var only: String?
    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        let folder = "\(self.folder)/parley-bench-\(ProcessInfo.processInfo.processIdentifier)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        var logger = Logger(label: "bench") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .warning
        let bench = Bench(folder: folder, duration: .seconds(self.seconds), only: self.only, logger: logger)
        let rows = try await bench.all { name in
            FileHandle.standardError.write(Data("  \(name) …\n".utf8))
        }
        if self.json {
            let objects = rows.map { row in
                """
                {"name":"\(row.name)","per_second":\(Int(row.perSecond)),"p50_ms":\(row.p50.milliseconds),\
                "p99_ms":\(row.p99.milliseconds)}
                """
            }
            print("[\(objects.joined(separator: ","))]")
        } else {
            printTable([Row.header] + rows.map(\.columns))
        }
    }
}
