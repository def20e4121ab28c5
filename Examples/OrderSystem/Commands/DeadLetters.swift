internal import ArgumentParser
internal import Foundation
internal import ParleyCore
internal import ParleyMessaging

/// Messages that could not be handled.
struct DeadLetters: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List, replay and discard dead letters of the bus.",
        discussion: """
            EXAMPLES
              order-system dead-letters
              order-system dead-letters replay 3 4
              order-system dead-letters --broker amqp://guest:guest@localhost/%2F
            """,
        subcommands: [List.self, Replay.self, Discard.self],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "List dead letters, oldest first.")
        @OptionGroup var settings: Settings
        @Option(help: "Only of this consumer group.") var group: String?
        @Option(help: "At most so many, 1 to 1000.") var limit = 50
        @Flag(help: "Print JSON.") var json = false

        private struct View: Codable {
            var id: Int64
            var group: String
            var messageId: String
            var type: String
            var reason: String
            var attempts: Int
            var diedAt: String
        }

        func run() async throws {
            try await Operations.withDeadLetters(self.settings) { store in
                let letters = try await store.list(
                    group: self.group,
                    after: 0,
                    limit: self.limit
                ).map {
                    View(
                        id: $0.id,
                        group: $0.group,
                        messageId: $0.message.id,
                        type: $0.message.type,
                        reason: $0.reason,
                        attempts: $0.attempts,
                        diedAt: $0.diedAt.description
                    )
                }
                if self.json { return print(try OrderStore.json(letters)) }
                if letters.isEmpty { print("no dead letters") }
                for letter in letters {
                    print("\(letter.id)  \(letter.diedAt)  \(letter.group)  \(letter.type)  \(letter.reason)")
                }
            }
        }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Deliver dead letters to their group again.")
        @OptionGroup var settings: Settings
        @Argument(help: "Numbers of letters, as listed.") var ids: [Int64]

        func run() async throws {
            try await Operations.withDeadLetters(self.settings) { store in
                print("replayed \(try await store.replay(self.ids)) of \(self.ids.count)")
            }
        }
    }

    struct Discard: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Delete dead letters.")
        @OptionGroup var settings: Settings
        @Argument(help: "Numbers of letters, as listed.") var ids: [Int64]

        func run() async throws {
            try await Operations.withDeadLetters(self.settings) { store in
                print("discarded \(try await store.discard(self.ids)) of \(self.ids.count)")
            }
        }
    }
}
