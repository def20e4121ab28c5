public import ParleyCore
internal import Synchronization

/// What the server of the current connections was found to know, until a new connection comes.
final class CommandKnowledge: Sendable {
    struct Question: Hashable {
        var command: String
        var option: String?
    }

    private struct State {
        var generation: UInt64 = 0
        var answers: [Question: Bool] = [:]
    }

    /// Answers that are kept; callers choose the names, so there must be a limit.
    static let maximumAnswers = 256

    private let state = Mutex(State())

    func forget() {
        self.state.withLock { state in
            state.generation &+= 1
            state.answers = [:]
        }
    }

    /// What is known, and which generation an answer will belong to.
    func look(_ question: Question) -> (answer: Bool?, generation: UInt64) {
        self.state.withLock { ($0.answers[question], $0.generation) }
    }

    func learn(_ question: Question, _ answer: Bool, generation: UInt64) {
        self.state.withLock { state in
            guard state.generation == generation else { return }
            if state.answers.count >= Self.maximumAnswers { state.answers = [:] }
            state.answers[question] = answer
        }
    }
}

extension RESPClient {
    /// Whether the server knows a command, and an option of it.
    ///
    /// Asked by `COMMAND INFO`, or `COMMAND DOCS` for an option, once for each generation of connections: what was
    /// found is forgotten when a connection is made, since that may lead to another server. A fail-over between the
    /// answer and the command is possible, so the command can be refused all the same.
    ///
    /// - Parameters:
    ///   - command: such as `XACKDEL`, or `XGROUP|CREATE` for a subcommand (since Redis 7).
    ///   - option: one of the command's words, such as `IDMP` of `XADD`. Servers before Redis 7 cannot tell: `false`.
    /// - Throws: ``RESPError``, when the server could not be asked, or the user's ACL forbids `COMMAND`.
    public func supports(
        _ command: String,
        option: String? = nil,
        deadline: Deadline? = nil
    ) async throws(RESPError) -> Bool {
        let question = CommandKnowledge.Question(command: command.uppercased(), option: option?.uppercased())
        let (known, generation) = self.knowledge.look(question)
        if let known { return known }
        let answer: Bool
        if let option = question.option {
            answer = try await self.documents(question.command, option, deadline)
        } else {
            let reply = try await self.send(["COMMAND", "INFO", RESPArgument(question.command)], deadline: deadline)
            guard let entries = reply.elements, entries.count == 1 else { throw reply.unexpected("COMMAND INFO") }
            answer = !entries[0].isNull
        }
        self.knowledge.learn(question, answer, generation: generation)
        return answer
    }

    private func documents(_ command: String, _ option: String, _ deadline: Deadline?) async throws(RESPError) -> Bool {
        let reply: RESPValue
        do throws(RESPError) {
            reply = try await self.send(["COMMAND", "DOCS", RESPArgument(command)], deadline: deadline)
        } catch {
            guard error.code == .unknownCommand || error.message.contains("nknown subcommand") else { throw error }
            return false
        }
        guard let commands = reply.pairs else { throw reply.unexpected("COMMAND DOCS") }
        return commands.contains { Self.hasToken(option, in: $0.value["arguments"]) }
    }

    /// An argument may be made of others. As deep as the parser allows.
    private static func hasToken(_ token: String, in arguments: RESPValue?) -> Bool {
        (arguments?.elements ?? []).contains { argument in
            argument["token"]?.string?.uppercased() == token || Self.hasToken(token, in: argument["arguments"])
        }
    }
}
