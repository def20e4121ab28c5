public import ParleyCore

/// Where commands can be sent: a ``RESPClient``, a ``RESPConnection``, or either with a deadline.
///
/// Every typed command is an extension of this protocol, so it is there for all of them.
public protocol RESPExecutor: Sendable {
    /// Sends the commands as one block and returns their replies in order; refusals are among the replies.
    ///
    /// - Parameter deadline: beside it the deadline of the current `RequestContext` and the configured
    ///   `commandTimeout` hold; the earliest counts.
    /// - Throws: ``RESPError`` when there are no replies, with what that means for trying again.
    func execute(_ commands: [RESPCommand], deadline: Deadline?) async throws(RESPError) -> [RESPValue]
}

extension RESPExecutor {
    /// Sends any command and returns its reply.
    ///
    /// - Throws: ``RESPError``, also for a refusal of the server.
    @discardableResult
    public func send(_ command: RESPCommand, deadline: Deadline? = nil) async throws(RESPError) -> RESPValue {
        let replies = try await self.execute([command], deadline: deadline)
        guard let reply = replies.first, replies.count == 1 else {
            throw RESPError(.unexpectedReply, "\(command.name): \(replies.count) replies", retry: .mayHaveRun)
        }
        if let refusal = reply.errorMessage { throw RESPError(refusal: refusal, command: command.name) }
        return reply
    }

    /// Sends the commands in one go, without waiting for one reply before the next command; refusals are per command.
    ///
    /// Not a transaction: commands of others may run between them on the server.
    public func pipeline(
        _ commands: [RESPCommand],
        deadline: Deadline? = nil
    ) async throws(RESPError) -> [Result<RESPValue, RESPError>] {
        let replies = try await self.execute(commands, deadline: deadline)
        return zip(commands, replies).map { command, reply in
            if let refusal = reply.errorMessage {
                .failure(RESPError(refusal: refusal, command: command.name))
            } else {
                .success(reply)
            }
        }
    }

    /// The same, with a deadline on every command.
    public func within(_ deadline: Deadline) -> RESPDeadlineExecutor {
        RESPDeadlineExecutor(base: self, limit: deadline)
    }
}

/// Sends to another executor, with a deadline on every command.
public struct RESPDeadlineExecutor: RESPExecutor {
    let base: any RESPExecutor
    let limit: Deadline

    public func execute(_ commands: [RESPCommand], deadline: Deadline?) async throws(RESPError) -> [RESPValue] {
        try await self.base.execute(commands, deadline: deadline.map { min($0, self.limit) } ?? self.limit)
    }
}
