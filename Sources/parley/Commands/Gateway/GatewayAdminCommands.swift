internal import ArgumentParser
internal import ParleyGateway
internal import ParleyOps

struct GatewayReload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "reload",
        abstract: "Have a running gateway read its configuration anew.",
        discussion: """
            EXAMPLES
              parley gateway reload
              parley gateway reload --admin http://127.0.0.1:9902

            The new configuration is checked first, and takes over as a whole: connections and requests go on. When it \
            is wrong, the errors are printed, and the old one stays.
            """
    )

    @OptionGroup var options: GatewayAdminOptions

    func run() async throws {
        try await Console.reporting {
            let answer = try await self.options.client.reload()
            if self.options.json { return try Console.json(answer) }
            Console.out("configuration \(answer.generation) is in force")
        }
    }
}

struct GatewayStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show a running gateway: its sockets, upstreams, instances and zones.",
        discussion: """
            EXAMPLES
              parley gateway status
              parley gateway status --json --admin http://127.0.0.1:9902
              curl http://127.0.0.1:9901/metrics
            """
    )

    @OptionGroup var options: GatewayAdminOptions

    func run() async throws {
        try await Console.reporting {
            let status = try await self.options.client.status()
            if self.options.json { return try Console.json(status) }
            Console.out(GatewayText.status(status, Console.style))
        }
    }
}

/// Why a request was answered as it was.
struct ExplainCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract: "Tell the story of a request that the gateway refused, failed or tried again.",
        discussion: """
            EXAMPLES
              parley explain                  the last ones
              parley explain 5f0c2a9e61b7…    one, by the X-Request-ID of its answer
              parley explain 5f0c2a9e61b7… --json --admin http://127.0.0.1:9902

            Kept are the last 1,000 requests that the gateway answered with an error of its own, or tried more than \
            once. docs/gateway/explain.md has the letters.
            """
    )

    @Argument(help: "The request's id.") var id: String?
    @Option(help: "Without an id: how many.") var last = 20
    @OptionGroup var options: GatewayAdminOptions

    func validate() throws {
        guard (1...GatewayAdmin.maxRecords).contains(self.last) else {
            throw ValidationError("--last must be 1 to \(GatewayAdmin.maxRecords)")
        }
    }

    func run() async throws {
        try await Console.reporting {
            guard let id else {
                let records = try await self.options.client.records(last: self.last)
                if self.options.json { return try Console.json(records) }
                return Console.out(GatewayText.records(records, Console.style))
            }
            let story = try await self.options.client.explain(id)
            if self.options.json { return try Console.json(story) }
            Console.out(story.explanation.text)
        }
    }
}
