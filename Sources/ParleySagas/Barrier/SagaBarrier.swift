public import ParleyCore

/// What makes a participant's effect happen once: a table in the participant's own database, written in the transaction
/// of the effect.
///
/// It turns away the four things that a network does to commands:
/// - *twice*: the second time gets the first one's answer;
/// - *undo without do* (the action was lost, or is still under way): nothing to undo, and that is a success;
/// - *do after undo* (the action arrives late): refused, for it would never be undone;
/// - *undo twice*: the same success again.
///
/// The idea of one table and two inserts is from DTM's sub-transaction barrier.
public struct SagaBarrier: Sendable {
    /// Creates the table; run it as a migration of the participant's database. Any language may use it.
    public static let schema = """
        CREATE TABLE saga_barrier (
            saga TEXT NOT NULL, step TEXT NOT NULL, operation TEXT NOT NULL,
            entered_by TEXT NOT NULL, answer TEXT NOT NULL, detail TEXT,
            PRIMARY KEY (saga, step, operation)
        )
        """

    public init() {}

    /// Runs `effect` once for this command.
    ///
    /// - Parameter effect: Writes to the same transaction and says `success` or `rejected`. Any other outcome, and a
    ///   rejected undo, is the caller's to roll back: the barrier throws ``SagaError`` with `notAllowed`.
    /// - Returns: The effect's answer, or the one that it gave the first time.
    public func enter(
        _ command: SagaCommand,
        in transaction: any Transaction,
        _ effect: (any Transaction) throws -> SagaOutcome
    ) throws -> SagaOutcome {
        switch command.operation {
        case .action:
            guard try self.insert(command, .action, in: transaction) else {
                return try self.answer(of: command, .action, in: transaction)
            }
        case .compensate:
            // Taking the action's own place first: when that works, the action has not run, and now never will.
            if try self.insert(command, .action, in: transaction) {
                try self.record(
                    .rejected(reason: "it was undone before it arrived"),
                    of: command,
                    .action,
                    in: transaction
                )
                guard try self.insert(command, .compensate, in: transaction) else { break }
                try self.record(.success(output: nil), of: command, .compensate, in: transaction)
                return .success(output: nil)
            }
            guard try self.insert(command, .compensate, in: transaction) else {
                return try self.answer(of: command, .compensate, in: transaction)
            }
            if case .rejected = try self.answer(of: command, .action, in: transaction) {
                try self.record(.success(output: nil), of: command, .compensate, in: transaction)
                return .success(output: nil)
            }
        }
        let outcome = try effect(transaction)
        try self.record(outcome, of: command, command.operation, in: transaction)
        return outcome
    }

    private func insert(
        _ command: SagaCommand,
        _ operation: SagaCommand.Operation,
        in transaction: any Transaction
    ) throws -> Bool {
        try transaction.execute(
            """
            INSERT INTO saga_barrier (saga, step, operation, entered_by, answer) VALUES (?, ?, ?, ?, '')
            ON CONFLICT DO NOTHING
            """,
            [.text(command.sagaID), .text(command.step), .text(operation.rawValue), .text(command.operation.rawValue)]
        ) == 1
    }

    private func record(
        _ outcome: SagaOutcome,
        of command: SagaCommand,
        _ operation: SagaCommand.Operation,
        in transaction: any Transaction
    ) throws {
        let (answer, detail): (String, String?)
        switch outcome {
        case .success(let output): (answer, detail) = ("success", output)
        case .rejected(let reason) where operation == .action: (answer, detail) = ("rejected", reason)
        case .rejected(let reason), .unknown(let reason, _):
            throw SagaError(
                .notAllowed,
                "\(command.action) of saga '\(command.sagaID)' gave no final answer: \(reason)",
                retry: .mayHaveRun
            )
        case .ongoing:
            throw SagaError(
                .notAllowed,
                "\(command.action) of saga '\(command.sagaID)' cannot be ongoing inside a barrier",
                retry: .mayHaveRun
            )
        }
        try transaction.execute(
            "UPDATE saga_barrier SET answer = ?, detail = ? WHERE saga = ? AND step = ? AND operation = ?",
            [
                .text(answer), .optional(detail), .text(command.sagaID), .text(command.step),
                .text(operation.rawValue),
            ]
        )
    }

    private func answer(
        of command: SagaCommand,
        _ operation: SagaCommand.Operation,
        in transaction: any Transaction
    ) throws -> SagaOutcome {
        let row = try transaction.query(
            "SELECT answer, detail FROM saga_barrier WHERE saga = ? AND step = ? AND operation = ?",
            [.text(command.sagaID), .text(command.step), .text(operation.rawValue)]
        ).first
        let detail = row?.last?.text
        switch row?.first?.text {
        case "success": return .success(output: detail)
        case "rejected": return .rejected(reason: detail ?? "refused before")
        default:
            throw SagaError(
                .corrupt,
                "saga_barrier has no answer for saga '\(command.sagaID)', step '\(command.step)'"
            )
        }
    }
}
