import ParleyCore
import ParleySagas
import Testing

@Suite struct DefinitionJSONTests {
    @Test func `the guide's file loads as it is`() throws {
        let saga = try OrderSaga.read(OrderSaga.guideJSON)
        #expect(saga.name == "order_saga")
        #expect(saga.initial == "ORDER_CREATED")
        #expect(
            saga.states.keys.sorted()
                == ["COMPENSATE_INVENTORY", "INVENTORY_RESERVED", "ORDER_CREATED", "PAYMENT_PROCESSED"]
        )
        #expect(saga.states["ORDER_CREATED"]?.action == "reserve_inventory")
        #expect(saga.states["ORDER_CREATED"]?.onSuccess == "INVENTORY_RESERVED")
        #expect(saga.states["ORDER_CREATED"]?.onFailure == "SAGA_FAILED")
        #expect(saga.states["COMPENSATE_INVENTORY"]?.compensates == "reserve_inventory")
        #expect(saga.states["COMPENSATE_INVENTORY"]?.retry == .undo)
        #expect(saga.states["ORDER_CREATED"]?.retry == .action)
        #expect(saga.terminals == ["SAGA_COMPLETED", "SAGA_FAILED"])
        #expect(saga.successes == ["SAGA_COMPLETED"])
        #expect(saga.parked == [])
        #expect(saga.unknownFields == [])
    }

    @Test func `every optional field is read`() throws {
        let json = """
            {"s": {"initial": "A", "version": "2", "description": "d", "terminal": ["DONE", "LOST"],
                "success": ["DONE"], "parked": ["WAIT"], "states": {
                "A": {"action": "a", "on_success": "DONE", "on_failure": "WAIT", "on_unknown": "B", "pivot": true,
                    "description": "d", "retry": {"attempts": 3, "timeout_seconds": 1.5, "initial_seconds": 0.25,
                    "cap_seconds": 2, "factor": 3, "jitter": 0.1}},
                "B": {"action": "b", "on_success": "LOST", "compensates": "a"}}}}
            """
        let saga = try OrderSaga.read(json)
        #expect(saga.terminals == ["DONE", "LOST"] && saga.successes == ["DONE"] && saga.parked == ["WAIT"])
        let state = try #require(saga.states["A"])
        #expect(state.onUnknown == "B" && state.isPivot)
        #expect(state.retry.maximumAttempts == 3)
        #expect(state.retry.timeout == .milliseconds(1_500))
        let wanted = Backoff(initial: .milliseconds(250), factor: 3, cap: .seconds(2), jitter: 0.1)
        #expect(state.retry.backoff == wanted)
        #expect(saga.states["B"]?.compensates == "a" && saga.states["B"]?.retry == .undo)
    }

    @Test func `several definitions come sorted by name`() throws {
        let json = #"{"b": {"initial": "X", "states": {}}, "a": {"initial": "Y", "states": {}}}"#
        #expect(try SagaDefinition.read(json: Array(json.utf8)).map(\.name) == ["a", "b"])
        #expect(try SagaDefinition.read(json: Array("{}".utf8)).isEmpty)
    }

    @Test(arguments: [
        ("", "the file"),
        ("{", "the file"),
        ("[]", "the file"),
        ("null", "the file"),
        (#"{"s": []}"#, "s"),
        (#"{"s": {"states": {}}}"#, "initial"),
        (#"{"s": {"initial": 7, "states": {}}}"#, "s.initial"),
        (#"{"s": {"initial": "A"}}"#, "states"),
        (#"{"s": {"initial": "A", "states": {"A": {}}}}"#, "action"),
        (#"{"s": {"initial": "A", "states": {"A": {"action": 1}}}}"#, "s.states.A.action"),
        (#"{"s": {"initial": "A", "states": {"A": {"action": "a", "on_success": 1}}}}"#, "s.states.A.on_success"),
        (#"{"s": {"initial": "A", "states": {"A": {"action": "a", "pivot": "yes"}}}}"#, "s.states.A.pivot"),
        (
            #"{"s": {"initial": "A", "states": {"A": {"action": "a", "retry": {"attempts": "x"}}}}}"#,
            "s.states.A.retry.attempts"
        ),
        (#"{"s": {"initial": "A", "states": {}, "terminal": "X"}}"#, "s.terminal"),
        ("\u{FEFF}{}}", "the file"),
    ])
    func `a malformed file is refused with the place`(json: String, place: String) throws {
        let error = try #require(throws: SagaError.self) { try SagaDefinition.read(json: Array(json.utf8)) }
        #expect(error.code == .invalidDefinition)
        #expect(error.message.contains(place), "\(error.message)")
    }

    @Test func `hostile files are refused, not crashed on`() {
        let files: [[UInt8]] = [
            [0xFF, 0xFE, 0x00], Array(repeating: UInt8(ascii: "["), count: 100_000),
            Array(repeating: UInt8(ascii: " "), count: SagaDefinition.maximumFileBytes + 1),
            Array(String(repeating: #"{"a":"#, count: 20_000).utf8),
        ]
        for file in files {
            #expect(throws: SagaError.self) { try SagaDefinition.read(json: file) }
        }
    }

    @Test(arguments: [
        #"{"attempts": -5, "timeout_seconds": -1, "initial_seconds": -1, "cap_seconds": -1}"#,
        #"{"attempts": 9223372036854775807, "timeout_seconds": 1e300}"#,
        #"{"initial_seconds": 1e300, "cap_seconds": 1e300}"#, #"{"factor": -1, "jitter": 9}"#,
        #"{"factor": 1e308, "jitter": -4}"#,
    ])
    func `absurd retries are brought into range`(retry: String) throws {
        let json = #"{"s": {"initial": "A", "states": {"A": {"action": "a", "retry": \#(retry)}}}}"#
        let read = try #require(try OrderSaga.read(json).states["A"]?.retry)
        #expect(read.maximumAttempts >= 1)
        #expect(read.timeout >= .zero)
        #expect((0...1).contains(read.backoff.jitter) && read.backoff.factor >= 1)
        let wait = read.backoff.delay(afterFailures: 50, chance: 0)
        #expect(wait >= .zero && wait <= read.backoff.cap)
    }

    @Test func `unknown fields are kept as paths, and found by the linter`() throws {
        let json = """
            {"s": {"initial": "A", "colour": 1, "states": {
                "A": {"action": "a", "on_sucess": "X", "on_success": "SAGA_COMPLETED", "on_failure": "SAGA_FAILED"},
                "B": {"action": "b", "timeout": 3}}}}
            """
        let saga = try OrderSaga.read(json)
        #expect(saga.unknownFields == ["colour", "states.A.on_sucess", "states.B.timeout"])
        let found = SagaLinter.check(saga).filter { $0.rule == "S004" }
        #expect(found.count == 3)
        #expect(found.allSatisfy { $0.severity == .warning })
        #expect(found.contains { $0.message.contains("states.A.on_sucess") })
    }

    @Test(arguments: [OrderSaga.guideJSON, OrderSaga.repairedJSON])
    func `the canonical form reads back unchanged`(json: String) throws {
        let saga = try OrderSaga.read(json)
        let again = try OrderSaga.read(saga.canonicalJSON)
        #expect(again == saga)
        #expect(again.canonicalJSON == saga.canonicalJSON)
        #expect(again.fingerprint == saga.fingerprint)
    }

    @Test func `the canonical form of any definition reads back unchanged`() throws {
        let random = SeededRandomSource(seed: 5)
        for _ in 0..<300 {
            let saga = RandomSaga.make(random)
            let again = try OrderSaga.read(saga.canonicalJSON)
            try #require(again == saga, "\(saga.canonicalJSON)")
        }
    }

    @Test func `the fingerprint does not depend on spelling, and does on content`() throws {
        let saga = try OrderSaga.repaired()
        let respelt = OrderSaga.repairedJSON.replacing("\n", with: " ").replacing("  ", with: " ")
        #expect(try OrderSaga.read(respelt).fingerprint == saga.fingerprint)
        var changed = saga
        changed.states["ORDER_CREATED"]?.retry.maximumAttempts += 1
        #expect(changed.fingerprint != saga.fingerprint)
        // Pinned instances of a running system are found by it: a new release must not change it silently.
        #expect(saga.fingerprint == "d9a271ff808b2d16")
    }
}

/// Definitions out of the blue, for properties that must hold for all of them.
enum RandomSaga {
    static func make(_ random: any RandomSource) -> SagaDefinition {
        func pick(_ count: Int) -> Int { Int(random.next() % UInt64(count)) }
        let names = (0..<(1 + pick(6))).map { "S\($0)" }
        let ends = ["SAGA_COMPLETED", "SAGA_FAILED", "SAGA_STUCK"]
        func target() -> String? { pick(8) == 0 ? nil : (names + ends)[pick(names.count + ends.count)] }
        var states: [String: SagaDefinition.State] = [:]
        for (number, name) in names.enumerated() {
            let undone = pick(3) == 0 ? "do_\(pick(names.count))" : nil
            states[name] = SagaDefinition.State(
                action: undone == nil ? "do_\(number)" : "undo_\(number)",
                onSuccess: target(),
                onFailure: target(),
                onUnknown: target(),
                compensates: undone,
                isPivot: pick(6) == 0,
                retry: SagaDefinition.Retry(
                    maximumAttempts: 1 + pick(4),
                    timeout: .milliseconds(1 + pick(5_000)),
                    backoff: Backoff(
                        initial: .milliseconds(pick(300)),
                        factor: 1 + Double(pick(5)) / 4,
                        cap: .milliseconds(300 + pick(2_000)),
                        jitter: Double(pick(5)) / 4
                    )
                )
            )
        }
        return SagaDefinition(name: "random", initial: "S0", states: states)
    }
}
