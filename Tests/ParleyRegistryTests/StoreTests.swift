import Foundation
import HTTPTestSupport
import ParleyCore
import ParleyDiscovery
import ParleySQLite
import ProcessTestSupport
import Testing

@testable import ParleyRegistry

/// What differs from the disk, while the disk fails and comes back.
@Suite(.timeLimit(.minutes(1))) struct UnsavedChangesTests {
    private struct DiskFull: Error {}

    @Test func whatWasNotWrittenStaysToBeDone() {
        var unsaved = UnsavedChanges()
        unsaved.add([.kv("a")], isUrgent: true)
        let first = unsaved.take()
        unsaved.add([.kv("b")], isUrgent: true)
        unsaved.failed(first, DiskFull())
        #expect(self.word(unsaved.outcome(of: 1)) == "failed")
        // It has come after what failed: it may still be written.
        #expect(self.word(unsaved.outcome(of: 2)) == "waiting")
        let second = unsaved.take()
        #expect(second.keys == [.kv("a"), .kv("b")])
        unsaved.saved(second)
        #expect(self.word(unsaved.outcome(of: 1)) == "saved")
        #expect(self.word(unsaved.outcome(of: 2)) == "saved")
        #expect(unsaved.keys.isEmpty && !unsaved.isUrgent)
    }

    /// While the disk refuses, what waits for it does not grow without end.
    @Test func tooMuchThatCannotBeWrittenIsRefused() {
        var unsaved = UnsavedChanges()
        unsaved.add([.kv("a"), .kv("b")], isUrgent: true)
        // A disk that is only slow refuses nobody.
        #expect(unsaved.refusal(limit: 2) == nil)
        unsaved.failed(unsaved.take(), DiskFull())
        #expect(unsaved.refusal(limit: 3) == nil)
        #expect(unsaved.refusal(limit: 2)?.isInEffect == false)
        unsaved.saved(unsaved.take())
        #expect(unsaved.refusal(limit: 2) == nil)
    }

    @Test func resultsOfChecksAreNotUrgent() {
        var unsaved = UnsavedChanges()
        for _ in 0..<1_000 { unsaved.add([.check(key("c"))], isUrgent: false) }
        #expect(!unsaved.isUrgent && unsaved.keys.count == 1 && unsaved.ticket == 0)
    }

    @Test func nobodyWaitsForARegistryThatHasEnded() {
        var unsaved = UnsavedChanges()
        unsaved.add([.kv("a")], isUrgent: true)
        unsaved.ended()
        #expect(self.word(unsaved.outcome(of: 1)) == "failed")
        #expect(self.word(unsaved.outcome(of: 99)) == "failed")
    }

    private func word(_ outcome: UnsavedChanges.Outcome) -> String {
        switch outcome {
        case .saved: "saved"
        case .waiting: "waiting"
        case .failed: "failed"
        }
    }
}

