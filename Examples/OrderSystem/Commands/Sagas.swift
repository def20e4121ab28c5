internal import ArgumentParser
internal import Foundation
internal import ParleyCore
internal import ParleySQLite
internal import ParleySagas

/// The orders' sagas, and the means to mend them. Works beside a running system, and without one.
struct Sagas: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List, show and mend sagas.",
        discussion: """
            EXAMPLES
              order-system sagas --status stuck        stuck ones are always listed first
              order-system sagas show <order id>       its steps, effects and history
              order-system sagas retry <order id>      after the cause has been mended
              order-system sagas set-state <order id> COMPENSATE_INVENTORY --reason "counted by hand"
            """,
        subcommands: [List.self, Show.self, Retry.self, SetState.self],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List sagas, stuck ones first.")
        @OptionGroup var settings: Settings
        @Option(help: "running, stuck, completed or failed.", transform: Operations.status) var status: SagaStatus?
        @Option(help: "At most so many, 1 to 1000.") var limit = 50
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            try await Operations.withOrders(self.settings) { backend in
                let sagas = try await backend.sagas.instances(
                    matching: SagaQuery(type: OrderSagaDefinition.name, status: self.status, limit: self.limit)
                )
                if self.json { return print(try OrderStore.json(sagas.map { SagaView($0, history: nil) })) }
                if sagas.isEmpty { print("no sagas") }
                for saga in sagas {
                    let columns = [saga.businessKey, saga.status.rawValue, saga.state, saga.updatedAt.description]
                    print((columns + [saga.reason].compactMap(\.self)).joined(separator: "  "))
                }
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show one saga with its history.")
        @OptionGroup var settings: Settings
        @Argument(help: "The order's id, or the saga's.") var id: String
        @Flag(help: "Print JSON.") var json = false

        func run() async throws {
            try await Operations.withOrders(self.settings) { backend in
                let saga = try await Operations.find(self.id, in: backend)
                let view = SagaView(saga, history: try await backend.sagas.history(of: saga.id))
                print(self.json ? try OrderStore.json(view) : view.text)
            }
        }
    }

    struct Retry: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Try a saga again now, with a fresh budget.")
        @OptionGroup var settings: Settings
        @Argument(help: "The order's id, or the saga's.") var id: String

        func run() async throws {
            try await Operations.withOrders(self.settings) { backend in
                let saga = try await Operations.find(self.id, in: backend)
                let written = try await Operations.operators(backend, self.settings).retry(
                    saga.id,
                    by: Operations.person
                )
                print(
                    "saga \(written.id) goes on in \(written.state) as soon as an order-service runs"
                )
            }
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
            try await Operations.withOrders(self.settings) { backend in
                let saga = try await Operations.find(self.id, in: backend)
                let written = try await Operations.operators(backend, self.settings)
                    .force(saga.id, to: self.state, by: Operations.person, because: self.reason)
                print("saga \(written.id) goes on in \(written.state)")
            }
        }
    }
}

/// A saga for people and scripts.
struct SagaView: Codable {
    struct Line: Codable {
        var at: String
        var event: String
        var state: String
        var nextState: String
        var action: String?
        var attempt: Int
        var detail: String?
    }

    var id: String
    var order: String
    var status: String
    var state: String
    var attempt: Int
    var reason: String?
    var nextTry: String?
    var effects: [SagaEffect]
    var createdAt: String
    var updatedAt: String
    var history: [Line]?

    init(_ saga: SagaInstance, history: [SagaEvent]?) {
        self.id = saga.id
        self.order = saga.businessKey
        self.status = saga.status.rawValue
        self.state = saga.state
        self.attempt = saga.attempt
        self.reason = saga.reason
        self.nextTry = saga.dueAt?.description
        self.effects = saga.effects
        self.createdAt = saga.createdAt.description
        self.updatedAt = saga.updatedAt.description
        self.history = history?.map {
            Line(
                at: $0.at.description,
                event: $0.kind.rawValue,
                state: $0.state,
                nextState: $0.nextState,
                action: $0.action,
                attempt: $0.attempt,
                detail: $0.detail
            )
        }
    }

    var text: String {
        var lines = [
            "saga     \(self.id)", "order    \(self.order)", "status   \(self.status)", "state    \(self.state)",
        ]
        if let reason { lines.append("reason   \(reason)") }
        if let nextTry { lines.append("next try \(nextTry)") }
        for effect in self.effects { lines.append("effect   \(effect.step): \(effect.status.rawValue)") }
        for line in self.history ?? [] {
            let move = line.state == line.nextState ? line.state : "\(line.state) → \(line.nextState)"
            let what = [line.action, line.event].compactMap(\.self).joined(separator: " ")
            lines.append("  \(line.at)  \(what)  \(move)" + (line.detail.map { "  (\($0))" } ?? ""))
        }
        return lines.joined(separator: "\n")
    }
}
