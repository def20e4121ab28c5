import ParleyCore
import ParleyGateway
import ParleyOps
import Testing

@Suite struct ReplayLogTests {
    @Test func combinedLinesAreRead() throws {
        let line =
            #"10.0.0.1 - bob [23/Nov/2026:10:15:00 +0100] "GET /a b?q=\x22 HTTP/1.1" 404 153 "-" "curl/8 \x5C""#
        let entry = try #require(ReplayLog.entry(line))
        #expect(entry.status == 404)
        #expect(entry.request.client == "10.0.0.1")
        #expect(entry.request.method == "GET")
        #expect(entry.request.target == "/a b?q=\"")
        #expect(entry.request.time == Timestamp("2026-11-23T09:15:00Z"))
        #expect(entry.request.userAgent == "curl/8 \\")
        #expect(entry.request.referer == nil)
    }

    @Test func ourOwnLinesAreRead() throws {
        let line =
            #"{"time":"2026-11-23T09:15:00.25Z","client":"::1","method":"POST","host":"a.b","path":"/x","status":200,"#
            + #""route":"/x","user_agent":null,"duration_us":5}"#
        let entry = try #require(ReplayLog.entry(line))
        #expect(entry.request.host == "a.b")
        #expect(entry.route == "/x")
        #expect(entry.request.time?.milliseconds == 1_795_425_300_250)
    }

    @Test(arguments: [
        "", "{", "{}", "nonsense", "a b c", #"a - - [x] "" 200"#, #"a - - [x] "GET /" x 1"#, "\"\"\"", "[ [ [",
        #"{"status":"x"}"#,
    ])
    func whatIsNoLineIsNone(line: String) {
        #expect(ReplayLog.entry(line) == nil)
    }

    @Test func mutatedLinesNeverEndTheProcess() {
        let random = SeededRandomSource(seed: 11)
        let line = Array(
            #"10.0.0.1 - - [23/Nov/2026:10:15:00 +0100] "GET /a HTTP/1.1" 404 153 "-" "curl\x5C""#.utf8
        )
        for _ in 0..<5_000 {
            var bytes = line
            for _ in 0..<(1 + random.next() % 4) {
                let index = Int(random.next() % UInt64(bytes.count))
                if random.next() % 2 == 0 { bytes.remove(at: index) } else { bytes[index] = UInt8(random.next() % 256) }
            }
            _ = ReplayLog.entry(String(decoding: bytes, as: UTF8.self))
        }
    }
}

@Suite struct ReplayTests {
    private static func line(_ path: String, _ status: Int, second: Int = 0, route: String? = nil) -> String {
        let end = route.map { #","route":"\#($0)"}"# } ?? "}"
        return #"{"time":"2026-11-23T09:15:0\#(second)Z","client":"c","method":"GET","host":"h","path":"\#(path)","#
            + #""status":\#(status)"# + end
    }

    @Test func twoConfigurationsAreCompared() {
        var replay = Replay(
            plan: { ReplayOutcome(server: "s", route: $0.target, upstream: "new", uri: $0.target) },
            before: { ReplayOutcome(server: "s", route: "/", upstream: $0.target == "/same" ? "new" : "old") }
        )
        replay.add(Self.line("/a", 200))
        replay.add("")
        replay.add("garbage")
        #expect(replay.report.requests == 1)
        #expect(replay.report.unreadableLines == 1)
        #expect(replay.report.differences == 1)
        #expect(replay.report.first.first?.before == "server s, location /, upstream old")
        #expect(replay.report.first.first?.after == "server s, location /a, upstream new, as /a")
    }

    @Test func withoutAnOldOneTheLogIsCompared() {
        var replay = Replay(plan: {
            $0.target == "/sent"
                ? ReplayOutcome(server: "s", route: "/sent", upstream: "u")
                : ReplayOutcome(server: "s", route: "= /x", status: 301, location: "/y")
        })
        replay.add(Self.line("/x", 301))
        replay.add(Self.line("/sent", 500))
        replay.add(Self.line("/sent", 200, route: "/sent"))
        #expect(replay.report.differences == 0)
        replay.add(Self.line("/x", 200))
        replay.add(Self.line("/sent", 200, route: "/other"))
        #expect(
            replay.report.first.map(\.after) == ["server s, location = /x, status 301, to /y", "location /sent"]
        )
        #expect(replay.report.first.map(\.line) == [4, 5])
    }

    /// The guide's limit, by the times of the log: 51 at once, then one per 300 ms.
    @Test func limitsGoByTheTimesOfTheLog() {
        let limit = ReplayOutcome.Limit(zone: "z", key: [1], rate: 3_333, burst: 50, status: 503)
        var replay = Replay(
            plan: { _ in ReplayOutcome(server: "", route: "/", upstream: "u", limits: [limit]) },
            before: { _ in ReplayOutcome(server: "", route: "/", upstream: "u") }
        )
        for _ in 0..<60 { replay.add(Self.line("/", 200)) }
        #expect(replay.report.differences == 9)
        // A second later three more have drained.
        for _ in 0..<5 { replay.add(Self.line("/", 200, second: 1)) }
        #expect(replay.report.differences == 9 + 2)
    }

    @Test func hugeLimitsDoNotOverflow() {
        let limit = ReplayOutcome.Limit(zone: "z", key: [1], rate: .max, burst: .max, status: 503)
        var replay = Replay(plan: { _ in ReplayOutcome(server: "", limits: [limit]) })
        for second in [0, 9, 1] { replay.add(Self.line("/", 200, second: second)) }
        #expect(replay.report.requests == 3)
    }
}
