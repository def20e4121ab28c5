import ParleyCore
import Testing

@testable import ParleySagas

/// Random outcomes on random definitions: what must hold after every commit, whatever happens.
@Suite struct SagaMachineModelTests {
    /// Remembers, beside the machine, what participants could know.
    private struct Truth {
        /// Visits whose effect is, or may be, in the world.
        var standing: Set<String> = []
        /// Whether each try at the present state said that it was not sent.
        var onlyUnsent = true
    }

    @Test(arguments: 0..<40)
    func `the invariants hold on random definitions`(seed: UInt64) throws {
        let random = SeededRandomSource(seed: seed)
        for _ in 0..<50 {
            try self.play(SagaMachine(definition: RandomSaga.make(random), stuckInterval: .seconds(5)), random, seed)
        }
    }

    @Test(arguments: 100..<120)
    func `the invariants hold on the order saga`(seed: UInt64) throws {
        let random = SeededRandomSource(seed: seed)
        let machine = SagaMachine(definition: try OrderSaga.repaired(), stuckInterval: .seconds(5))
        for _ in 0..<50 { try self.play(machine, random, seed) }
    }

    /// With participants that answer at last, the repaired saga ends: nothing keeps it stuck.
    @Test(arguments: 200..<220)
    func `the order saga always ends once participants answer`(seed: UInt64) throws {
        let random = SeededRandomSource(seed: seed)
        let machine = SagaMachine(definition: try OrderSaga.repaired(), stuckInterval: .seconds(5))
        for _ in 0..<50 {
            var saga = machine.start(id: "s", businessKey: "b", input: "", owner: "me", now: .zero).instance
            var now = Timestamp.zero
            for round in 0..<600 where !saga.status.isTerminal {
                now = max(now, saga.dueAt ?? now)
                saga.owner = "me"
                let outcome = round < 500 ? Self.outcome(random) : .success(output: nil)
                saga = machine.apply(outcome, to: saga, now: now, chance: random.unitInterval()).instance
            }
            #expect(saga.status.isTerminal, "seed \(seed): \(saga.state) \(saga.reason ?? "")")
        }
    }

    private static func outcome(_ random: any RandomSource) -> SagaOutcome {
        switch random.next() % 10 {
        case 0...3: .success(output: "\(random.next() % 100)")
        case 4, 5: .rejected(reason: "no")
        case 6, 7: .unknown(reason: "lost", retry: .mayHaveRun)
        case 8: .unknown(reason: "unsent", retry: .notSent)
        default: .ongoing(retryAfter: .milliseconds(Int(random.next() % 900)))
        }
    }

    private func play(_ machine: SagaMachine, _ random: any RandomSource, _ seed: UInt64) throws {
        var now = Timestamp(microseconds: 1_000_000)
        var saga = machine.start(id: "s", businessKey: "b", input: "", owner: "me", now: now).instance
        var truth = Truth()
        for _ in 0..<80 {
            guard let command = machine.command(for: saga) else { break }
            now = max(now, saga.dueAt ?? now) + .milliseconds(Int(random.next() % 200))
            let before = Self.claimed(saga, random, &truth)
            let outcome = Self.outcome(random)
            Self.note(outcome, command, &truth)
            let transition = machine.apply(outcome, to: before, now: now, chance: random.unitInterval())
            try Self.check(machine, before, transition, outcome, truth, command, "seed \(seed), \(outcome)")
            saga = transition.instance
            if saga.state != before.state || saga.enteredAt != before.enteredAt { truth.onlyUnsent = true }
        }
    }

    /// As a store's claim does: sometimes from a driver that died in the middle of its action.
    private static func claimed(
        _ saga: SagaInstance,
        _ random: any RandomSource,
        _ truth: inout Truth
    ) -> SagaInstance {
        var claimed = saga
        claimed.owner = "me"
        claimed.dueAt = nil
        if random.next() % 10 == 0 {
            claimed.isUncertain = true
            claimed.epoch += 1
            claimed.version += 1
            truth.onlyUnsent = false
        }
        return claimed
    }

    /// What the world looks like after this answer, as a participant would tell it.
    private static func note(_ outcome: SagaOutcome, _ command: SagaCommand, _ truth: inout Truth) {
        switch (command.operation, outcome) {
        case (.action, .success): truth.standing.insert(command.step)
        case (.action, .unknown(_, let retry)):
            if retry != .notSent {
                truth.standing.insert(command.step)
                truth.onlyUnsent = false
            }
        case (.action, .ongoing):
            truth.standing.insert(command.step)
            truth.onlyUnsent = false
        // A definite refusal says that it has not been done, also not by an earlier try under the same key.
        case (.action, .rejected): truth.standing.remove(command.step)
        case (.compensate, .success): truth.standing.remove(command.step)
        case (.compensate, _): break
        }
    }

    private static func check(
        _ machine: SagaMachine,
        _ before: SagaInstance,
        _ transition: SagaTransition,
        _ outcome: SagaOutcome,
        _ truth: Truth,
        _ command: SagaCommand,
        _ hint: String
    ) throws {
        let after = transition.instance
        let isUndo = command.operation == .compensate
        try #require(after.version == before.version + 1, "\(hint): the version rises by one")
        try #require(after.epoch == before.epoch, "\(hint): the epoch is the store's")
        try #require(transition.events.allSatisfy { $0.version == after.version }, "\(hint): history and version")
        if after.status.isTerminal {
            try #require(after.owner == nil && after.dueAt == nil, "\(hint): nobody drives what has ended")
            try #require(machine.definition.terminals.contains(after.state), "\(hint): it ends in a terminal")
        }
        if after.status == .completed {
            try #require(machine.definition.successes.contains(after.state), "\(hint): success is a success terminal")
        }
        if after.status == .failed {
            try #require(machine.outstandingEffects(of: after).isEmpty, "\(hint): failed means undone")
            let compensated = machine.definition.compensatedActions
            let left = truth.standing.filter { step in
                compensated.contains(step.split(separator: "#").first.map(String.init) ?? "")
            }
            try #require(left.isEmpty, "\(hint): failed means that nothing stands: \(left)")
        }
        if isUndo, case .success = outcome {
        } else if isUndo {
            try #require(!after.status.isTerminal, "\(hint): an undo that did not succeed ends nothing")
            try #require(after.state == before.state, "\(hint): an undo that did not succeed leads nowhere")
        }
        func refusals(_ saga: SagaInstance) -> Int { saga.effects.count { $0.status == .rejected } }
        if refusals(after) > refusals(before), case .unknown = outcome {
            try #require(truth.onlyUnsent, "\(hint): unknown is no refusal unless nothing was ever sent")
        }
        if after.state != before.state || after.effects.count > before.effects.count {
            if after.status != .stuck {
                try #require(after.attempt == 0 && !after.isUncertain, "\(hint): a new state has a fresh budget")
                try #require(after.enteredAt == after.updatedAt, "\(hint): a new state has its own time")
            }
        }
        if after.owner == nil, !after.status.isTerminal, machine.definition.states[after.state] != nil {
            try #require(after.dueAt != nil, "\(hint): what waits in a state with an action is due some time")
        }
    }
}

extension Timestamp {
    static let zero = Timestamp(microseconds: 0)
}
