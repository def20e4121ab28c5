import Foundation
import ParleyCore
import ParleyRESP
import ProcessTestSupport
import RedisTestSupport
import Testing

@testable import ParleyRedis

extension RealTime {
    @Suite("Redis's rate limiter", .serialized, .timeLimit(.minutes(2)))
    struct RateLimiterTests {
        private static func limiter(
            _ client: RESPClient,
            _ limit: RateLimit,
            _ choice: RedisRateLimiter.WhenUnavailable = .refuse,
            deadline: Duration = .seconds(5)
        ) -> RedisRateLimiter {
            RedisRateLimiter(client: client, limit: limit, whenUnavailable: choice, deadline: deadline)
        }

        @Test func anEvenInterval() {
            #expect(RateLimit(200, per: .seconds(60), burst: 50).interval == .milliseconds(300))
            #expect(RateLimit(0, per: .zero, burst: -1) == RateLimit(1, per: .microseconds(1)))
            #expect(RateLimit(1, per: .seconds(1_000_000)).interval == .seconds(86_400))
        }

        /// The guide's numbers: 200 a minute, a burst of 50, no delay. Ten clients ask at once.
        @Test(arguments: Engine.all) func fiftyOneAtOnceThenOneEvery300Milliseconds(_ engine: Engine) async throws {
            try await RedisServer.withClients(engine) { _, clients in
                let limit = RateLimit(200, per: .seconds(60), burst: 50)
                let limiters = (0..<10).map { _ in Self.limiter(clients.open().client, limit) }
                // All connected, and the script loaded, before it counts.
                for limiter in limiters { _ = await limiter.ask("warm-up") }
                let clock = SystemTimeSource()
                let began = clock.now
                let admitted = await withTaskGroup(of: Int.self) { group in
                    for limiter in limiters {
                        group.addTask {
                            var count = 0
                            for _ in 0..<20 where await limiter.ask("key").isAdmitted { count += 1 }
                            return count
                        }
                    }
                    return await group.reduce(0, +)
                }
                let passed = began.duration(to: clock.now)
                let more = Int(passed / .milliseconds(300))
                #expect((51...(51 + more)).contains(admitted))
                // On a slow machine one more may be due by now.
                var refused = await limiters[0].ask("key")
                while refused.isAdmitted { refused = await limiters[0].ask("key") }
                #expect(refused.remaining == 0)
                let wait = try #require(refused.retryAfter)
                #expect(wait > .zero && wait <= .milliseconds(300))
                // And when one has waited as long as it says, one is admitted.
                try await clock.sleep(for: wait)
                #expect(await limiters[1].ask("key").isAdmitted)
                #expect(await limiters[2].ask("another").remaining == 50)
            }
        }

        /// Two processes of their own ask at the same time.
        @Test(arguments: Engine.all) func processesShareOneCount(_ engine: Engine) async throws {
            try await RedisServer.withClients(engine) { server, _ in
                let texts = try await withThrowingTaskGroup(of: String.self) { group in
                    for _ in 0..<2 {
                        group.addTask {
                            let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath().path
                            let arguments = [
                                "--testing-library", "swift-testing", "--filter", "ParleyRedisTests.RateRole",
                            ]
                            let role = ["PARLEY_REDIS_RATE": "\(server.port)"]
                            return try await Subprocess.run(program, arguments, role).output
                        }
                    }
                    return try await group.reduce(into: [String]()) { $0.append($1) }
                }
                let counts = texts.flatMap { $0.split(separator: "\n") }.compactMap { line -> Int? in
                    line.hasPrefix("admitted ") ? Int(line.dropFirst(9)) : nil
                }
                #expect(counts.count == 2)
                #expect(counts.reduce(0, +) == 51)
            }
        }

        @Test func itCountsDownAndSaysWhatIsLeft() async throws {
            try await RedisServer.withClients { _, clients in
                let limiter = Self.limiter(clients.open().client, RateLimit(1, per: .seconds(3_600), burst: 3))
                for left in [3, 2, 1, 0] {
                    let decision = await limiter.ask("k")
                    #expect(decision.isAdmitted)
                    #expect(decision.remaining == left)
                    #expect(decision.retryAfter == .zero)
                    #expect(decision.failure == nil)
                }
                let refused = await limiter.ask("k")
                #expect(!refused.isAdmitted)
                let wait = try #require(refused.retryAfter)
                #expect(wait > .seconds(3_590) && wait <= .seconds(3_600))
            }
        }

        @Test func keysGoAwayByThemselves() async throws {
            try await RedisServer.withClients { _, clients in
                let client = clients.open().client
                _ = await Self.limiter(client, RateLimit(1, per: .seconds(3_600), burst: 2)).ask("long")
                let left = try #require(try await client.send(["PTTL", "parley-rate:long"]).integer)
                #expect((3_590_000...3_600_000).contains(left))
                try await client.send(["DEL", "parley-rate:long"])
                _ = await Self.limiter(client, RateLimit(10, per: .seconds(1), burst: 2)).ask("short")
                try await eventually("the key is gone") { try await client.send(["DBSIZE"]).integer == 0 }
            }
        }

