import ParleyCore
import Testing

@testable import ParleySagas

/// The machine, one rule at a time, on the repaired order saga.
@Suite struct SagaMachineTests {
    private let machine: SagaMachine
    private let start = Timestamp(microseconds: 1_767_225_600_000_000)

    init() throws {
        var definition = try OrderSaga.repaired()
        for name in definition.states.keys {
            definition.states[name]?.retry.maximumAttempts = 3
            definition.states[name]?.retry.timeout = .seconds(10)
            let backoff = Backoff(initial: .seconds(1), factor: 2, cap: .seconds(8), jitter: 0)
            definition.states[name]?.retry.backoff = backoff
        }
        self.machine = SagaMachine(definition: definition, stuckInterval: .seconds(60))
    }

    private func begin(owner: String? = "me") -> SagaInstance {
        self.machine.start(id: "s1", businessKey: "order-1", input: "{}", owner: owner, now: self.start).instance
    }

    private func apply(_ outcome: SagaOutcome, _ saga: SagaInstance, after wait: Duration = .zero) -> SagaTransition {
        self.machine.apply(outcome, to: saga, now: saga.updatedAt + wait, chance: 0)
    }

    private func walk(_ outcomes: SagaOutcome..., from saga: SagaInstance? = nil) -> SagaInstance {
        outcomes.reduce(saga ?? self.begin()) { saga, outcome in
            var driven = saga
            if saga.owner == nil, !saga.status.isTerminal { driven.owner = "me" }
            return self.apply(outcome, driven).instance
        }
    }

    private static let done = SagaOutcome.success(output: nil)
    private static let lost = SagaOutcome.unknown(reason: "no answer", retry: .mayHaveRun)
    private static let unsent = SagaOutcome.unknown(reason: "refused connection", retry: .notSent)
    private static let refused = SagaOutcome.rejected(reason: "no")

    @Test func `it starts where the definition says`() {
        let transition = self.machine.start(id: "s", businessKey: "b", input: "7", owner: nil, now: self.start)
        let saga = transition.instance
        #expect(saga.state == "ORDER_CREATED" && saga.status == .running && saga.version == 1 && saga.epoch == 1)
        #expect(saga.dueAt == self.start && saga.owner == nil && saga.input == "7")
        #expect(saga.definition == self.machine.definition.fingerprint)
        #expect(transition.events.map(\.kind) == [.started])
        #expect(self.begin(owner: "me").dueAt == nil)
    }

    @Test func `all well`() {
        let saga = self.walk(.success(output: "r"), Self.done, Self.done)
        #expect(saga.state == "SAGA_COMPLETED" && saga.status == .completed && saga.version == 4)
        #expect(saga.owner == nil && saga.dueAt == nil && saga.reason == nil)
        #expect(saga.effects.map(\.status) == [.applied, .applied, .applied])
        #expect(saga.output(of: "reserve_inventory") == "r")
        #expect(self.machine.command(for: saga) == nil)
    }

    @Test func `a refusal at once ends it with nothing to undo`() {
        let saga = self.walk(Self.refused)
        #expect(saga.status == .failed && saga.state == "SAGA_FAILED" && saga.reason == "no")
        #expect(saga.effects.map(\.status) == [.rejected])
    }

    @Test func `a refusal later undoes what was done, in reverse`() {
        let afterRefusal = self.walk(Self.done, Self.done, Self.refused)
        #expect(afterRefusal.state == "COMPENSATE_PAYMENT" && afterRefusal.status == .running)
        let command = self.machine.command(for: afterRefusal)
        #expect(command?.action == "refund_payment" && command?.operation == .compensate)
        #expect(command?.step == "process_payment" && command?.reason == "no")
        #expect(command?.idempotencyKey == "s1/process_payment/compensate")
        let afterRefund = self.walk(Self.done, from: afterRefusal)
        #expect(afterRefund.state == "COMPENSATE_INVENTORY")
        let end = self.walk(Self.done, from: afterRefund)
        #expect(end.status == .failed && end.reason == "no")
        #expect(end.effects.map(\.status) == [.undone, .undone, .rejected])
    }

    @Test func `an unknown outcome is asked for again under the same key`() {
        let first = self.begin()
        let transition = self.apply(Self.lost, first)
        let saga = transition.instance
        #expect(saga.state == first.state && saga.attempt == 1 && saga.isUncertain && saga.status == .running)
        #expect(saga.owner == nil && saga.dueAt == first.updatedAt + .seconds(1))
        #expect(transition.events.map(\.kind) == [.retrying])
        let again = self.machine.command(for: saga)
        #expect(again?.idempotencyKey == self.machine.command(for: first)?.idempotencyKey)
        #expect(again?.attempt == 2)
        #expect(self.apply(Self.lost, saga).instance.dueAt == saga.updatedAt + .seconds(2))
    }

    @Test func `a wait never goes beyond the state's time`() {
        var saga = self.begin()
        saga.enteredAt = self.start + .milliseconds(-9_500)
        #expect(self.apply(Self.lost, saga).instance.dueAt == saga.enteredAt + .seconds(10))
    }

