import Foundation
import Logging
import ParleyCore
import ParleyMessaging
import ParleyOps
import ParleySQLite
import ParleySagas
import ParleyTestKit
import Testing

private let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Both styles in one file, as an operator sees them.
@Suite(.timeLimit(.minutes(1)))
final class SagaInspectorTests: Sendable {
    private static let definition = """
        {"order_saga": {"initial": "RESERVE", "states": {
          "RESERVE": {"action": "reserve_stock", "on_success": "CHARGE", "on_failure": "SAGA_FAILED", "on_unknown": "RELEASE"},
          "CHARGE": {"action": "charge_card", "on_success": "SAGA_COMPLETED", "on_failure": "RELEASE"},
          "RELEASE": {"action": "release_stock", "compensates": "reserve_stock", "on_success": "SAGA_FAILED"}}}}
        """
    private static let choreography = """
        {"flow": {"starts_with": "a.begun", "stuck_after_seconds": 5, "events": {
          "a.begun": {"by": "a", "then": [{"one_of": ["b.reserved"], "within_seconds": 1}]},
          "b.reserved": {"by": "b", "then": [{"one_of": ["a.done", "b.released"], "within_seconds": 1}]},
          "b.released": {"by": "b", "compensates": "b.reserved", "asked_by": "b.release",
            "then": [{"one_of": ["a.failed"], "within_seconds": 1}]},
          "a.done": {"by": "a", "ends": "success"}, "a.failed": {"by": "a", "ends": "failure"}}}}
        """

    private let folder = NSTemporaryDirectory() + "parley-sagas-\(ProcessInfo.processInfo.globallyUniqueString)"
    private var path: String { self.folder + "/sagas.db" }

    deinit { try? FileManager.default.removeItem(atPath: self.folder) }

    /// One stuck and one ended saga of a coordinator, one choreography that waits since a minute, one that has ended.
    private func fill(_ backend: SQLiteBackend) async throws {
        let now = SystemTimeSource().wallTime
        let definition = try #require(try SagaDefinition.read(json: Array(Self.definition.utf8)).first)
        for (id, status, state) in [("s1", SagaStatus.stuck, "RELEASE"), ("s2", .completed, "SAGA_COMPLETED")] {
            let saga = SagaInstance(
                id: id,
                type: "order_saga",
                businessKey: "order-\(id)",
                definition: definition.fingerprint,
                state: state,
                status: status,
                enteredAt: now,
                dueAt: status == .stuck ? now + .seconds(60) : nil,
                input: "{}",
                effects: [SagaEffect(step: "reserve_stock", action: "reserve_stock", status: .applied)],
                reason: "card declined",
                createdAt: now + .seconds(-300),
                updatedAt: now
            )
            try await backend.withTransaction {
                _ = try backend.sagas.create(saga, definition: definition.canonicalJSON, events: [], in: $0)
            }
        }
        let choreography = try #require(try Choreography.read(json: Array(Self.choreography.utf8)).first)
        let monitor = try ChoreographyMonitor(
            choreography,
            store: backend.choreographies,
            inbox: backend.inbox,
            transactions: backend,
            transport: backend.transport,
            logger: quiet
        )
        for (id, types) in [("c1", ["a.begun", "b.reserved"]), ("c2", ["a.begun", "b.reserved", "a.done"])] {
            for (number, type) in types.enumerated() {
                var message = Message(
                    id: "\(id)-\(type)",
                    source: String(type.prefix(1)),
                    type: type,
                    subject: "order-\(id)",
                    time: now + .seconds(number),
                    data: Array("{}".utf8),
                    key: id,
                    headers: ["correlationid": id]
                )
                if number > 0 { message.headers["causationid"] = "\(id)-\(types[number - 1])" }
                try await monitor.observe(message)
            }
        }
    }