/// What survives.
@Suite(.timeLimit(.minutes(3))) struct StoreTests {
    private let register = "/v1/agent/service/register"

    @Test func aRestartKeepsEverything() async throws {
        try await withFolder { folder in
            let path = folder + "/registry.db"
            let paths = [
                "/v1/agent/services", "/v1/agent/checks", "/v1/health/service/web", "/v1/catalog/service/db",
                "/v1/catalog/nodes", "/v1/kv/?recurse",
            ]
            let (before, index) = try await withRegistry(path: path) { running in
                let body = """
                    {"ID": "w1", "Name": "web", "Tags": ["a"], "Meta": {"k": "v"}, "Address": "10.0.0.1", "Port": 80,
                     "Weights": {"Passing": 5, "Warning": 2},
                     "Checks": [{"CheckID": "c", "TTL": "60s", "Notes": "n"}, {"AliasService": "w1"}]}
                    """
                try await running.put(self.register, body)
                try await running.put("/v1/agent/check/warn/c?note=hello")
                try await running.put(self.register, #"{"Name": "forgotten"}"#)
                try await running.put("/v1/agent/service/deregister/forgotten")
                try await running.put(
                    "/v1/catalog/register",
                    #"{"Node": "n", "Address": "10.0.0.2", "Service": {"Service": "db"}}"#
                )
                try await running.put("/v1/kv/a?flags=3", "value\u{0}ä")
                try await running.put("/v1/kv/b", "x")
                _ = try await running.send("DELETE", "/v1/kv/b")
                var answers: [JSONValue] = []
                for path in paths { answers.append(try await running.get(path)) }
                return (answers, try await running.index("/v1/health/service/web"))
            }
            try await withRegistry(path: path) { running in
                for (path, old) in zip(paths, before) {
                    let new = try await running.get(path)
                    #expect(new == old, "\(path)")
                }
                #expect(try await running.status("c") == "warning")
                #expect(try await running.index("/v1/health/service/web") > index)
                // Its time begins anew, and signs of life go on.
                try await running.put("/v1/agent/check/pass/c")
            }
        }
    }

    @Test func indexesNeverGoBack() async throws {
        try await withFolder { folder in
            var last: UInt64 = 0
            for turn in 0..<4 {
                last = try await withRegistry(path: folder + "/registry.db") { [last] running in
                    for path in [
                        "/v1/health/service/web", "/v1/catalog/services", "/v1/catalog/nodes", "/v1/kv/x",
                        "/v1/health/state/any", "/v1/health/service/never",
                    ] {
                        let index = try await running.index(path)
                        #expect(index >= last, "\(path)")
                    }
                    try await running.put(self.register, #"{"Name": "web", "Port": \#(turn), "Check": {"TTL": "60s"}}"#)
                    // Results are written later; their index has been seen all the same.
                    for _ in 0..<3 {
                        try await running.put("/v1/agent/check/pass/service:web")
                        try await running.put("/v1/agent/check/fail/service:web")
                    }
                    return try await running.index("/v1/health/service/web")
                }
            }
            #expect(last > 3 * RegistryStore.ceilingStep)
        }
    }

    /// What was confirmed is there, and what was removed stays away, however its name is spelt.
    @Test func anotherSpellingOfANameIsNotLost() async throws {
        let (one, two) = ("caf%C3%A9", "cafe%CC%81")
        try await withFolder { folder in
            let path = folder + "/registry.db"
            try await withRegistry(path: path) { running in
                try await running.put("/v1/kv/\(one)", "1")
                try await running.put("/v1/kv/gone-\(one)", "1")
                try await running.put(self.register, #"{"ID": "caf\#u{E9}", "Name": "web", "Check": {"TTL": "60s"}}"#)
                try await running.put(self.register, #"{"ID": "gone-caf\#u{E9}", "Name": "web"}"#)
            }
            try await withRegistry(path: path) { running in
                try await running.put("/v1/kv/\(two)", "2")
                try await running.put(self.register, #"{"ID": "cafe\#u{301}", "Name": "web", "Port": 81}"#)
                #expect(try await running.send("DELETE", "/v1/kv/gone-\(two)").status == 200)
                try await running.put("/v1/agent/service/deregister/gone-\(two)")
            }
            for _ in 0..<2 {
                try await withRegistry(path: path) { running in
                    #expect(try await running.send("GET", "/v1/kv/\(one)?raw").text == "2")
                    #expect(try await running.send("GET", "/v1/kv/gone-\(one)").status == 404)
                    let found = try await running.get("/v1/agent/services")
                    if case .object(let members) = found { #expect(members.count == 1) }
                    #expect(found["cafe\u{301}"]?["Port"] == .number("81"))
                }
            }
        }
    }

    @Test(arguments: ["18446744073709551615", "-1", "", "x", "4611686018427387905"])
    func aDamagedCeilingIsRefused(_ text: String) async throws {
        try await withFolder { folder in
            let path = folder + "/registry.db"
            try await withRegistry(path: path) { running in try await running.put(self.register, #"{"Name": "web"}"#) }
            let answer = try await Subprocess.run(
                "/usr/bin/sqlite3",
                [path, "UPDATE parley_registry SET record = '\(text)' WHERE kind = 0"]
            )
            try #require(answer.status == 0, "\(answer.error)")
            let error = try await #require(throws: RegistryError.self) {
                try await Registry(RegistryConfiguration(port: 0, path: path), logger: testLogger)
            }
            #expect(error.code == .unreadableStore && error.message.contains(path))
        }
    }

    /// Another node's name needs room of its own; the file is free again for whoever gets it right.
    @Test func aRegistryWithoutRoomForItselfSaysSo() async throws {
        try await withFolder { folder in
            let path = folder + "/registry.db"
            try await withRegistry(path: path) { running in try await running.put(self.register, #"{"Name": "web"}"#) }
            var configuration = RegistryConfiguration(port: 0, path: path)
            configuration.nodeName = "another"
            configuration.limits.maximumNodes = 1
            let error = try await #require(throws: RegistryError.self) {
                try await Registry(configuration, logger: testLogger)
            }
            #expect(error.code == .invalidConfiguration && error.message.contains("another"))
            try await withRegistry(path: path) { running in
                let services = try await running.get("/v1/agent/services")
                #expect(services["web"] != nil)
            }
        }
    }

    @Test func aFileOfAnotherIsRefused() async throws {
        try await withFolder { folder in
            try Data("no database at all, but long enough to look".utf8).write(
                to: URL(fileURLWithPath: folder + "/x.db")
            )
            await #expect(throws: (any Error).self) {
                try await Registry(RegistryConfiguration(port: 0, path: folder + "/x.db"), logger: testLogger)
            }
        }
    }

    @Test func aRowThatCannotBeReadSaysWhere() async throws {
        try await withFolder { folder in
            let path = folder + "/registry.db"
            try await withRegistry(path: path) { running in try await running.put(self.register, #"{"Name": "web"}"#) }
            let answer = try await Subprocess.run(
                "/usr/bin/sqlite3",
                [path, "UPDATE parley_registry SET record = '{' WHERE kind = 2"]
            )
            try #require(answer.status == 0, "\(answer.error)")
            do {
                _ = try await Registry(RegistryConfiguration(port: 0, path: path), logger: testLogger)
                Issue.record("it was read")
            } catch let error as RegistryError {
                #expect(error.code == .unreadableStore)
                #expect(error.message.contains(path))
            }
        }
    }

    /// While another process holds the file, what is registered is in effect and not confirmed; later it is written.
    @Test func aDiskThatRefusesIsTriedAgain() async throws {
        try await withFolder { folder in
            let path = folder + "/registry.db"
            let store = try await RegistryStore.open(path: path, time: SystemTimeSource(), logger: testLogger)
            _ = try await store.load()
            let engine = RegistryEngine(
                machine: try machine(),
                isPersistent: true,
                time: SystemTimeSource(),
                random: SystemRandomSource()
            )
            engine.change { _ in RegistryStateMachine.Effects(dirty: [.node(local)]) }
            _ = try await store.backend.withTransaction {
                try $0.execute(
                    "CREATE TRIGGER full BEFORE INSERT ON parley_registry BEGIN SELECT RAISE(ABORT, 'full'); END"
                )
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { await engine.keepSaving(in: store, floor: 0, logger: testLogger) }
                await #expect(throws: StoreFailure.self) {
                    try await engine.durableChange { machine throws(RegistryStateMachine.Refusal) in
                        try machine.register(service("w1", "web"), checks: [])
                    }
                }
                #expect(engine.read { $0.services[key("w1")] } != nil)
                _ = try await store.backend.withTransaction { try $0.execute("DROP TRIGGER full") }
                // The same again: nothing to change, and now it is confirmed.
                #expect(
                    try await isEventually {
                        do {
                            try await engine.durableChange { machine throws(RegistryStateMachine.Refusal) in
                                try machine.register(service("w1", "web"), checks: [])
                            }
                            return true
                        } catch is StoreFailure {
                            return false
                        }
                    }
                )
                group.cancelAll()
            }
            await store.backend.close()
            try await withRegistry(path: path) { running in
                let services = try await running.get("/v1/agent/services")
                #expect(services["w1"] != nil)
            }
        }
    }

    @Test func manyAtOnceAreAllOnDisk() async throws {
        try await withFolder { folder in
            let path = folder + "/registry.db"
            try await withRegistry(path: path) { running in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for id in 0..<300 {
                        group.addTask { try await running.put(self.register, #"{"ID": "w\#(id)", "Name": "web"}"#) }
                    }
                    try await group.waitForAll()
                }
            }
            try await withRegistry(path: path) { running in
                let found = try await running.get("/v1/health/service/web")
                #expect(found.count == 300)
            }
        }
    }

    @Test func whatWasAnsweredSurvivesAKill() async throws {
        try await withFolder { folder in
            let path = folder + "/registry.db"
            var highest: UInt64 = 0
            var answered: Set<String> = []
            for round in 0..<3 {
                let (ids, index) = try await self.killed(path, round: round, in: folder)
                answered.formUnion(ids)
                #expect(index > highest)
                highest = index
            }
            try #require(!answered.isEmpty)
            try await withRegistry(path: path) { running in
                let services = try await running.get("/v1/agent/services")
                for id in answered { #expect(services[id] != nil, "\(id) was answered with 200 and is gone") }
                #expect(try await running.index("/v1/health/service/web") >= highest)
            }
        }
    }

    /// Registers as fast as it can, until the process is killed under it. Gives what was answered, and the highest
    /// index that was seen.
    private func killed(_ path: String, round: Int, in folder: String) async throws -> (Set<String>, UInt64) {
        try await ChildProcess.with(path, log: folder + "/log-\(round)") { child in
            try #require(try await isEventually(within: .seconds(60)) { child.endpoint != nil })
            let endpoint = try #require(child.endpoint)
            let seen = Locked((ids: Set<String>(), index: UInt64(0)))
            await withTaskGroup(of: Void.self) { group in
                for worker in 0..<8 {
                    group.addTask {
                        for number in 0... {
                            let id = "r\(round)-\(worker)-\(number)"
                            let body = #"{"ID": "\#(id)", "Name": "web", "Check": {"TTL": "60s"}}"#
                            guard
                                let answer = try? await request("PUT", self.register, at: endpoint, body: body),
                                answer.status == 200
                            else { return }
                            seen.with { _ = $0.ids.insert(id) }
                            _ = try? await request("PUT", "/v1/agent/check/pass/service:\(id)", at: endpoint)
                        }
                    }
                }
                group.addTask {
                    while let answer = try? await request("GET", "/v1/catalog/services", at: endpoint) {
                        let index = answer.header("X-Consul-Index").flatMap { UInt64($0) } ?? 0
                        let isEnough = seen.with {
                            $0.index = max($0.index, index)
                            return $0.ids.count > 50
                        }
                        if isEnough { return }
                    }
                }
                await group.next()
                child.kill()
                // The client would go on trying to reach whoever is there no more.
                group.cancelAll()
            }
            return seen.with { ($0.ids, $0.index) }
        }
    }
}
