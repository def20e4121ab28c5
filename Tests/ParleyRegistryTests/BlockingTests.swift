import HTTPTestSupport
import NIOCore
import ParleyCore
import ParleyDiscovery
import ParleyTestKit
import ProcessTestSupport
import ServiceLifecycle
import Testing

@testable import ParleyRegistry

extension Running {
    var watchers: Int { self.registry.engine.read { $0.watcherCount } }

    func untilWatchers(_ count: Int) async throws {
        try #require(try await isEventually { self.watchers == count }, "\(self.watchers) instead of \(count)")
    }

    func index(_ path: String) async throws -> UInt64 {
        let answer = try await self.send("GET", path)
        return try #require(answer.header("X-Consul-Index").flatMap { UInt64($0) })
    }
}

/// Questions that wait: section by section of how Consul's do.
@Suite(.timeLimit(.minutes(3))) struct BlockingTests {
    private let web = "/v1/health/service/web"
    private let register = "/v1/agent/service/register"

    private func withWeb(
        time: any TimeSource = SystemTimeSource(),
        _ change: (inout RegistryConfiguration) -> Void = { _ in },
        _ body: (Running) async throws -> Void
    ) async throws {
        try await withRegistry(change, time: time) { running in
            try await running.put(
                self.register,
                #"{"ID": "w1", "Name": "web", "Check": {"CheckID": "c", "TTL": "60s"}}"#
            )
            try await body(running)
        }
    }

    /// Asks with the current index, makes the change, and gives the answer.
    private func ask(
        _ running: Running,
        _ path: String,
        while change: () async throws -> Void
    ) async throws -> (before: UInt64, after: UInt64) {
        let before = try await running.index(path)
        let mark = path.contains("?") ? "&" : "?"
        async let answer = running.index(path + "\(mark)index=\(before)&wait=120s")
        try await running.untilWatchers(1)
        try await change()
        return (before, try await answer)
    }

    @Test func withoutAnIndexNobodyWaits() async throws {
        try await self.withWeb { running in
            for query in ["", "?index=0&wait=10m", "?wait=10m", "?index=1&wait=10m"] {
                let index = try await running.index(self.web + query)
                #expect(index > 1)
            }
        }
    }

    @Test func anIndexOfTheFutureWaitsAllTheTimeAndGetsTheRealOne() async throws {
        let clock = ManualClock()
        try await self.withWeb(time: clock) { running in
            let real = try await running.index(self.web)
            async let answer = running.index(self.web + "?index=\(real + 1_000)&wait=2s")
            try await running.untilWatchers(1)
            // A change does not help: it is not that far.
            try await running.put("/v1/agent/check/pass/c")
            try await running.untilWatchers(1)
            #expect(try await isEventually { clock.sleepers > 0 })
            clock.advance(by: .milliseconds(2_130))
            #expect(try await answer == real + 1)
        }
    }

    @Test func theTimePassesWithAnUnchangedAnswer() async throws {
        let clock = ManualClock()
        try await self.withWeb(time: clock) { running in
            let index = try await running.index(self.web)
            async let answer = running.send("GET", self.web + "?index=\(index)&wait=2s")
            try await running.untilWatchers(1)
            clock.advance(by: .milliseconds(1_999))
            try await running.untilWatchers(1)
            clock.advance(by: .milliseconds(127))
            #expect(try await answer.header("X-Consul-Index") == "\(index)")
            #expect(try await answer.status == 200)
        }
    }

    @Test func theWaitIsCappedAndSpread() throws {
        func wait(_ query: String, _ chance: Double) throws -> Duration {
            try ReadOptions(QueryItems(Substring(query)), datacenter: "dc1", maximumFilterBytes: 100, chance: chance)
                .patience.wait
        }
        #expect(try wait("wait=2s", 0) == .seconds(2))
        #expect(try wait("wait=2s", 0.999) < .milliseconds(2_126))
        #expect(try wait("", 0) == .seconds(300))
        #expect(try wait("wait=0s", 0) == .seconds(300))
        #expect(try wait("wait=24h", 0) == .seconds(600))
        #expect(try wait("wait=24h", 0.999) < .seconds(638))
    }

    @Test func instancesThatComeChangeAndGoWake() async throws {
        try await self.withWeb { running in
            for change in [
                ("register", #"{"ID": "w2", "Name": "web"}"#), ("register", #"{"ID": "w2", "Name": "web", "Port": 1}"#),
                ("register", #"{"ID": "w2", "Name": "web", "Tags": ["x"]}"#), ("deregister/w2", nil),
            ] as [(String, String?)] {
                let (before, after) = try await self.ask(running, self.web) {
                    try await running.put("/v1/agent/service/\(change.0)", change.1)
                }
                #expect(after > before, "\(change)")
            }
        }
    }

    @Test func theStatusOfTheServiceAndOfItsNodeWakes() async throws {
        try await self.withWeb { running in
            // Each changes what the one before has left.
            let changes = [
                "check/pass/c", "check/warn/c", "check/fail/c", "service/maintenance/w1?enable=true",
                "service/maintenance/w1?enable=false", "maintenance?enable=true", "maintenance?enable=false",
            ]
            for asked in [self.web, "/v1/health/service/web?passing", "/v1/health/node/\(local)"] {
                for change in changes {
                    let (before, after) = try await self.ask(running, asked) {
                        try await running.put("/v1/agent/\(change)")
                    }
                    #expect(after > before, "\(change) \(asked)")
                }
            }
        }
    }

    @Test func whatDoesNotConcernItDoesNotWake() async throws {
        try await self.withWeb { running in
            try await running.put("/v1/agent/check/pass/c?note=a")
            let before = try await running.index(self.web)
            async let answer = running.index(self.web + "?index=\(before)&wait=120s")
            try await running.untilWatchers(1)
            try await running.put(self.register, #"{"Name": "other"}"#)
            try await running.put("/v1/agent/service/deregister/other")
            try await running.put(
                self.register,
                #"{"ID": "w1", "Name": "web", "Check": {"CheckID": "c", "TTL": "60s"}}"#
            )
            try await running.put("/v1/agent/check/pass/c?note=b")
            try await running.put("/v1/kv/k", "v")
            #expect(running.watchers == 1)
            #expect(try await running.get("/v1/agent/checks")["c"]?["Output"] == .string("b"))
            try await running.put("/v1/agent/check/fail/c")
            #expect(try await answer > before)
        }
    }

    @Test func aServiceThatIsNotThereIsWaitedFor() async throws {
        try await self.withWeb { running in
            let (before, after) = try await self.ask(running, "/v1/health/service/new") {
                try await running.put(self.register, #"{"Name": "other"}"#)
                try await running.put(self.register, #"{"Name": "new"}"#)
            }
            #expect(before >= 1)
            #expect(after > before)
            try await running.put("/v1/agent/service/deregister/new")
            let gone = try await running.index("/v1/health/service/new")
            #expect(gone > after)
            #expect(try await running.index("/v1/health/service/never-there") == gone)
        }
    }

    @Test func otherQuestionsWaitAsWell() async throws {
        try await self.withWeb { running in
            for (path, change) in [
                ("/v1/catalog/services", "/v1/agent/service/deregister/w1"),
                ("/v1/catalog/nodes", "/v1/catalog/register"), ("/v1/health/state/any", "/v1/agent/check/register"),
                ("/v1/kv/k", "/v1/kv/k"), ("/v1/kv/p/?recurse", "/v1/kv/p/1"),
            ] {
                let bodies = [
                    "/v1/catalog/register": #"{"Node": "n", "Address": "10.0.0.1"}"#,
                    "/v1/agent/check/register": #"{"Name": "m", "TTL": "60s"}"#,
                ]
                let (before, after) = try await self.ask(running, path) {
                    try await running.put(change, bodies[change] ?? "v")
                }
                #expect(after > before, "\(path)")
            }
        }
    }

    /// Answers are shared while nothing changes; what shows in them without an index is a change too.
    @Test func whatIsSharedIsNeverOld() async throws {
        try await self.withWeb { running in
            for note in ["a", "b", "c"] {
                try await running.put("/v1/agent/check/pass/c?note=\(note)")
                for path in [self.web, self.web + "?passing", self.web + "?tag=x", self.web + "?filter=Service.ID==w1"]
                {
                    let answer = try await running.send("GET", path)
                    #expect(answer.text.contains(#""Output":"\#(note)""#) != path.hasSuffix("tag=x"), "\(path)")
                }
            }
        }
    }

    @Test func whatNeverChangesIsWaitedForInVain() async throws {
        let clock = ManualClock()
        try await self.withWeb(time: clock) { running in
            async let answer = running.send("GET", "/v1/session/list?index=1&wait=1s")
            try await running.untilWatchers(1)
            #expect(try await isEventually { clock.sleepers > 0 })
            clock.advance(by: .seconds(2))
            let (status, text) = (try await answer.status, try await answer.text)
            #expect(status == 200 && text == "[]")
        }
    }

    @Test func aClientThatGoesAwayLeavesNothingBehind() async throws {
        try await self.withWeb { running in
            let index = try await running.index(self.web)
            try await RawConnection.with(running.endpoint) { connection in
                try await connection.send("GET \(self.web)?index=\(index)&wait=10m HTTP/1.1\r\nhost: x\r\n\r\n")
                try await running.untilWatchers(1)
            }
            try await running.untilWatchers(0)
        }
    }

    @Test func aConnectionIsUsedAgainAfterAWait() async throws {
        try await self.withWeb { running in
            let index = try await running.index(self.web)
            try await RawConnection.with(running.endpoint) { connection in
                for turn in 1...3 {
                    let path = "\(self.web)?index=\(index + UInt64(turn) - 1)&wait=10m"
                    try await connection.send("GET \(path) HTTP/1.1\r\nhost: x\r\n\r\n")
                    try await running.untilWatchers(1)
                    try await running.put("/v1/agent/check/\(turn % 2 == 0 ? "fail" : "pass")/c")
                    try await connection.read(until: "X-Consul-Index: \(index + UInt64(turn))\r\n")
                }
            }
        }
    }

    @Test func moreThanTheLimitAreRefused() async throws {
        try await self.withWeb({ $0.limits.maximumWatchers = 1 }) { running in
            let index = try await running.index(self.web)
            let path = self.web + "?index=\(index)&wait=120s"
            async let first = running.send("GET", path)
            try await running.untilWatchers(1)
            #expect(try await running.send("GET", path).status == 429)
            try await running.put("/v1/agent/check/pass/c")
            #expect(try await first.status == 200)
        }
    }

    @Test func theEndOfTheRegistryAnswersThoseWhoWait() async throws {
        var configuration = RegistryConfiguration(port: 0)
        configuration.nodeName = local
        let registry = try await Registry(configuration, logger: testLogger)
        let answer = try await withRunning(registry) { group in
            let running = Running(registry: registry, endpoint: try await registry.endpoint())
            let index = try await running.index(self.web)
            async let answer = running.send("GET", self.web + "?index=\(index)&wait=10m")
            try await running.untilWatchers(1)
            await group.triggerGracefulShutdown()
            return try await answer
        }
        #expect(answer.status == 200)
        #expect(answer.header("connection") == "close")
    }
}