    private func with(_ body: (SQLiteBackend, any SagaInspector) async throws -> Void) async throws {
        let backend = try await SQLiteBackend(path: self.path, logger: quiet)
        try await self.fill(backend)
        try await body(backend, SQLiteSagaInspector(backend, logger: quiet))
        await backend.close()
    }

    @Test func bothStylesAreInOneListStuckFirst() async throws {
        try await self.with { _, inspector in
            let all = try await inspector.sagas(matching: SagaListQuery())
            #expect(all.first?.id == "s1" && all.first?.status == "stuck")
            #expect(Set(all.map(\.id)) == ["s1", "s2", "c1", "c2"])
            #expect(all.first { $0.id == "c1" }?.style == .choreography)
            #expect(try await inspector.sagas(matching: SagaListQuery(status: "completed")).map(\.id) == ["s2", "c2"])
            #expect(try await inspector.sagas(matching: SagaListQuery(status: "failed")).isEmpty)
            #expect(try await inspector.sagas(matching: SagaListQuery(limit: 1)).map(\.id) == ["s1"])
            let text = SagaText.list(all, Style(isColoured: false))
            #expect(text.contains("order-c1") && text.contains("choreography") && !text.contains("\u{1B}"))
        }
    }

    /// Nobody watches: what became late meanwhile is in the list all the same.
    @Test func aListDoesNotNeedAMonitor() async throws {
        try await self.with { (backend, _) async throws in
            // By its own time: on a machine that is busy, more than the second has gone by since.
            let waiting = try await backend.choreographies.instances(matching: ChoreographyQuery(id: "c1")).first
            let due = try #require(waiting?.dueAt)
            let clock = ManualClock(wallTime: due + .milliseconds(-500))
            let inspector = ChoreographySagaInspector(
                store: backend.choreographies,
                outbox: backend.outbox,
                transactions: backend,
                time: clock
            )
            func ids(_ status: String?) async throws -> [String] {
                try await inspector.sagas(matching: SagaListQuery(status: status)).map(\.id)
            }
            #expect(try await ids("running") == ["c1"])
            clock.advance(by: .seconds(3))
            #expect(try await ids("late") == ["c1"])
            clock.advance(by: .seconds(60))
            #expect(try await ids("stuck") == ["c1"])
            #expect(try await ids("running") == [])
            #expect(try await ids("late") == [])
            #expect(try await ids(nil) == ["c1", "c2"])
            #expect(try await inspector.saga("c1").saga.status == "stuck")
        }
    }

    @Test func aReportHasWhatIsNeededToMend() async throws {
        try await self.with { _, inspector in
            let led = try await inspector.saga("order-s1")
            #expect(led.effects.map(\.what) == ["reserve_stock"])
            #expect(led.remaining == ["release_stock"])
            #expect(led.commands.contains { $0.hasPrefix("parley sagas replay order-s1") })
            let flow = try await inspector.saga("c1")
            #expect(flow.timeline.map(\.what) == ["a.begun", "b.reserved"] && flow.timeline.map(\.depth) == [0, 1])
            #expect(flow.awaited.first?.oneOf == ["a.done", "b.released"])
            #expect(flow.remaining == ["a.done", "b.released", "a.failed"])
            #expect(flow.effects.map(\.status) == ["outstanding"])
            #expect(flow.commands.contains("parley sagas replay order-c1 --from b.reserved --reason '…'"))
            let text = SagaText.report(flow, Style(isColoured: false))
            for part in ["Timeline", "Effects", "Awaited", "Remaining", "Next", "b.reserved"] {
                #expect(text.contains(part))
            }
            #expect(try await inspector.saga("c2").commands.isEmpty)
            let error = await #expect(throws: SagaError.self) { _ = try await inspector.saga("nobody") }
            #expect(error?.code == .unknownSaga)
        }
    }

