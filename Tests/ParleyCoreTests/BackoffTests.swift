import Foundation
import ParleyCore
import Testing

@Suite struct BackoffTests {
    @Test func `it grows by the factor up to the cap`() {
        let backoff = Backoff(initial: .milliseconds(100), factor: 2, cap: .seconds(1), jitter: 0)
        let waits = (1...6).map { backoff.delay(afterFailures: $0, chance: 0) }
        #expect(waits == [100, 200, 400, 800, 1_000, 1_000].map { .milliseconds($0) })
    }

    @Test func `jitter only shortens, and by its share`() {
        let backoff = Backoff(initial: .seconds(1), factor: 2, cap: .seconds(10), jitter: 0.5)
        #expect(backoff.delay(afterFailures: 1, chance: 0) == .seconds(1))
        let shortest = backoff.delay(afterFailures: 1, chance: 0.999_999)
        #expect(shortest >= .milliseconds(500) && shortest < .milliseconds(501))
    }

    @Test func `no parameters and no count leave the range`() {
        let random = SeededRandomSource(seed: 1)
        let factors = [-1, 0, 0.5, 1, 1.5, 2, 10, 1e300, .infinity, -.infinity, .nan]
        let jitters = [-1, 0, 0.3, 1, 7, .infinity, .nan]
        let durations: [Duration] = [
            .seconds(-1), .zero, .nanoseconds(1), .milliseconds(1), .seconds(60), .seconds(1_000_000_000),
            .seconds(Int64.max), .seconds(Int64.min),
        ]
        for factor in factors {
            for jitter in jitters {
                for initial in durations {
                    for cap in durations {
                        let backoff = Backoff(initial: initial, factor: factor, cap: cap, jitter: jitter)
                        for failures in [Int.min, -1, 0, 1, 2, 50, 1_024, 1_025, Int.max] {
                            let wait = backoff.delay(afterFailures: failures, random: random)
                            #expect(wait >= .zero && wait <= max(.zero, cap), "\(backoff) \(failures)")
                        }
                    }
                }
            }
        }
    }

    @Test func `what is decoded is brought into range as well`() throws {
        let absurd = try JSONEncoder().encode(Backoff(initial: .seconds(1), cap: .seconds(2)))
        let text = String(decoding: absurd, as: UTF8.self)
            .replacing(#""jitter":1"#, with: #""jitter":50"#).replacing(#""factor":2"#, with: #""factor":-3"#)
        let read = try JSONDecoder().decode(Backoff.self, from: Data(text.utf8))
        #expect(read.jitter == 1 && read.factor == 1)
    }
}
