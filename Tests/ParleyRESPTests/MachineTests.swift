import ParleyCore
import RedisTestSupport
import Testing

@testable import ParleyRESP

@Suite struct MachineTests {
    private typealias Machine = RESPConnectionMachine

    private static func ready(inFlight: Int = 4, waiting: Int = 8, silence: UInt64 = 1_000_000) -> Machine {
        var machine = Machine(
            limits: .init(inFlight: inFlight, waiting: waiting, silence: silence),
            handshake: .init(authenticates: false, names: false, selects: false)
        )
        _ = machine.connected()
        _ = machine.received(.value, now: 0)
        _ = machine.received(.value, now: 0)
        return machine
    }

    @Test func aHandshakeInRESP3() {
        var machine = Machine(
            limits: .init(inFlight: 1, waiting: 1, silence: 1),
            handshake: .init(authenticates: true, names: true, selects: true)
        )
        #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .notReady)
        #expect(machine.connected() == .hello)
        #expect(machine.received(.push, now: 0) == .push)
        #expect(machine.received(.value, now: 0) == .ask(.select))
        #expect(machine.received(.value, now: 0) == .ask(.introduce))
        #expect(machine.received(.refusal(unknownCommand: true), now: 0) == .ready)
        let (speaks, isReady) = (machine.usesRESP3, machine.isReady)
        #expect(speaks && isReady)
    }

    @Test func aHandshakeThatFallsBack() {
        var machine = Machine(
            limits: .init(inFlight: 1, waiting: 1, silence: 1),
            handshake: .init(authenticates: true, names: true, selects: true)
        )
        #expect(machine.connected() == .hello)
        #expect(machine.received(.refusal(unknownCommand: true), now: 0) == .ask(.authenticate))
        #expect(machine.received(.value, now: 0) == .ask(.name))
        #expect(machine.received(.value, now: 0) == .ask(.select))
        #expect(machine.received(.value, now: 0) == .ask(.introduce))
        #expect(machine.received(.value, now: 0) == .ready)
        let speaks = machine.usesRESP3
        #expect(!speaks)
    }

    @Test(arguments: 0..<4) func aRefusedHandshakeEnds(_ step: Int) {
        var machine = Machine(
            limits: .init(inFlight: 1, waiting: 1, silence: 1),
            handshake: .init(prefersRESP3: step == 0, authenticates: true, names: true, selects: true)
        )
        let steps: [Machine.Step] = [.hello, .authenticate, .name, .select]
        #expect(machine.connected() == (step == 0 ? .hello : .authenticate))
        for _ in 1..<max(1, step) { _ = machine.received(.value, now: 0) }
        #expect(machine.received(.refusal(unknownCommand: false), now: 0) == .handshakeRefused(steps[step]))
        #expect(machine.received(.value, now: 0) == .ignore)
    }

    @Test func aCancelledCommandKeepsItsPlace() {
        var machine = Self.ready()
        for id in 0..<3 as Range<UInt64> {
            #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .accepted(id))
        }
        #expect(machine.write(now: 0) == .write(0))
        #expect(machine.write(now: 0) == .write(1))
        #expect(machine.cancel(0) == .fail(.mayHaveRun))
        #expect(machine.cancel(0) == .none)
        #expect(machine.cancel(2) == .fail(.notSent))
        #expect(machine.write(now: 0) == .skip(2))
        #expect(machine.received(.value, now: 0) == .discard(0, isLast: true))
        #expect(machine.received(.value, now: 0) == .deliver(1, isLast: true))
        #expect(machine.received(.value, now: 0) == .unexpected)
        #expect(machine.cancel(1) == .none)
    }

    @Test func limitsHoldAtTheLimitAndNotBeyond() {
        var machine = Self.ready(inFlight: 2, waiting: 3)
        for _ in 0..<3 { _ = machine.submit(commands: 1, deadline: nil, blocks: false) }
        #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .overloaded)
        #expect(machine.write(now: 0) == .write(0))
        #expect(machine.write(now: 0) == .write(1))
        #expect(machine.write(now: 0) == .wait)
        #expect(machine.received(.value, now: 0) == .deliver(0, isLast: true))
        #expect(machine.write(now: 0) == .write(2))
    }

    @Test func whoComesAndGoesFillsTheLineToo() {
        var machine = Self.ready(inFlight: 1, waiting: 3)
        for id in 0..<3 as Range<UInt64> {
            #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .accepted(id))
            #expect(machine.cancel(id) == .fail(.notSent))
        }
        #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .overloaded)
        #expect(machine.write(now: 0) == .skip(0))
        #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .accepted(3))
    }

