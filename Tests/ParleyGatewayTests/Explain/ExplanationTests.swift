import Foundation
import ParleyCore
import Testing

@testable import ParleyGateway

/// A record of a request to two instances of `user_svc`.
private func record(
    _ status: Int,
    _ flags: ResponseFlags,
    why: String = "",
    attempts: [ExchangeRecord.Attempt] = [],
    path: String = "/api/v1/users?id=1"
) throws -> ExchangeRecord {
    var record = ExchangeRecord(
        id: "5f0c",
        time: try #require(Timestamp("2026-11-23T09:15:00.250Z")),
        method: "GET",
        host: "api.example.com",
        path: path,
        server: "api.example.com",
        route: "/api/v1/users",
        upstream: "user_svc",
        client: "10.1.2.3",
        status: status,
        flags: flags,
        why: why,
        durationMicroseconds: 1_250
    )
    record.attempts = attempts
    return record
}

private func attempt(
    _ outcome: ExchangeRecord.Outcome,
    _ phase: ExchangeRecord.Phase,
    detail: String = "",
    retry: ExchangeRecord.RetryDecision = .noInstanceLeft
) -> ExchangeRecord.Attempt {
    ExchangeRecord.Attempt(
        instance: "127.0.0.1:8001",
        method: "least_conn",
        why: "0 active requests for weight 1",
        considered: [
            .init(name: "127.0.0.1:8001"),
            .init(name: "127.0.0.1:8002", activeRequests: 1, fails: 3, state: .failed, reason: "connection refused"),
        ],
        phase: phase,
        timings: .init(connect: 90),
        outcome: outcome,
        detail: detail,
        retry: retry
    )
}