    @Test func interventionsAreMadeAndAudited() async throws {
        try await self.with { backend, inspector in
            func mend(
                _ intervention: SagaIntervention,
                _ id: String,
                isDryRun: Bool = false
            ) async throws -> SagaInterventionReport {
                try await inspector.intervene(intervention, on: id, by: "ada", because: "test", isDryRun: isDryRun)
            }
            let dry = try await mend(SagaIntervention(.setState, "CHARGE"), "order-s1", isDryRun: true)
            #expect(dry.isDryRun && dry.effects.contains { $0.contains("charge_card") })
            #expect(dry.effects.contains { $0.contains("reserve_stock (applied)") })
            #expect(try await inspector.saga("s1").saga.state == "RELEASE")
            _ = try await mend(SagaIntervention(.setState, "CHARGE"), "order-s1")
            let forced = try await inspector.saga("s1")
            #expect(forced.saga.state == "CHARGE" && forced.saga.status == "running")
            #expect(forced.interventions.first?.because.contains("ada") == true, "\(forced.interventions)")
            _ = try await mend(SagaIntervention(.replay), "s1")

            _ = try await mend(SagaIntervention(.compensate), "c1")
            _ = try await mend(SagaIntervention(.replay), "c1")
            _ = try await mend(SagaIntervention(.inject, "a.done"), "c1")
            let sent = try await backend.outbox.pending(limit: 10).rows.map(\.message.type)
            #expect(sent == ["b.release", "b.reserved", "a.done"])
            #expect(
                try await inspector.saga("c1").interventions.map(\.kind) == ["compensated", "replayed", "injected"]
            )

            for (intervention, id) in [
                (SagaIntervention(.compensate), "s1"), (SagaIntervention(.inject, "a.done"), "s1"),
                (SagaIntervention(.setState, "CHARGE"), "c1"), (SagaIntervention(.setState, "CHARGE"), "s2"),
                (SagaIntervention(.compensate), "c2"), (SagaIntervention(.replay, "CHARGE"), "s1"),
            ] {
                let error = await #expect(throws: SagaError.self) { _ = try await mend(intervention, id) }
                #expect(error?.code == .notAllowed, "\(intervention) on \(id)")
            }
            // What is only on Redis says so, whatever the saga and however it stands.
            for verb in [SagaIntervention.Verb.accept, .reject] {
                for id in ["s1", "s2", "c1", "c2"] {
                    let error = await #expect(throws: SagaError.self) { _ = try await mend(SagaIntervention(verb), id) }
                    #expect(error?.code == .notAllowed && error?.message.contains("--store redis://") == true)
                }
            }
            let state = await #expect(throws: SagaError.self) {
                _ = try await mend(SagaIntervention(.setState, "X"), "s1")
            }
            #expect(state?.code == .unknownState && state?.message.contains("RELEASE") == true)
        }
    }

    @Test func anAddressThatIsNoneIsRefused() async throws {
        for (store, word) in [
            ("http://localhost", "redis://"), ("redis://localhost?stream=x", "?prefix="), ("sqlite:", "no file"),
            ("sqlite:/nowhere/x.db", "/nowhere/x.db"),
        ] {
            let error = #expect(throws: SagaAddressError.self) { _ = try SagaAddress(store: store) }
            #expect(error?.description.contains(word) == true, "\(error?.description ?? "")")
        }
        try await self.with { _, _ in }
        let count = try await SagaAddress(store: "sqlite:\(self.path)").withInspector(logger: quiet) {
            try await $0.sagas(matching: SagaListQuery()).count
        }
        #expect(count == 4)
    }

    /// JSON has every key, so that a script need not ask whether it is there.
    @Test func jsonHasEveryKey() async throws {
        try await self.with { _, inspector in
            let sagas = try await inspector.sagas(matching: SagaListQuery())
            let rows = try #require(
                try JSONSerialization.jsonObject(with: JSONEncoder().encode(sagas)) as? [[String: Any]]
            )
            let keys: Set<String> = [
                "id", "type", "style", "businessKey", "status", "state", "reason", "dueAt", "createdAt", "updatedAt",
            ]
            #expect(rows.allSatisfy { Set($0.keys) == keys })
        }
    }
}
