internal import ArgumentParser
internal import Foundation
internal import ParleyOps
internal import ParleyRabbitMQ

/// The broker's set-up as a file.
struct RabbitMQ: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rabbitmq",
        abstract: "Keep a RabbitMQ broker as parley.yaml says: plan, apply, drift.",
        discussion: """
            EXAMPLES
              parley rabbitmq plan --file parley.yaml
              MYAPP_PASSWORD=secretpassword parley rabbitmq apply
              parley rabbitmq drift && echo "as it should be"

            It talks to the management API (rabbitmq-plugins enable rabbitmq_management) as an administrator: the \
            file's 'management', or --management http://user:password@host:15672.
            """,
        subcommands: [Plan.self, Apply.self, Drift.self]
    )

    struct Options: ParsableArguments {
        @Option(
            name: [.short, .long],
            help: ArgumentHelp("The file that says what there is to be.", valueName: "path"),
            completion: .file(extensions: ["yaml", "yml"])
        )
        var file = "parley.yaml"

        @Option(help: ArgumentHelp("The management API: http://user:password@host:15672.", valueName: "url"))
        var management: String?

        @Flag(help: "Print JSON.") var json = false

        @Flag(help: "Delete what is in the file's vhosts and not in the file.") var prune = false

        @Flag(help: "Delete and make again what cannot be changed: settings of exchanges and queues.")
        var replace = false

        @Flag(help: "With --replace or --prune: also queues that hold messages, which are lost.")
        var discardMessages = false

        var topologyOptions: TopologyPlan.Options {
            TopologyPlan.Options(replaces: self.replace, discardsMessages: self.discardMessages, prunes: self.prune)
        }

        func validate() throws {
            if self.discardMessages, !self.replace, !self.prune {
                throw ValidationError("--discard-messages goes with --replace or --prune")
            }
        }

        /// Reads the file, asks the broker for the difference, and hands both to `body`.
        func withPlan(_ body: (RabbitMQManagement, TopologyPlan) async throws -> Void) async throws {
            let environment = ProcessInfo.processInfo.environment
            let configuration = try SystemConfiguration(file: self.file, variables: environment)
            guard let section = configuration.rabbitMQ else {
                throw ValidationError("\(self.file) has no section 'rabbitmq:'; see docs/guide/rabbitmq.md")
            }
            let url = self.management ?? section.management ?? "http://guest:guest@localhost:15672"
            let management = try RabbitMQManagement(url: url)
            let result: Result<Void, any Error>
            do {
                let plan = try await management.plan(for: section.topology, options: self.topologyOptions)
                result = .success(try await body(management, plan))
            } catch {
                result = .failure(error)
            }
            await management.shutdown()
            try result.get()
        }

        func head(_ management: RabbitMQManagement) async throws -> String {
            let version = try await management.overview().version
            let configuration = management.configuration
            return "RabbitMQ \(version) at \(configuration.address), as \(configuration.user)"
        }
    }

    struct Plan: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show what apply would do, and do nothing.",
            discussion: """
                EXAMPLES
                  parley rabbitmq plan
                  parley rabbitmq plan --file shop.yaml --prune --json

                + is created, ~ changed, ± deleted and made again, - deleted, ? left alone.
                """
        )
        @OptionGroup var options: Options

        func run() async throws {
            try await Console.reporting {
                try await self.options.withPlan { management, plan in
                    if self.options.json { return try Console.json(PlanView(plan)) }
                    Console.out(try await self.options.head(management) + "\n")
                    Console.out(PlanText.text(plan, Console.style))
                }
            }
        }
    }

    struct Apply: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the broker as the file says.",
            discussion: """
                EXAMPLES
                  parley rabbitmq apply
                  parley rabbitmq apply --replace     also what cannot be changed in place
                  parley rabbitmq apply --prune --json

                Running it twice does nothing the second time. When it is interrupted, running it again goes on. When \
                a step is not allowed, nothing is done. Queues that hold messages are never deleted, unless \
                --discard-messages says so.
                """
        )
        @OptionGroup var options: Options

        func run() async throws {
            try await Console.reporting {
                try await self.options.withPlan { management, plan in
                    let style = Console.style
                    if !plan.refused.isEmpty {
                        if self.options.json {
                            try Console.json(PlanView(plan, done: 0))
                        } else {
                            Console.out(PlanText.text(plan, style))
                        }
                        Console.error("parley: nothing was done, for the plan has steps that are not allowed")
                        throw ExitCode.failure
                    }
                    if !self.options.json { Console.out(try await self.options.head(management) + "\n") }
                    var done = 0
                    do {
                        try await management.apply(plan, options: self.options.topologyOptions) { step in
                            done += 1
                            guard !self.options.json else { return }
                            Console.out(PlanText.lines(of: step, style).joined(separator: "\n"))
                        }
                    } catch {
                        if self.options.json { try Console.json(PlanView(plan, done: done)) }
                        Console.error(
                            "parley: \(done) of \(plan.steps.count) steps were done; mend the cause and run it again, "
                                + "then it goes on from there"
                        )
                        throw error
                    }
                    if self.options.json { return try Console.json(PlanView(plan, done: done)) }
                    Console.out(plan.isEmpty ? PlanText.summary(plan) : "\nDone: \(done) steps.")
                }
            }
        }
    }

    struct Drift: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say whether the broker is as the file says: exit 0 if so, 2 if not, 1 on errors.",
            discussion: """
                EXAMPLES
                  parley rabbitmq drift
                  parley rabbitmq drift --prune --json     also what is not in the file

                For a timer or a pipeline. What is not in the file counts with --prune only.
                """
        )
        @OptionGroup var options: Options

        func run() async throws {
            try await Console.reporting {
                try await self.options.withPlan { _, plan in
                    if self.options.json {
                        try Console.json(PlanView(plan))
                    } else if plan.isEmpty {
                        Console.out("No drift: the broker is as the file says.")
                    } else {
                        Console.out(PlanText.text(plan, Console.style))
                    }
                    if !plan.isEmpty { throw ExitCode(2) }
                }
            }
        }
    }
}
