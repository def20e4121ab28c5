internal import ArgumentParser
internal import Foundation
internal import ParleyGateway
internal import ParleyOps

struct GatewayTest: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "test",
        abstract: "Check a configuration, as nginx -t does.",
        discussion: """
            EXAMPLES
              parley gateway test --nginx /etc/nginx/nginx.conf
              parley gateway test --config parley.yaml && parley gateway reload

            Each error is one line, file:line:column: what is wrong (what would be right). The status is 0 when there \
            is none, else 1. Certificates and regular expressions are read and hosts of upstreams resolved, too; \
            nothing listens.
            """
    )

    @OptionGroup var source: GatewaySourceOptions
    @Flag(help: "Print JSON.") var json = false

    private struct Summary: Encodable {
        var file: String
        var servers: Int
        var locations: Int
        var upstreams: Int
    }

    func run() async throws {
        try await Console.reporting {
            let model = try self.source.source.read()
            try await GatewayRuntime.check(model, logger: Console.logger)
            let summary = Summary(
                file: self.source.source.path,
                servers: model.servers.count,
                locations: model.servers.reduce(0) { $0 + Self.count($1.locations) },
                upstreams: model.upstreams.count
            )
            if self.json { return try Console.json(summary) }
            Console.out(
                "\(summary.file): the configuration is valid (servers: \(summary.servers), locations: "
                    + "\(summary.locations), upstreams: \(summary.upstreams))"
            )
        }
    }

    private static func count(_ locations: [LocationModel]) -> Int {
        locations.reduce(0) { $0 + 1 + Self.count($1.locations) }
    }
}

struct GatewayConvert: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "convert",
        abstract: "Write nginx's configuration as parley.yaml.",
        discussion: """
            EXAMPLES
              parley gateway convert --nginx nginx.conf
              parley gateway convert --nginx nginx.conf -o parley.yaml

            The file means the same: what is not as a file of YAML has it by default is written out. It is read back \
            and compared before it is printed.
            """
    )

    @Option(
        help: ArgumentHelp("A file in nginx's language.", valueName: "path"),
        completion: .file()
    )
    var nginx: String

    @Option(name: [.short, .long], help: ArgumentHelp("Where to write; default: standard output.", valueName: "path"))
    var output: String?

    @Flag(help: "Write over a file that is there.") var force = false

    func run() async throws {
        try await Console.reporting {
            let text = try GatewayYAML.write(GatewaySource.nginx(self.nginx).read())
            guard let output else {
                // The text ends its last line itself.
                return Console.out(text.hasSuffix("\n") ? String(text.dropLast()) : text)
            }
            guard self.force || !FileManager.default.fileExists(atPath: output) else {
                throw ValidationError("\(output) is there already: choose another name, or say --force")
            }
            try Data(text.utf8).write(to: URL(fileURLWithPath: output), options: .atomic)
        }
    }
}

struct GatewayReplay: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Say which recorded requests a configuration would answer differently.",
        discussion: """
            EXAMPLES
              parley gateway replay --log access.log --nginx new.conf --against old.conf
              parley gateway replay --log access.json --config new.yaml
              zcat access.log.*.gz | parley gateway replay --log - --config new.yaml --against old.conf

            The log is the gateway's JSON or nginx's combined. Nothing is sent: compared are virtual server, location, \
            upstream, rewritten path, what the gateway itself answers (return, deny, redirects, nothing there), and \
            limit_req by the times of the log. Without --against, what the gateway itself would answer is compared \
            with the status in the log. The status is 0 when nothing differs, else 2.
            """
    )

    @Option(help: ArgumentHelp("The access log; - is standard input.", valueName: "path"), completion: .file())
    var log: String

    @OptionGroup var source: GatewaySourceOptions

    @Option(
        help: ArgumentHelp("The old configuration: YAML when it ends in .yaml, else nginx's.", valueName: "path"),
        completion: .file()
    )
    var against: String?

    @Flag(help: "Print JSON.") var json = false

    func run() async throws {
        try await Console.reporting {
            let new = try await RoutePlanner(model: self.source.source.read(), logger: Console.logger)
            var before: ((ReplayRequest) -> ReplayOutcome)?
            if let against {
                let old = try await RoutePlanner(model: GatewaySource(path: against).read(), logger: Console.logger)
                before = { old.outcome(of: $0) }
            }
            var replay = Replay(plan: { new.outcome(of: $0) }, before: before)
            try Self.lines(of: self.log) { replay.add($0) }
            let report = replay.report
            if self.json {
                try Console.json(report)
            } else {
                Console.out(GatewayText.replay(report, Console.style))
            }
            if report.differences > 0 { throw ExitCode(2) }
        }
    }

    /// Line by line: a log may be larger than the memory.
    private static func lines(of path: String, _ body: (String) -> Void) throws {
        let file: FileHandle
        if path == "-" {
            file = .standardInput
        } else {
            guard let handle = FileHandle(forReadingAtPath: path) else {
                throw ValidationError("\(path) cannot be read: is it there, and may you?")
            }
            file = handle
        }
        var rest: [UInt8] = []
        while let data = try file.read(upToCount: 1 << 20), !data.isEmpty {
            rest += data
            var start = rest.startIndex
            while let end = rest[start...].firstIndex(of: UInt8(ascii: "\n")) {
                body(String(decoding: rest[start..<end], as: UTF8.self))
                start = end + 1
            }
            rest.removeFirst(start)
            // A file without line ends is no log.
            if rest.count > ReplayLog.maxLineBytes { rest = [UInt8(ascii: "?")] }
        }
        if !rest.isEmpty { body(String(decoding: rest, as: UTF8.self)) }
    }
}
