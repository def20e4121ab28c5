internal import ArgumentParser
internal import Foundation
internal import ParleyOps

/// Which sagas.
struct SagaOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "sqlite:PATH of the service that keeps them, or redis://user:password@host:port/database?prefix=NAME; "
                + "without it ./data/order-service.db.",
            valueName: "url"
        )
    )
    var store: String?

    @Flag(help: "Print JSON.") var json = false

    func withInspector(_ body: (any SagaInspector) async throws -> Void) async throws {
        try await Console.reporting {
            try await SagaAddress(store: self.store).withInspector(logger: Console.logger, body)
        }
    }
}

/// What every intervention is told.
struct InterventionOptions: ParsableArguments {
    @Argument(help: "The saga's id, or its business key: the order's id.") var saga: String
    @Option(help: "Why; it is kept with the saga.") var reason: String
    @Option(help: "Who; it is kept with the saga.") var by =
        ProcessInfo.processInfo.environment["USER"] ?? "an operator"
    @Flag(help: "Say what would be done, and do nothing.") var dryRun = false

    func validate() throws {
        guard self.reason.contains(where: { !$0.isWhitespace }) else { throw ValidationError("--reason must say why") }
    }

    func perform(_ intervention: SagaIntervention, _ options: SagaOptions) async throws {
        try await options.withInspector { inspector in
            let report = try await inspector.intervene(
                intervention,
                on: self.saga,
                by: self.by,
                because: self.reason,
                isDryRun: self.dryRun
            )
            if options.json { return try Console.json(report) }
            Console.out(SagaText.intervention(report, Console.style))
        }
    }
}