@Suite struct ExplanationTests {
    @Test func aRefusedConnectionAsAWhole() throws {
        let record = try record(
            502,
            [.connectFailed, .retriesExhausted],
            why: "connection refused",
            attempts: [attempt(.connectFailed, .connect, detail: "connection refused")]
        )
        #expect(
            Explanation(record).text == """
                GET /api/v1/users?id=1 of api.example.com was answered 502 (UF,URX) after 1.2 ms

                  2026-11-23T09:15:00.250Z request 5f0c from 10.1.2.3
                  +0 µs  server api.example.com, location /api/v1/users, upstream user_svc
                  +0 µs  attempt 1: 127.0.0.1:8001, by least_conn (0 active requests for weight 1)
                      127.0.0.1:8001: weight 1, 0 active requests, 0 failures, available
                      127.0.0.1:8002: weight 1, 1 active request, 3 failures, out after failures (connection refused)
                      connect 90 µs
                      a new connection, 0 bytes sent, 0 bytes received
                      no connection (connection refused); not tried again: no other instance is left
                  +1.2 ms  the gateway's own status 502: connection refused

                Likely cause
                  Nothing listens at 127.0.0.1:8001: the service is not running, or on another port.

                Next
                  ss -tlnp | grep ':8001'
                  curl http://127.0.0.1:8001/health
                """
        )
    }

    @Test func aRequestAboveTheRate() throws {
        var record = try record(429, .rateLimited)
        record.limit = .init(
            kind: .requests,
            zone: "gateway",
            key: "10.1.2.3",
            limit: 3_333,
            burst: 50,
            current: 50_100,
            nextMilliseconds: 30
        )
        let story = Explanation(record)
        #expect(
            story.cause
                == "Client key 10.1.2.3 sends faster than zone gateway allows (200 requests a minute, burst 50). "
                + "Its next request would have passed 30 ms later."
        )
        #expect(
            story.timeline.contains(
                "limit gateway refused key 10.1.2.3: 50.1 requests above 200 requests a minute, burst 50"
            )
        )
        #expect(story.next.first == "parley gateway status")
    }

    @Test func tooManyAtOnce() throws {
        var record = try record(503, .connectionLimited)
        record.limit = .init(kind: .connections, zone: "perip", key: "10.1.2.3", limit: 10, current: 10)
        #expect(Explanation(record).cause.contains("has 10 requests under way, and zone perip allows 10 at once"))
    }

    @Test func noLiveUpstreams() throws {
        var record = try record(502, .noneHealthy, why: "no live upstreams")
        let until = try #require(Timestamp("2026-11-23T09:15:30Z"))
        record.unavailable = [
            .init(name: "127.0.0.1:8001", fails: 3, state: .failed, until: until, reason: "connection refused"),
            .init(name: "127.0.0.1:8002", state: .ejected, until: until + .seconds(5), reason: "5 answers of 503"),
            .init(name: "127.0.0.1:8003", state: .down),
        ]
        let story = Explanation(record)
        #expect(
            story.cause
                == "Every instance of upstream user_svc is out: 127.0.0.1:8001 (failed, connection refused, until "
                + "2026-11-23T09:15:30.000Z); 127.0.0.1:8002 (ejected, 5 answers of 503, until "
                + "2026-11-23T09:15:35.000Z); 127.0.0.1:8003 (down). The first is asked again at "
                + "2026-11-23T09:15:30.000Z."
        )
        #expect(story.next.first == "ss -tlnp | grep ':8001'")
        record.unavailable = []
        #expect(Explanation(record).cause.contains("has no instances at all"))
    }

    @Test(arguments: [
        (ExchangeRecord.Outcome.connectTimeout, "does not take connections in time", "ss -tlnp | grep ':8001'"),
        (.tlsFailed, "do not agree on TLS", "openssl s_client -connect 127.0.0.1:8001"),
        (.sendTimeout, "proxy_send_timeout", "curl -s -o /dev/null"),
        (.readTimeout, "longer than proxy_read_timeout", "curl -s -o /dev/null"),
        (.lost, "closed the connection without an answer", "curl -sv"),
        (.truncated, "closed the connection within its answer", "curl -sv"),
        (.garbage, "is no HTTP", "curl -sv"),
        (.headTooLarge, "proxy_buffer_size", "curl -sv"),
        (.misdirected, "Another instance answers", "ss -tlnp"),
        (.refused, "refused the stream", "parley gateway status"),
        (.overflow, "limits of upstream user_svc are reached", "parley gateway status"),
    ])
    func eachOutcomeHasItsCause(outcome: ExchangeRecord.Outcome, cause: String, next: String) throws {
        let story = Explanation(try record(502, .connectionEnded, attempts: [attempt(outcome, .firstByte)]))
        #expect(story.cause.contains(cause), "\(story.cause)")
        #expect(story.next.first?.hasPrefix(next) == true, "\(story.next)")
    }

    @Test(arguments: [
        (ResponseFlags.noRoute, 404, "No location answers this path"),
        (.addressDenied, 403, "is denied by the rules"), (.unauthorized, 401, "credentials are missing"),
        (.bodyTooLarge, 413, "client_max_body_size"), (.clientProtocolError, 400, "broke a rule of HTTP"),
        (.invalidHeader, 400, "broke a rule of HTTP"), (.clientTimeout, 408, "too slowly"),
        (.clientGone, 499, "went away after 1.2 ms"), (.overloaded, 503, "worker_connections"),
        (.shuttingDown, 503, "shutting down"), (.internalError, 500, "leads nowhere"),
        (.totalTimeout, 504, "time for the whole request was over"),
    ])
    func eachFlagHasItsCause(flags: ResponseFlags, status: Int, cause: String) throws {
        let story = Explanation(try record(status, flags, why: "a reason"))
        #expect(story.cause.contains(cause), "\(story.cause)")
        #expect(story.headline.contains("(\(flags.text))"))
    }

    @Test func anAnswerThatCameAfterAFailure() throws {
        var record = try record(
            200,
            [],
            attempts: [
                attempt(.connectFailed, .connect, detail: "connection refused", retry: .retried),
                attempt(.answered, .done, retry: .notNeeded),
            ]
        )
        record.isOwnAnswer = false
        let story = Explanation(record)
        #expect(story.headline.contains("passed on status 200"))
        #expect(story.cause.hasPrefix("127.0.0.1:8001 failed, and another instance answered."))
    }

    /// Words of a client end in commands that people copy, and on their terminals.
    @Test func wordsOfPeersAreQuotedAndShown() throws {
        let story = Explanation(
            try record(
                502,
                .connectionEnded,
                attempts: [attempt(.garbage, .firstByte)],
                path: "/a'; rm -rf $HOME #\u{1B}[2J"
            )
        )
        #expect(story.next.first == #"curl -sv 'http://127.0.0.1:8001/a'\''; rm -rf $HOME #\u{1b}[2J'"#)
        #expect(!story.text.unicodeScalars.contains("\u{1B}"))
    }

    @Test func durationsAndRates() {
        #expect(
            [0, 999, 1_000, 1_250, 30_000_000, -5].map { ExplainText.duration($0) } == [
                "0 µs", "999 µs", "1 ms", "1.2 ms", "30 s", "0 µs",
            ]
        )
        #expect(
            [16, 3_333, 5_000, .max].map { ExplainText.rate($0) }.prefix(3) == [
                "1 requests a minute", "200 requests a minute", "5 requests a second",
            ]
        )
        #expect(ExplainText.endpoint("[::1]:80").port == "80")
        #expect(ExplainText.endpoint("name").port == nil)
    }
}

@Suite struct ResponseFlagsTests {
    @Test func lettersAreWrittenAndRead() {
        let flags: ResponseFlags = [.connectFailed, .retriesExhausted, .clientGone]
        #expect(flags.text == "DC,UF,URX")
        #expect(ResponseFlags(text: "DC,UF,URX") == flags)
        #expect(ResponseFlags(text: "XX") == nil)
        #expect(ResponseFlags(text: "") == [])
        #expect(Set(ResponseFlags.letters.map { "\($0.text)" }).count == ResponseFlags.letters.count)
        #expect(Set(ResponseFlags.letters.map(\.flag.rawValue)).count == ResponseFlags.letters.count)
    }
}