        /// The clock of whoever asks plays no part: these stand still, an hour apart.
        @Test func theCallersClockDoesNotMatter() async throws {
            struct Stopped: TimeSource {
                let wallTime: Timestamp
                let now = ContinuousClock.now
                func sleep(until instant: ContinuousClock.Instant) async throws {
                    try await SystemTimeSource().sleep(until: instant)
                }
            }
            try await RedisServer.withClients { _, clients in
                let limit = RateLimit(1, per: .seconds(3_600), burst: 9)
                var admitted = 0
                for hours in 0..<20 {
                    let time = Stopped(wallTime: Timestamp(microseconds: Int64(hours) * 3_600_000_000))
                    let limiter = RedisRateLimiter(
                        client: clients.open().client,
                        limit: limit,
                        whenUnavailable: .refuse,
                        deadline: .seconds(5),
                        time: time
                    )
                    if await limiter.ask("k").isAdmitted { admitted += 1 }
                }
                #expect(admitted == 10)
            }
        }

        /// A count from a future that the server's clock has left again does not lock anybody out for longer than it takes
        /// to come down from a full burst.
        @Test func aJumpOfTheServersClockIsForgiven() async throws {
            try await RedisServer.withClients { _, clients in
                let client = clients.open().client
                let limiter = Self.limiter(client, RateLimit(1, per: .seconds(60), burst: 4))
                try await client.set("parley-rate:k", "9000000000000000")
                let wait = try #require(await limiter.ask("k").retryAfter)
                #expect(wait <= .seconds(60))
            }
        }

        @Test(arguments: [RedisRateLimiter.WhenUnavailable.admit, .refuse])
        func withoutAServerTheChoiceHolds(_ choice: RedisRateLimiter.WhenUnavailable) async throws {
            try await RedisServer.withClients { server, clients in
                let limit = RateLimit(1, per: .seconds(3_600))
                let limiter = Self.limiter(clients.open().client, limit, choice, deadline: .milliseconds(200))
                let patient = Self.limiter(clients.open().client, limit, choice)
                #expect(await patient.ask("k").isAdmitted)
                #expect(await !patient.ask("k").isAdmitted)
                try await server.kill()
                let clock = SystemTimeSource()
                let began = clock.now
                for _ in 0..<3 {
                    let decision = await limiter.ask("k")
                    #expect(decision.isAdmitted == (choice == .admit))
                    #expect(decision.failure != nil)
                    #expect(decision.remaining == nil)
                    #expect(decision.retryAfter == nil)
                }
                #expect(began.duration(to: clock.now) < .seconds(5))
                try await server.start()
                #expect(await patient.ask("new").failure == nil)
            }
        }

        /// A server that takes commands and does not get to them.
        @Test func aSlowServerIsNotWaitedFor() async throws {
            try await RedisServer.withClients { _, clients in
                let (client, other) = (clients.open().client, clients.open().client)
                let limiter = Self.limiter(client, RateLimit(10, per: .seconds(1)), .admit, deadline: .milliseconds(50))
                try await client.send(["PING"])
                try await other.send(["CLIENT", "PAUSE", "2000", "ALL"])
                let clock = SystemTimeSource()
                let began = clock.now
                let decision = await limiter.ask("k")
                #expect(decision.isAdmitted)
                #expect(decision.failure?.code == .deadlineExceeded)
                #expect(began.duration(to: clock.now) < .milliseconds(1_500))
            }
        }

        @Test func aKeyOfAnotherProgramIsAFailureWithItsReason() async throws {
            try await RedisServer.withClients { _, clients in
                let client = clients.open().client
                try await client.send(["RPUSH", "parley-rate:k", "1"])
                let decision = await Self.limiter(client, RateLimit(1, per: .seconds(1)), .admit).ask("k")
                #expect(decision.isAdmitted)
                #expect(decision.failure?.code == .wrongType)
            }
        }
    }
}

/// The part of another process in a test.
@Suite(.enabled(if: ProcessInfo.processInfo.environment["PARLEY_REDIS_RATE"] != nil)) struct RateRole {
    @Test func ask() async throws {
        let port = try #require(ProcessInfo.processInfo.environment["PARLEY_REDIS_RATE"].flatMap { Int($0) })
        let server = RESPConfiguration(endpoint: .host("127.0.0.1", port: port))
        let admitted = try await withClient(server) { client in
            let limiter = RedisRateLimiter(
                client: client,
                limit: RateLimit(1, per: .seconds(3_600), burst: 50),
                whenUnavailable: .refuse,
                deadline: .seconds(10)
            )
            var count = 0
            for _ in 0..<40 where await limiter.ask("k").isAdmitted { count += 1 }
            return count
        }
        print("\nadmitted \(admitted)")
    }
}