/// The guide's "saga stuck in an intermediate state".
struct Sagas: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List, show and mend sagas: those that a coordinator leads, and choreographies.",
        discussion: """
            EXAMPLES
              parley sagas list --status stuck
              parley sagas show 01998f6e-…                 its timeline, what it waits for, and what to run next
              parley sagas replay 01998f6e-… --reason "payment-service was down"
              parley sagas set-state 01998f6e-… COMPENSATE_INVENTORY --reason "counted by hand" --dry-run
              parley sagas compensate 01998f6e-… --reason "the customer called"
              parley sagas accept 123 --reason "counted by hand" --store redis://127.0.0.1:6379

            It works beside a running system and without one; what it changes takes effect as soon as the services run.
            """,
        subcommands: [
            List.self, Show.self, SetState.self, Replay.self, Inject.self, Compensate.self, Accept.self, Reject.self,
        ]
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List sagas: those that were edited by hand first, then stuck ones, then late ones, then by age.",
            discussion: """
                EXAMPLES
                  parley sagas list
                  parley sagas list --status stuck --json
                  parley sagas list --watch
                  parley sagas list --status edited --store redis://127.0.0.1:6379

                On Redis it looks at every saga's hash, and parks those that somebody has edited.
                """
        )
        @OptionGroup var options: SagaOptions
        @OptionGroup var watching: WatchOptions
        @Option(help: "running, late, stuck, edited, completed or failed.") var status: String?
        @Option(help: "At most so many, 1 to 1000.") var limit = 50

        func validate() throws {
            if let status, !["running", "late", "stuck", "edited", "completed", "failed"].contains(status) {
                throw ValidationError("'\(status)' is none of running, late, stuck, edited, completed, failed")
            }
            guard (1...1_000).contains(self.limit) else { throw ValidationError("--limit must be 1 to 1000") }
        }

        func run() async throws {
            let query = SagaListQuery(status: self.status, limit: self.limit)
            try await self.options.withInspector { inspector in
                try await self.watching.run(
                    asJSON: self.options.json,
                    { try await inspector.sagas(matching: query) },
                    SagaText.list
                )
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one saga: timeline, effects, findings, remaining steps, and the next commands to run."
        )
        @OptionGroup var options: SagaOptions
        @Argument(help: "The saga's id, or its business key: the order's id.") var saga: String

        func run() async throws {
            try await self.options.withInspector { inspector in
                let report = try await inspector.saga(self.saga)
                if self.options.json { return try Console.json(report) }
                Console.out(SagaText.report(report, Console.style))
            }
        }
    }

    struct SetState: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set-state",
            abstract: "Set a saga's state by hand and go on from there; for sagas that a coordinator leads."
        )
        @OptionGroup var options: SagaOptions
        @OptionGroup var intervention: InterventionOptions
        @Argument(help: "A state of its definition.") var state: String

        func run() async throws {
            try await self.intervention.perform(SagaIntervention(.setState, self.state), self.options)
        }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Try the present step again; of a choreography: say an event again, so that the services act again.",
            discussion: """
                EXAMPLES
                  parley sagas replay 01998f6e-… --reason "payment-service was down"
                  parley sagas replay 01998f6e-… --from order.created --reason "its queue was deleted" --dry-run

                Nothing is done twice: the services answer as they did the first time, and go on from where it stopped.
                """
        )
        @OptionGroup var options: SagaOptions
        @OptionGroup var intervention: InterventionOptions
        @Option(help: "Of a choreography: the event, or a message's id. Without it, what the late one was to follow.")
        var from: String?

        func run() async throws {
            try await self.intervention.perform(SagaIntervention(.replay, self.from), self.options)
        }
    }

    struct Inject: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Say the next event in its service's place; for choreographies.",
            discussion: """
                EXAMPLES
                  parley sagas inject 01998f6e-… payment.processed --reason "paid by phone" --dry-run

                The service is not asked: what the event says it has done must have been done otherwise.
                """
        )
        @OptionGroup var options: SagaOptions
        @OptionGroup var intervention: InterventionOptions
        @Argument(help: "The event.") var event: String
        @Option(help: "Its body, as JSON; without it, the body of the event that it follows.") var data: String?
        @Flag(help: "Also when it does not follow.") var force = false

        func validate() throws {
            guard let data else { return }
            guard (try? JSONSerialization.jsonObject(with: Data(data.utf8), options: .fragmentsAllowed)) != nil else {
                throw ValidationError("--data is no JSON")
            }
        }

        func run() async throws {
            let intervention = SagaIntervention(
                .inject,
                self.event,
                data: self.data.map { Array($0.utf8) },
                isForced: self.force
            )
            try await self.intervention.perform(intervention, self.options)
        }
    }

    struct Compensate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ask the services to take back what they did; for choreographies."
        )
        @OptionGroup var options: SagaOptions
        @OptionGroup var intervention: InterventionOptions

        func run() async throws {
            try await self.intervention.perform(SagaIntervention(.compensate), self.options)
        }
    }

    struct Accept: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Take over the state that somebody has set in a saga's hash, and go on from there; on Redis.",
            discussion: """
                EXAMPLES
                  redis-cli HSET "saga:order:123" state COMPENSATE_INVENTORY
                  parley sagas show 123 --store redis://127.0.0.1:6379        what was changed, field by field
                  parley sagas accept 123 --store redis://127.0.0.1:6379 --reason "counted by hand" --dry-run

                Nothing that was done, or may have been done, is forgotten: it is undone before the saga counts as \
                failed.
                """
        )
        @OptionGroup var options: SagaOptions
        @OptionGroup var intervention: InterventionOptions

        func run() async throws {
            try await self.intervention.perform(SagaIntervention(.accept), self.options)
        }
    }

    struct Reject: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Put a saga's hash back as it was before somebody edited it, and let the saga go on; on Redis.",
            discussion: """
                EXAMPLES
                  parley sagas reject 123 --store redis://127.0.0.1:6379 --reason "a slip"
                """
        )
        @OptionGroup var options: SagaOptions
        @OptionGroup var intervention: InterventionOptions

        func run() async throws {
            try await self.intervention.perform(SagaIntervention(.reject), self.options)
        }
    }
}