    @Test func `an outcome that stays unknown leads to on_unknown, as an effect that may be there`() {
        let saga = self.walk(Self.done, Self.lost, Self.unsent, Self.unsent)
        #expect(saga.state == "COMPENSATE_PAYMENT")
        #expect(saga.effects.map(\.status) == [.applied, .maybe])
        #expect(saga.attempt == 0 && !saga.isUncertain)
        let end = self.walk(Self.done, Self.done, from: saga)
        #expect(end.status == .failed && end.effects.map(\.status) == [.undone, .undone])
    }

    @Test func `a step that was never sent counts as refused when its tries are spent`() {
        let saga = self.walk(Self.done, Self.unsent, Self.unsent, Self.unsent)
        #expect(saga.state == "COMPENSATE_INVENTORY")
        #expect(saga.effects.map(\.status) == [.applied, .rejected])
        #expect(saga.reason?.contains("3 tries") == true)
    }

    @Test func `a step's time ends its tries`() {
        let saga = self.walk(Self.done)
        let late = self.apply(Self.lost, saga, after: .seconds(11)).instance
        #expect(late.state == "COMPENSATE_PAYMENT")
    }

    @Test func `without on_unknown it is stuck, keeps asking, and heals`() {
        let saga = self.walk(Self.done, Self.done, Self.lost, Self.lost, Self.lost)
        #expect(saga.status == .stuck && saga.state == "PAYMENT_PROCESSED")
        #expect(saga.dueAt == saga.updatedAt + .seconds(60) && saga.owner == nil)
        #expect(saga.reason?.contains("confirm_order") == true)
        #expect(self.machine.command(for: saga)?.idempotencyKey == "s1/confirm_order/action")
        let still = self.walk(Self.lost, from: saga)
        #expect(still.status == .stuck && still.dueAt == still.updatedAt + .seconds(60))
        #expect(self.walk(Self.done, from: still).status == .completed)
        #expect(self.walk(Self.refused, from: still).state == "COMPENSATE_PAYMENT")
    }

    @Test(arguments: [refused, lost, unsent])
    func `an undo that fails is asked again, then stuck, never failed`(outcome: SagaOutcome) {
        var saga = self.walk(Self.done, Self.refused)
        #expect(saga.state == "COMPENSATE_INVENTORY")
        for attempt in 1...1_000 {
            saga = self.walk(outcome, from: saga)
            #expect(saga.state == "COMPENSATE_INVENTORY" && saga.status == (attempt < 3 ? .running : .stuck))
            #expect(self.machine.outstandingEffects(of: saga).map(\.step) == ["reserve_inventory"])
            guard saga.dueAt != nil else { break }
        }
        #expect(self.walk(Self.done, from: saga).status == .failed)
    }

    @Test func `a thousand failures of an undo do not fill the history`() {
        var saga = self.walk(Self.done, Self.refused)
        var lines = 0
        for _ in 1...1_000 {
            let transition = self.apply(Self.lost, saga)
            saga = transition.instance
            saga.owner = "me"
            lines += transition.events.count
        }
        #expect(lines < 50)
    }

    @Test func `ongoing is waited for and is no failure, until the time is over`() {
        var saga = self.walk(Self.done)
        for _ in 1...4 {
            let wait = SagaOutcome.ongoing(retryAfter: .seconds(2))
            saga = self.apply(wait, saga, after: .seconds(2)).instance
            #expect(saga.state == "INVENTORY_RESERVED" && saga.attempt == 0 && saga.isUncertain)
            #expect(saga.dueAt == saga.updatedAt + .seconds(2))
        }
        let end = self.apply(.ongoing(retryAfter: .seconds(2)), saga, after: .seconds(4)).instance
        #expect(end.state == "COMPENSATE_PAYMENT" && end.effects.last?.status == .maybe)
    }

    @Test func `a hostile ongoing is brought into range`() {
        let saga = self.walk(Self.done)
        let short = self.apply(.ongoing(retryAfter: .seconds(-5)), saga).instance
        #expect(short.dueAt == saga.updatedAt + .milliseconds(10))
        let long = self.apply(.ongoing(retryAfter: .seconds(1_000_000_000)), saga).instance
        #expect(long.dueAt == saga.updatedAt + .seconds(3_600))
    }

    @Test func `an undo that is ongoing may take as long as it likes`() {
        let saga = self.walk(Self.done, Self.refused)
        let later = self.apply(.ongoing(retryAfter: .seconds(1)), saga, after: .seconds(10_000)).instance
        #expect(later.status == .running && later.state == "COMPENSATE_INVENTORY")
    }

