internal import Testing

@testable internal import ParleyRegistry

@Suite struct DNSRateLimiterTests {
    /// How many of 30 are admitted.
    private func admitted(_ limiter: inout DNSRateLimiter, _ source: String, at now: UInt64) -> Int {
        (0..<30).reduce(0) { count, _ in count + (limiter.admits(source, now: now) ? 1 : 0) }
    }

    @Test func admitsSoManyASecondFromEachAddress() {
        var limiter = DNSRateLimiter(perSecond: 10)
        let start: UInt64 = 5_000_000_000
        let counts = [
            self.admitted(&limiter, "a", at: start), self.admitted(&limiter, "b", at: start),
            self.admitted(&limiter, "a", at: start + 500_000_000),
            // However long nothing came, no more than a second's worth is saved up; a clock that goes back adds nothing.
            self.admitted(&limiter, "a", at: start + 60_000_000_000), self.admitted(&limiter, "a", at: start),
        ]
        #expect(counts == [10, 10, 5, 10, 0])
    }

    @Test func remembersNoMoreAddressesThanItsLimit() {
        var limiter = DNSRateLimiter(perSecond: 1)
        var admitted = 0
        for number in 0..<DNSRateLimiter.maximumSources where limiter.admits("\(number)", now: 1) { admitted += 1 }
        #expect(admitted == DNSRateLimiter.maximumSources)
        // One more makes all of them begin anew.
        let counts = ["0", "more", "0"].map { self.admitted(&limiter, $0, at: 1) }
        #expect(counts == [0, 1, 1])
    }
}