    @Test func aBlockLargerThanEveryLimitGoesAlone() {
        var machine = Self.ready(inFlight: 2, waiting: 3)
        #expect(machine.submit(commands: 9, deadline: nil, blocks: false) == .accepted(0))
        #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .overloaded)
        #expect(machine.write(now: 0) == .write(0))
        #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .accepted(1))
        #expect(machine.write(now: 0) == .wait)
        for _ in 0..<8 { #expect(machine.received(.value, now: 0) == .deliver(0, isLast: false)) }
        #expect(machine.write(now: 0) == .write(1))
    }

    @Test func aSilentPeerIsClosedAndABlockingCommandIsGivenItsTime() {
        var machine = Self.ready(silence: 100)
        _ = machine.submit(commands: 1, deadline: nil, blocks: false)
        _ = machine.write(now: 50)
        #expect(machine.timePassed(now: 149) == .init(next: 150))
        #expect(machine.timePassed(now: 150).closes)
        var blocked = Self.ready(silence: 100)
        _ = blocked.submit(commands: 1, deadline: 500, blocks: true)
        _ = blocked.write(now: 50)
        #expect(blocked.timePassed(now: 499) == .init(next: 500))
        #expect(blocked.timePassed(now: 500) == .init(expired: [.init(id: 0, retry: .mayHaveRun)], closes: true))
    }

    @Test func closingTellsWhatWasSent() {
        var machine = Self.ready(inFlight: 2)
        for _ in 0..<4 { _ = machine.submit(commands: 1, deadline: nil, blocks: false) }
        _ = machine.write(now: 0)
        _ = machine.write(now: 0)
        _ = machine.cancel(1)
        _ = machine.cancel(2)
        #expect(machine.closed() == .init(wasReady: true, notSent: [3], mayHaveRun: [0]))
        #expect(machine.closed() == .init())
        #expect(machine.submit(commands: 1, deadline: nil, blocks: false) == .notReady)
    }

    /// The machine and a simpler one that keeps everything in one list are driven by the same chance.
    @Test(arguments: 1...40 as ClosedRange<UInt64>) func agreesWithTheModel(_ seed: UInt64) {
        let random = SeededRandomSource(seed: seed)
        var machine = Self.ready(inFlight: 4, waiting: 6, silence: .max)
        var model = Model(inFlight: 4, waiting: 6)
        var now: UInt64 = 0
        for _ in 0..<1_000 {
            now += random.next() % 3
            switch random.next() % 10 {
            case 0...2:
                let commands = 1 + Int(random.next() % 3)
                let deadline = random.next().isMultiple(of: 3) ? now + random.next() % 20 : nil
                #expect(
                    machine.submit(commands: commands, deadline: deadline, blocks: false)
                        == model.submit(commands, deadline)
                )
            case 3...4: #expect(machine.write(now: now) == model.write())
            case 5...7: if model.owed > 0 { #expect(machine.received(.value, now: now) == model.received()) }
            case 8:
                guard model.next > 0 else { break }
                let id = random.next() % model.next
                #expect(machine.cancel(id) == model.cancel(id))
            default:
                let action = machine.timePassed(now: now)
                #expect(action.expired == model.expire(now))
                #expect(!action.closes)
            }
            let load = machine.load
            #expect(load == model.load)
        }
        let end = machine.closed()
        #expect(end.notSent == model.open.filter { !$0.isWritten && !$0.isGone }.map(\.id))
        #expect(end.mayHaveRun == model.open.filter { $0.isWritten && !$0.isGone }.map(\.id))
    }

    private struct Model {
        struct Entry {
            var id: UInt64
            var commands: Int
            var missing: Int
            var deadline: UInt64?
            var isWritten = false
            var isGone = false
        }

        let inFlight: Int
        let waiting: Int
        var next: UInt64 = 0
        var open: [Entry] = []

        init(inFlight: Int, waiting: Int) {
            self.inFlight = inFlight
            self.waiting = waiting
        }

        var owed: Int { self.open.filter(\.isWritten).reduce(0) { $0 + $1.missing } }
        var queued: Int { self.open.filter { !$0.isWritten && !$0.isGone }.reduce(0) { $0 + $1.commands } }
        var load: Int { self.owed + self.queued }

        mutating func submit(_ commands: Int, _ deadline: UInt64?) -> Machine.SubmitAction {
            let isEmpty = self.open.allSatisfy(\.isWritten)
            guard self.open.filter({ !$0.isWritten }).count < self.waiting,
                isEmpty || self.queued + commands <= self.waiting
            else { return .overloaded }
            defer { self.next += 1 }
            self.open.append(Entry(id: self.next, commands: commands, missing: commands, deadline: deadline))
            return .accepted(self.next)
        }

        mutating func write() -> Machine.WriteAction {
            guard let index = self.open.firstIndex(where: { !$0.isWritten }) else { return .wait }
            let entry = self.open[index]
            if entry.isGone {
                self.open.remove(at: index)
                return .skip(entry.id)
            }
            guard self.owed == 0 || self.owed + entry.commands <= self.inFlight else { return .wait }
            self.open[index].isWritten = true
            return .write(entry.id)
        }

        mutating func received() -> Machine.ReceiveAction {
            self.open[0].missing -= 1
            let entry = self.open[0]
            let isLast = entry.missing == 0
            if isLast { self.open.removeFirst() }
            return entry.isGone ? .discard(entry.id, isLast: isLast) : .deliver(entry.id, isLast: isLast)
        }

        mutating func cancel(_ id: UInt64) -> Machine.CancelAction {
            guard let index = self.open.firstIndex(where: { $0.id == id }), !self.open[index].isGone else {
                return .none
            }
            self.open[index].isGone = true
            return .fail(self.open[index].isWritten ? .mayHaveRun : .notSent)
        }

        mutating func expire(_ now: UInt64) -> [Machine.Expired] {
            var expired: [Machine.Expired] = []
            for index in self.open.indices where !self.open[index].isGone {
                guard let deadline = self.open[index].deadline, deadline <= now else { continue }
                self.open[index].isGone = true
                expired.append(
                    .init(id: self.open[index].id, retry: self.open[index].isWritten ? .mayHaveRun : .notSent)
                )
            }
            return expired
        }
    }
}
