internal import ArgumentParser
internal import Foundation
internal import ParleyCore
internal import ParleyOps

/// Which bus.
struct BusOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "sqlite:PATH, amqp://user:password@host/vhost or redis://host:port?stream=NAME; without it ./data/bus.db.",
            valueName: "url"
        )
    )
    var bus: String?

    @Option(
        help: ArgumentHelp(
            "RabbitMQ's management API; without it port 15672 of the bus's host. Without a user: the bus's.",
            valueName: "url"
        )
    )
    var management: String?

    @Flag(help: "Print JSON.") var json = false

    func validate() throws {
        if self.management != nil, self.bus?.hasPrefix("amqp") != true {
            throw ValidationError("--management goes with --bus amqp://…")
        }
    }

    func withInspector(_ body: @Sendable (any BusInspector) async throws -> Void) async throws {
        try await Console.reporting {
            let address = try BusAddress(bus: self.bus, management: self.management)
            try await address.withInspector(logger: Console.logger, body)
        }
    }
}

/// Showing once, or again and again.
struct WatchOptions: ParsableArguments {
    @Flag(name: [.short, .long], help: "Show it again and again, until Ctrl-C.") var watch = false
    @Option(help: ArgumentHelp("With --watch: seconds between two looks.", valueName: "seconds")) var interval = 2.0

    func validate() throws {
        guard self.interval >= 0.1, self.interval <= 3_600 else {
            throw ValidationError("--interval must be 0.1 to 3600 seconds")
        }
    }

    /// - Parameter show: What to print: for a script, or for a person.
    func run<Row: Encodable>(
        asJSON: Bool,
        _ read: () async throws -> [Row],
        _ text: ([Row], Style) -> String
    ) async throws {
        func show() async throws {
            let rows = try await read()
            if asJSON { return try Console.json(rows, isPretty: !self.watch) }
            Console.out(text(rows, Console.style))
        }
        guard self.watch else { return try await show() }
        let time = SystemTimeSource()
        var wasSeen = false
        while Console.isHeard {
            // From the top of a cleared screen; a file gets one look below the other.
            if Console.isTerminal, !asJSON { Console.out("\u{1B}[H\u{1B}[2J\(time.wallTime)\n") }
            do {
                try await show()
                wasSeen = true
            } catch {
                // A broker that restarts comes back; one that was never seen may be the wrong one.
                guard wasSeen, !(error is CancellationError) else { throw error }
                Console.error("parley: \(error)")
            }
            try await time.sleep(for: .milliseconds(Int64(self.interval * 1_000)))
        }
    }
}

/// The guide's "check queue depth".
struct Queues: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show each queue: its messages, who takes them, how fast, how old.",
        discussion: """
            EXAMPLES
              parley queues
              parley queues --watch
              parley queues --bus amqp://myapp:secretpassword@localhost/myapp-vhost --json

            '-' is what the backend does not know (null in JSON). RabbitMQ's numbers are statistics and lag by up to \
            five seconds. On the embedded bus, consumers are those that hold messages at the moment.
            """
    )
    @OptionGroup var options: BusOptions
    @OptionGroup var watching: WatchOptions

    func run() async throws {
        try await self.options.withInspector { inspector in
            try await self.watching.run(asJSON: self.options.json, { try await inspector.queues() }, BusText.queues)
        }
    }
}

/// The guide's "check consumer is connected".
struct Consumers: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show who consumes from which queue.",
        discussion: """
            EXAMPLES
              parley consumers
              parley consumers --bus amqp://myapp:secretpassword@localhost/myapp-vhost --watch

            The embedded bus knows those that hold messages at the moment, each by its lease; one whose lease is over \
            (active: no) has died, and its messages go to the next that asks.
            """
    )
    @OptionGroup var options: BusOptions
    @OptionGroup var watching: WatchOptions

    func run() async throws {
        try await self.options.withInspector { inspector in
            try await self.watching.run(
                asJSON: self.options.json,
                { try await inspector.consumers() },
                BusText.consumers
            )
        }
    }
}
