internal import ArgumentParser
internal import ParleyOps

/// The guide's "check stream health".
struct Streams: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show each stream and its consumer groups: what is pending, what was not read yet.",
        discussion: """
            EXAMPLES
              parley streams --bus redis://localhost:6379
              parley streams --watch
              parley streams --bus redis://:secret@localhost --json

            What XLEN, XINFO GROUPS and XPENDING say, in one table. The embedded bus is one stream, named 'bus'. \
            LAG '-' is what the server does not know (null in JSON): Redis forgets it at a restart.
            """
    )
    @OptionGroup var options: BusOptions
    @OptionGroup var watching: WatchOptions

    func run() async throws {
        let (options, watching) = (self.options, self.watching)
        try await options.withInspector { inspector in
            try await watching.run(asJSON: options.json, { try await inspector.streams() }, BusText.streams)
        }
    }
}

/// The guide's `XPENDING order-events notification-service - + 10`.
struct Pending: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what a consumer group was given and has not done.",
        discussion: """
            EXAMPLES
              parley pending order-events notification-service --bus redis://localhost:6379
              parley pending bus notification-service --limit 1000 --json

            DELIVERIES is how often a handler was given the message. IDLE is the time since its consumer was last \
            heard of: while that one lives, it stays below the group's lease. 'parley.parked' holds what waits for a \
            later try, 'parley.released' what was given back and is taken by whoever looks next.
            """
    )
    @Argument(help: "The stream's key; 'bus' on the embedded bus.") var stream: String
    @Argument(help: "The consumer group.") var group: String
    @Option(help: "At most so many, 1 to 10000.") var limit = 100
    @OptionGroup var options: BusOptions
    @OptionGroup var watching: WatchOptions

    func validate() throws {
        guard (1...10_000).contains(self.limit) else { throw ValidationError("--limit must be 1 to 10000") }
    }

    func run() async throws {
        let (options, watching, stream, group, limit) = (
            self.options, self.watching, self.stream, self.group, self.limit
        )
        try await options.withInspector { inspector in
            try await watching.run(
                asJSON: options.json,
                { try await inspector.pending(stream: stream, group: group, limit: limit) },
                BusText.pending
            )
        }
    }
}