    @Test func `each visit of a circle has a key of its own, and is undone by it`() throws {
        let definition = SagaDefinition(
            name: "circle",
            initial: "A",
            states: [
                "A": .init(action: "reserve_x", onSuccess: "B", onFailure: "U"),
                "B": .init(action: "check", onSuccess: "SAGA_COMPLETED", onFailure: "A"),
                "U": .init(action: "release_x", onSuccess: "SAGA_FAILED"),
            ]
        )
        let machine = SagaMachine(definition: definition)
        var saga = machine.start(id: "s", businessKey: "b", input: "", owner: "me", now: self.start).instance
        var steps: [String] = []
        for outcome in [Self.done, Self.refused, Self.done, Self.refused, Self.refused] {
            steps.append(try #require(machine.command(for: saga)).step)
            saga = machine.apply(outcome, to: saga, now: self.start, chance: 0).instance
        }
        #expect(steps == ["reserve_x", "check", "reserve_x#2", "check#2", "reserve_x#3"])
        // The newest is undone first, and one undo is not enough for two: that is a leak, and not a clean failure.
        #expect(machine.command(for: saga)?.step == "reserve_x#2")
        saga = machine.apply(Self.done, to: saga, now: self.start, chance: 0).instance
        #expect(saga.status == .stuck && saga.reason?.contains("reserve_x") == true)
    }

    @Test func `running in circles ends`() {
        let definition = SagaDefinition(
            name: "circle",
            initial: "A",
            states: ["A": .init(action: "a", onSuccess: "A", onFailure: "SAGA_FAILED")]
        )
        let machine = SagaMachine(definition: definition)
        var saga = machine.start(id: "s", businessKey: "b", input: "", owner: "me", now: self.start).instance
        for _ in 0..<(SagaMachine.maximumVisits + 5) where saga.status == .running {
            saga = machine.apply(Self.done, to: saga, now: self.start, chance: 0).instance
        }
        #expect(saga.status == .stuck && saga.reason?.contains("circles") == true)
    }

    @Test func `an end with effects left is stuck, not failed`() throws {
        let machine = SagaMachine(definition: try OrderSaga.read(OrderSaga.guideJSON))
        var saga = machine.start(id: "s", businessKey: "b", input: "", owner: "me", now: self.start).instance
        for outcome in [Self.done, Self.done, Self.refused] {
            saga = machine.apply(outcome, to: saga, now: self.start, chance: 0).instance
        }
        #expect(saga.status == .stuck && saga.state == "COMPENSATE_PAYMENT")
        #expect(saga.reason?.contains("no state 'COMPENSATE_PAYMENT'") == true)
    }

    @Test func `a missing edge is stuck, with the reason`() {
        let definition = SagaDefinition(
            name: "gap",
            initial: "A",
            states: ["A": .init(action: "a", onSuccess: "SAGA_COMPLETED")]
        )
        let machine = SagaMachine(definition: definition)
        let saga = machine.start(id: "s", businessKey: "b", input: "", owner: "me", now: self.start).instance
        let parked = machine.apply(Self.refused, to: saga, now: self.start, chance: 0).instance
        #expect(parked.status == .stuck && parked.reason?.contains("no on_failure") == true)
    }

    @Test func `trying again by hand gives a fresh budget and a new epoch`() {
        let stuck = self.walk(Self.done, Self.done, Self.lost, Self.lost, Self.lost)
        let transition = self.machine.retryNow(stuck, by: "ada", now: stuck.updatedAt)
        let saga = transition.instance
        #expect(saga.status == .running && saga.attempt == 0 && saga.dueAt == stuck.updatedAt && saga.owner == nil)
        #expect(saga.epoch == stuck.epoch + 1 && saga.version == stuck.version + 1)
        #expect(saga.isUncertain, "what may have run may still have run")
        #expect(transition.events.map(\.kind) == [.resumed])
        #expect(transition.events.first?.detail?.contains("ada") == true)
    }

    @Test func `force sets the state, audited and under a new epoch`() {
        let running = self.walk(Self.done)
        let transition = self.machine.force(
            running,
            to: "COMPENSATE_INVENTORY",
            by: "ada",
            because: "phone call",
            now: running.updatedAt
        )
        #expect(transition.instance.state == "COMPENSATE_INVENTORY" && transition.instance.owner == nil)
        #expect(transition.instance.epoch == running.epoch + 1)
        let event = transition.events.first
        #expect(event?.kind == .forced && event?.state == "INVENTORY_RESERVED")
        #expect(event?.nextState == "COMPENSATE_INVENTORY" && event?.detail == "by ada: phone call")
    }

    @Test(arguments: [
        (200, "success"), (204, "success"), (409, "rejected"), (425, "ongoing"), (400, "unknown"), (404, "unknown"),
        (500, "unknown"), (503, "unknown"), (302, "unknown"), (0, "unknown"),
    ])
    func `a participant's HTTP answer`(status: Int, kind: String) {
        let outcome = SagaOutcome(httpStatus: status, body: "b", retryAfter: .seconds(3))
        switch outcome {
        case .success(let output): #expect(kind == "success" && output == "b")
        case .rejected(let reason): #expect(kind == "rejected" && reason == "b")
        case .ongoing(let wait): #expect(kind == "ongoing" && wait == .seconds(3))
        case .unknown(_, let retry): #expect(kind == "unknown" && retry == .mayHaveRun)
        }
    }
}
