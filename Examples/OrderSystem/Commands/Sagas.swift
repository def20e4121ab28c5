internal import ArgumentParser
internal import Foundation
internal import ParleyCore
internal import ParleyOps

/// The orders' sagas of both styles, and the means to mend them: `parley sagas` for the data folder of this system.
struct Sagas: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List, show and mend sagas.",
        discussion: """
            EXAMPLES
              order-system sagas --status stuck        stuck ones are always listed first
              order-system sagas show <order id>       its steps, effects and history
              order-system sagas retry <order id>      after the cause has been mended
              order-system sagas set-state <order id> COMPENSATE_INVENTORY --reason "counted by hand"

            'parley sagas' does the same with the service's file, and more: dry runs, inject and compensate.
            """,
        subcommands: [List.self, Show.self, Retry.self, SetState.self],
        defaultSubcommand: List.self
    )

    private static let plain = Style(isColoured: false)

    private static func mend(
        _ intervention: SagaIntervention,
        _ id: String,
        because reason: String,
        _ settings: Settings
    ) async throws {
        try await Operations.withSagas(settings) { sagas in
            let report = try await sagas.intervene(
                intervention,
                on: id,
                by: Operations.person,
                because: reason,
                isDryRun: false
            )
            print(SagaText.intervention(report, Self.plain))
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List sagas, stuck ones first.")
        @OptionGroup var settings: Settings
        @Option(help: "running, late, stuck, completed or failed.", transform: Operations.status) var status: String?
        @Option(help: "At most so many, 1 to 1000.") var limit = 50
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            try await Operations.withSagas(self.settings) { sagas in
                let found = try await sagas.sagas(matching: SagaListQuery(status: self.status, limit: self.limit))
                print(self.json ? try OrderStore.json(found) : SagaText.list(found, Sagas.plain))
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show one saga with its history.")
        @OptionGroup var settings: Settings
        @Argument(help: "The order's id, or the saga's.") var id: String
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            try await Operations.withSagas(self.settings) { sagas in
                let report = try await sagas.saga(self.id)
                print(self.json ? try OrderStore.json(report) : SagaText.report(report, Sagas.plain))
            }
        }
    }

    struct Retry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Try a saga again now; of a choreography: say the event again that something is to follow."
        )
        @OptionGroup var settings: Settings
        @Argument(help: "The order's id, or the saga's.") var id: String
        @Option(help: "Why; it is kept in the history.") var reason = "tried again"

        func run() async throws {
            try await Sagas.mend(SagaIntervention(.replay), self.id, because: self.reason, self.settings)
        }
    }

    struct SetState: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "set-state",
            abstract: "Set a saga's state by hand and go on from there; it is audited."
        )
        @OptionGroup var settings: Settings
        @Argument(help: "The order's id, or the saga's.") var id: String
        @Argument(help: "A state of the definition.") var state: String
        @Option(help: "Why; it is kept in the history.") var reason: String

        func run() async throws {
            let intervention = SagaIntervention(.setState, self.state)
            try await Sagas.mend(intervention, self.id, because: self.reason, self.settings)
        }
    }
}
