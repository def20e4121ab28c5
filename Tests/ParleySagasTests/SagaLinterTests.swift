import ParleyCore
import ParleySagas
import Testing

@Suite struct SagaLinterTests {
    @Test func `the guide's order saga is found to lose effects`() throws {
        let findings = SagaLinter.check(try OrderSaga.read(OrderSaga.guideJSON))
        let listed = findings.map { "\($0.rule) \($0.state ?? "-") \($0.severity.rawValue)" }
        #expect(
            listed == [
                "S003 PAYMENT_PROCESSED error", "S010 - error", "S011 ORDER_CREATED warning",
                "S012 COMPENSATE_INVENTORY error", "S013 COMPENSATE_INVENTORY warning",
                "S014 INVENTORY_RESERVED warning",
            ],
            "\(findings.map(\.description))"
        )
        let undefined = try #require(findings.first { $0.rule == "S003" })
        #expect(undefined.message == "on_failure leads to 'COMPENSATE_PAYMENT', which is not defined")
        let leak = try #require(findings.first { $0.rule == "S010" })
        #expect(leak.message.contains("'SAGA_FAILED' can be reached with reserve_inventory not undone"))
        let path = "reserve_inventory done, process_payment refused, release_inventory refused"
        #expect(leak.message.contains(path), "the shortest path that leads there: \(leak.message)")
        let payment = try #require(findings.first { $0.rule == "S014" })
        #expect(payment.message.contains("process_payment"))
    }

    @Test func `the repaired order saga is clean`() throws {
        let findings = SagaLinter.check(try OrderSaga.repaired())
        #expect(findings.isEmpty, "\(findings.map(\.description))")
    }

    /// Rule, state, and the smallest states in which it fires.
    @Test(arguments: [
        ("S001", nil, "X", #""A": {"action": "a", "on_success": "SAGA_COMPLETED", "on_failure": "SAGA_FAILED"}"#),
        ("S002", "A", "A", #""A": {"action": "a", "on_failure": "SAGA_FAILED"}"#),
        ("S002", "A", "A", #""A": {"action": "a", "on_success": "SAGA_COMPLETED"}"#),
        ("S003", "A", "A", #""A": {"action": "a", "on_success": "NOWHERE", "on_failure": "SAGA_FAILED"}"#),
        (
            "S005", "B", "A",
            #"""
            "A": {"action": "a", "on_success": "SAGA_COMPLETED", "on_failure": "SAGA_FAILED"},
            "B": {"action": "b", "on_success": "SAGA_COMPLETED", "on_failure": "SAGA_FAILED"}
            """#
        ),
        ("S006", nil, "A", #""A": {"action": "a", "on_success": "SAGA_FAILED", "on_failure": "SAGA_FAILED"}"#),
        (
            "S007", "A", "A",
            #"""
            "A": {"action": "a", "on_success": "B", "on_failure": "B"},
            "B": {"action": "b", "on_success": "A", "on_failure": "A"}
            """#
        ),
        (
            "S008", "A", "A",
            #""A": {"action": "a", "on_success": "SAGA_COMPLETED", "on_failure": "A"}"#
        ),
        (
            "S010", nil, "A",
            #"""
            "A": {"action": "reserve_x", "on_success": "B", "on_failure": "SAGA_FAILED"},
            "B": {"action": "b", "on_success": "SAGA_COMPLETED", "on_failure": "SAGA_FAILED"},
            "U": {"action": "release_x", "on_success": "SAGA_FAILED"}
            """#
        ),
        (
            "S011", "A", "A",
            #"""
            "A": {"action": "reserve_x", "on_success": "SAGA_COMPLETED", "on_failure": "U"},
            "U": {"action": "release_x", "on_success": "SAGA_FAILED"}
            """#
        ),
        (
            "S012", "U", "A",
            #"""
            "A": {"action": "reserve_x", "on_success": "SAGA_COMPLETED", "on_failure": "U", "on_unknown": "U"},
            "U": {"action": "release_x", "on_success": "SAGA_FAILED", "on_failure": "SAGA_GIVEN_UP"}
            """#
        ),
        (
            "S013", "U", "A",
            #"""
            "A": {"action": "reserve_x", "on_success": "SAGA_COMPLETED", "on_failure": "U", "on_unknown": "U"},
            "U": {"action": "release_x", "on_success": "SAGA_FAILED", "on_failure": "SAGA_FAILED"}
            """#
        ),
        (
            "S014", "A", "A",
            #"""
            "A": {"action": "a", "on_success": "B", "on_failure": "SAGA_FAILED"},
            "B": {"action": "b", "on_success": "SAGA_COMPLETED", "on_failure": "SAGA_FAILED"}
            """#
        ),
        (
            "S014", "A", "A",
            #"""
            "A": {"action": "a", "on_success": "B", "on_failure": "SAGA_FAILED"},
            "B": {"action": "b", "on_success": "SAGA_COMPLETED", "on_failure": "NOWHERE"}
            """#
        ),
        (
            "P001", "B", "A",
            #"""
            "A": {"action": "a", "pivot": true, "on_success": "B"},
            "B": {"action": "reserve_x", "on_success": "SAGA_COMPLETED", "on_failure": "U", "on_unknown": "U"},
            "U": {"action": "release_x", "on_success": "SAGA_FAILED"}
            """#
        ),
    ])
    func `each rule fires on its smallest example`(
        rule: String,
        state: String?,
        initial: String,
        states: String
    ) throws {
        let saga = try OrderSaga.read(#"{"s": {"initial": "\#(initial)", "states": {\#(states)}}}"#)
        let findings = SagaLinter.check(saga)
        #expect(findings.contains { $0.rule == rule && $0.state == state }, "\(findings.map(\.description))")
    }

    @Test func `a definition that is too large to explore is said to be`() {
        // 17 independent effects in any combination: 2^17 points.
        var states: [String: SagaDefinition.State] = [:]
        for number in 0..<17 {
            let next = number == 16 ? "END" : "S\(number + 1)"
            states["S\(number)"] = .init(action: "reserve_\(number)", onSuccess: next, onFailure: next, onUnknown: "U0")
            let after = number == 16 ? "SAGA_FAILED" : "U\(number + 1)"
            states["U\(number)"] = .init(action: "release_\(number)", onSuccess: after)
        }
        states["END"] = .init(action: "end", onSuccess: "SAGA_COMPLETED", onFailure: "U0")
        let findings = SagaLinter.check(SagaDefinition(name: "large", initial: "S0", states: states))
        #expect(findings.contains { $0.rule == "S009" && $0.severity == .warning })
    }

    @Test func `any definition is linted without end or trap`() {
        let random = SeededRandomSource(seed: 77)
        for _ in 0..<500 { _ = SagaLinter.check(RandomSaga.make(random)) }
    }

    @Test func `a registration refuses errors, and accepts them on request`() throws {
        let saga = try OrderSaga.read(OrderSaga.guideJSON)
        let actions = Shop().actions
        let error = try #require(throws: SagaError.self) { try SagaRegistration(saga, actions: actions) }
        #expect(error.code == .unsafeDefinition)
        for rule in ["S003", "S010", "S012"] { #expect(error.message.contains(rule)) }
        _ = try SagaRegistration(saga, actions: actions, acceptsFindings: true)
    }

    @Test func `a registration needs every action`() throws {
        var actions = Shop().actions
        actions["refund_payment"] = nil
        let error = try #require(throws: SagaError.self) {
            try SagaRegistration(try OrderSaga.repaired(), actions: actions)
        }
        #expect(error.code == .missingAction)
        #expect(error.message.contains("refund_payment"))
    }
}
