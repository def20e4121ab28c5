import ParleyCore
import ParleySagas
import ParleyTestKit
import Testing

/// The barrier against what a network does to commands, on a table that knows just the barrier's statements.
@Suite struct SagaBarrierTests {
    /// Stands in for a database: the three statements of the barrier, with the unique key that makes it work.
    private final class BarrierTable: Transaction {
        private struct Key: Hashable {
            var values: [String]
            init(_ values: some Sequence<SQLValue>) { self.values = values.map { $0.text ?? "" } }
        }

        private struct Row {
            var answer = ""
            var detail: String?
        }

        private var rows: [Key: Row] = [:]

        func execute(_ sql: String, _ arguments: [SQLValue]) throws -> Int {
            if sql.hasPrefix("INSERT") {
                let key = Key(arguments.prefix(3))
                guard self.rows[key] == nil else { return 0 }
                self.rows[key] = Row()
                return 1
            }
            self.rows[Key(arguments.suffix(3))] = Row(answer: arguments[0].text ?? "", detail: arguments[1].text)
            return 1
        }

        func query(_ sql: String, _ arguments: [SQLValue]) throws -> [[SQLValue]] {
            self.rows[Key(arguments)].map { [[.text($0.answer), .optional($0.detail)]] } ?? []
        }

        /// What a rolled-back transaction does.
        func rollingBack<Value>(_ body: () throws -> Value) rethrows -> Value {
            let before = self.rows
            do { return try body() } catch {
                self.rows = before
                throw error
            }
        }
    }

    private let table = BarrierTable()
    private let barrier = SagaBarrier()

    private func command(_ operation: SagaCommand.Operation, saga: String = "s1", attempt: Int = 1) -> SagaCommand {
        SagaCommand(
            sagaID: saga,
            businessKey: "b",
            action: operation == .action ? "reserve" : "release",
            operation: operation,
            step: "reserve",
            epoch: Int64(attempt),
            attempt: attempt,
            input: "{}",
            outputs: [:]
        )
    }

    private struct Oops: Error {}

    /// Sends commands one after another; says how often each effect happened, and the answers.
    private func run(
        _ commands: [SagaCommand],
        _ answer: SagaOutcome = .success(output: "r-1")
    ) throws -> (done: Int, undone: Int, answers: [SagaOutcome]) {
        var (done, undone) = (0, 0)
        let answers = try commands.map { command in
            try self.barrier.enter(command, in: self.table) { _ in
                if command.operation == .action { done += 1 } else { undone += 1 }
                return command.operation == .action ? answer : .success(output: nil)
            }
        }
        return (done, undone, answers)
    }

    @Test func `twice is once, with the same answer`() throws {
        let result = try self.run([self.command(.action), self.command(.action, attempt: 2)])
        #expect(result.done == 1)
        #expect(result.answers == [.success(output: "r-1"), .success(output: "r-1")])
    }

    @Test func `a refusal is remembered as well`() throws {
        let refusal = SagaOutcome.rejected(reason: "sold out")
        let result = try self.run([self.command(.action), self.command(.action)], refusal)
        #expect(result.done == 1 && result.answers == [refusal, refusal])
    }

    @Test func `do, undo, and undo again`() throws {
        let result = try self.run([self.command(.action), self.command(.compensate), self.command(.compensate)])
        #expect(result.done == 1 && result.undone == 1)
        #expect(result.answers.suffix(2) == [.success(output: nil), .success(output: nil)])
    }

    @Test func `an undo without a do has no effect, and a do that arrives after it is refused`() throws {
        let result = try self.run([
            self.command(.compensate), self.command(.action), self.command(.compensate), self.command(.action),
        ])
        #expect(result.done == 0 && result.undone == 0)
        #expect(result.answers[0] == .success(output: nil) && result.answers[2] == .success(output: nil))
        for answer in [result.answers[1], result.answers[3]] {
            guard case .rejected = answer else { throw Oops() }
        }
    }

    @Test func `there is nothing to undo of what was refused`() throws {
        let result = try self.run(
            [self.command(.action), self.command(.compensate), self.command(.compensate)],
            .rejected(reason: "no")
        )
        #expect(result.undone == 0)
        #expect(result.answers.suffix(2) == [.success(output: nil), .success(output: nil)])
    }

    @Test func `a late do after do and undo gets the first answer and no effect`() throws {
        let result = try self.run([self.command(.action), self.command(.compensate), self.command(.action)])
        #expect(result.done == 1 && result.undone == 1)
        #expect(result.answers.last == .success(output: "r-1"))
    }

    @Test func `sagas are told apart`() throws {
        let result = try self.run([self.command(.action), self.command(.action, saga: "s2")])
        #expect(result.done == 2)
    }

    @Test func `an effect that throws leaves nothing, and may be tried again`() throws {
        #expect(throws: Oops.self) {
            try self.table.rollingBack {
                try self.barrier.enter(self.command(.action), in: self.table) { _ in throw Oops() }
            }
        }
        #expect(try self.run([self.command(.action)]).done == 1)
    }

    @Test(arguments: [
        SagaOutcome.unknown(reason: "x", retry: .mayHaveRun), .ongoing(retryAfter: .seconds(1)),
    ])
    func `only a final answer is kept`(outcome: SagaOutcome) throws {
        let error = #expect(throws: SagaError.self) {
            try self.table.rollingBack {
                try self.barrier.enter(self.command(.action), in: self.table) { _ in outcome }
            }
        }
        #expect(error?.code == .notAllowed)
        #expect(try self.run([self.command(.action)]).done == 1)
    }

    @Test func `an undo cannot be refused`() throws {
        _ = try self.run([self.command(.action)])
        let error = #expect(throws: SagaError.self) {
            try self.table.rollingBack {
                try self.barrier.enter(self.command(.compensate), in: self.table) { _ in .rejected(reason: "no") }
            }
        }
        #expect(error?.code == .notAllowed)
        #expect(try self.run([self.command(.compensate)]).undone == 1)
    }

    @Test func `any order of any number of commands has the effect of at most one do and one undo`() throws {
        let random = SeededRandomSource(seed: 11)
        for round in 0..<500 {
            let commands = (0..<(1 + Int(random.next() % 8))).map { _ in
                self.command(random.next() % 2 == 0 ? .action : .compensate, saga: "s\(round)")
            }
            let result = try self.run(commands)
            #expect(result.done <= 1 && result.undone <= result.done)
            let firstUndo = commands.firstIndex { $0.operation == .compensate }
            let isDoneFirst = commands.first?.operation == .action
            #expect(result.done == (isDoneFirst ? 1 : 0))
            #expect(result.undone == (isDoneFirst && firstUndo != nil ? 1 : 0))
        }
    }
}
