internal import ArgumentParser
internal import Foundation
internal import ParleyCore
internal import ParleyMessaging
internal import ParleyOps

/// Messages that could not be handled.
struct DeadLetters: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "List, show, replay and discard messages that could not be handled.",
        discussion: """
            EXAMPLES
              parley dead-letters list
              parley dead-letters show 3
              parley dead-letters replay 3 4
              parley dead-letters replay --all --group mailer
              parley dead-letters discard 3 --bus sqlite:./data/bus.db
            """,
        subcommands: [List.self, Show.self, Replay.self, Discard.self],
        defaultSubcommand: List.self
    )

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List dead letters, oldest first.",
            discussion: """
                EXAMPLES
                  parley dead-letters list --group mailer --limit 10
                  parley dead-letters list --after 250 --json
                """
        )
        @OptionGroup var options: BusOptions
        @Option(help: "Only of this consumer group.") var group: String?
        @Option(help: "Only those with a higher id: the next page.") var after: Int64 = 0
        @Option(help: "At most so many, 1 to 1000.") var limit = 50

        func validate() throws {
            guard (1...1_000).contains(self.limit) else { throw ValidationError("--limit must be 1 to 1000") }
        }

        func run() async throws {
            let (group, after, limit) = (self.group, self.after, self.limit)
            try await self.options.withInspector { inspector in
                let letters = try await inspector.withDeadLetters {
                    try await $0.list(group: group, after: after, limit: limit)
                }
                if self.options.json { return try Console.json(letters.map { DeadLetterView($0, isWhole: false) }) }
                Console.out(BusText.deadLetters(letters, Console.style))
                if letters.count == limit, let last = letters.last {
                    Console.error("there may be more: --after \(last.id)")
                }
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one dead letter with its message.",
            discussion: """
                EXAMPLES
                  parley dead-letters show 3
                  parley dead-letters show 3 --json
                """
        )
        @OptionGroup var options: BusOptions
        @Argument(help: "The letter's id, as listed.") var id: Int64

        func run() async throws {
            let id = self.id
            try await self.options.withInspector { inspector in
                let found = try await inspector.withDeadLetters {
                    try await $0.list(group: nil, after: id - 1, limit: 1)
                }
                guard let letter = found.first, letter.id == id else {
                    Console.error("parley: there is no dead letter \(id); 'parley dead-letters list' shows them")
                    throw ExitCode.failure
                }
                if self.options.json { return try Console.json(DeadLetterView(letter, isWhole: true)) }
                Console.out(BusText.deadLetter(letter, Console.style))
            }
        }
    }

    /// Which letters: by number, or all.
    struct Selection: ParsableArguments {
        @Argument(help: "Ids of letters, as listed.") var ids: [Int64] = []
        @Flag(help: "All of them; with --group, all of that group.") var all = false
        @Option(help: "With --all: only of this consumer group.") var group: String?

        func validate() throws {
            guard self.all != !self.ids.isEmpty else {
                throw ValidationError("say which: ids of letters, or --all; 'parley dead-letters list' shows them")
            }
            if self.group != nil, !self.all { throw ValidationError("--group goes with --all") }
        }

        /// Hands the letters to `work`, a thousand at a time; says how many there were and how many it did.
        ///
        /// Only letters that were dead at the beginning: one that dies again on replay is not replayed in a circle.
        func perform(
            _ store: any DeadLetterStore,
            _ work: @Sendable ([Int64]) async throws -> Int
        ) async throws -> (wanted: Int, done: Int) {
            guard self.all else { return (self.ids.count, try await work(self.ids)) }
            var ids: [Int64] = []
            while true {
                let page = try await store.list(group: self.group, after: ids.last ?? 0, limit: 1_000)
                ids += page.map(\.id)
                if page.count < 1_000 { break }
            }
            var done = 0
            for start in stride(from: 0, to: ids.count, by: 1_000) {
                done += try await work(Array(ids[start..<min(start + 1_000, ids.count)]))
            }
            return (ids.count, done)
        }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Deliver dead letters to their own group again, with no attempts counted.",
            discussion: """
                EXAMPLES
                  parley dead-letters replay 3 4
                  parley dead-letters replay --all --group mailer
                """
        )
        @OptionGroup var options: BusOptions
        @OptionGroup var selection: Selection

        func run() async throws {
            let selection = self.selection
            try await self.options.withInspector { inspector in
                let (wanted, done) = try await inspector.withDeadLetters { store in
                    try await selection.perform(store) { try await store.replay($0) }
                }
                try Outcome.tell("replayed", done, of: wanted, asJSON: self.options.json)
            }
        }
    }

    struct Discard: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete dead letters for good.",
            discussion: """
                EXAMPLES
                  parley dead-letters discard 3 4
                  parley dead-letters discard --all --group mailer
                """
        )
        @OptionGroup var options: BusOptions
        @OptionGroup var selection: Selection

        func run() async throws {
            let selection = self.selection
            try await self.options.withInspector { inspector in
                let (wanted, done) = try await inspector.withDeadLetters { store in
                    try await selection.perform(store) { try await store.discard($0) }
                }
                try Outcome.tell("discarded", done, of: wanted, asJSON: self.options.json)
            }
        }
    }

    /// How many of those that were named.
    private enum Outcome {
        static func tell(_ what: String, _ done: Int, of wanted: Int, asJSON: Bool) throws {
            if asJSON {
                try Console.json([what: done, "wanted": wanted])
            } else {
                Console.out("\(what) \(done) of \(wanted)")
            }
            guard done == wanted else {
                Console.error(
                    "parley: \(wanted - done) were not there any more; 'parley dead-letters list' shows the rest"
                )
                throw ExitCode.failure
            }
        }
    }
}

/// A dead letter for scripts.
struct DeadLetterView: Encodable {
    struct Content: Encodable {
        var source: String
        var topic: String
        var subject: String?
        var key: String?
        var time: String
        var contentType: String?
        var headers: [String: String]
        /// As text, where it is text; otherwise base64 in `dataBase64`, as CloudEvents has it.
        var data: String?
        var dataBase64: String?
    }

    var id: Int64
    var group: String
    var messageId: String
    var type: String
    var reason: String
    var attempts: Int
    var diedAt: String
    var message: Content?

    init(_ letter: DeadLetter, isWhole: Bool) {
        let message = letter.message
        self.id = letter.id
        self.group = letter.group
        self.messageId = message.id
        self.type = message.type
        self.reason = letter.reason
        self.attempts = letter.attempts
        self.diedAt = letter.diedAt.description
        guard isWhole else { return }
        let text = String(validating: message.data, as: UTF8.self)
        self.message = Content(
            source: message.source,
            topic: message.topic,
            subject: message.subject,
            key: message.key,
            time: message.time.description,
            contentType: message.dataContentType,
            headers: message.headers,
            data: text,
            dataBase64: text == nil ? Data(message.data).base64EncodedString() : nil
        )
    }
}
