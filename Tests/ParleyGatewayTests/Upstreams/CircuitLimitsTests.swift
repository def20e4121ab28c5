internal import ParleyGateway
internal import Testing

@Suite struct CircuitLimitsTests {
    @Test(arguments: [CircuitResource.connection, .pendingRequest, .request, .retry])
    func eachHasItsLimit(_ resource: CircuitResource) {
        var rules = CircuitRules()
        rules.maxConnections = 3
        rules.maxPending = 3
        rules.maxRequests = 3
        let limits = CircuitBreaker(CircuitLimits(rules))
        for _ in 0..<3 { #expect(limits.take(resource)) }
        #expect(!limits.take(resource))
        #expect(limits.counts.overflows == 1)
        limits.give(resource)
        #expect(limits.take(resource))
        for _ in 0..<9 { limits.give(resource) }
        // What was never taken cannot be given back.
        let counts = limits.counts
        #expect([counts.connections, counts.pending, counts.requests, counts.retries] == [0, 0, 0, 0])
        #expect(counts.overflows == 1)
    }

    @Test func zeroIsNoLimit() {
        var rules = CircuitRules()
        rules.maxRequests = 0
        let limits = CircuitBreaker(CircuitLimits(rules))
        for _ in 0..<5_000 { #expect(limits.take(.request)) }
    }

    @Test func aBudgetOfRetriesIsAShare() {
        let limits = CircuitBreaker(CircuitLimits(CircuitRules(), retryBudget: RetryBudgetRules()))
        for _ in 0..<3 { #expect(limits.take(.retry)) }
        #expect(!limits.take(.retry))
        for _ in 0..<10 { #expect(limits.take(.request)) }
        for _ in 0..<9 { #expect(limits.take(.pendingRequest)) }
        #expect(!limits.take(.retry))
        #expect(limits.take(.pendingRequest))
        #expect(limits.take(.retry))
        #expect(!limits.take(.retry))
        var none = RetryBudgetRules()
        none.percent = 0
        none.minimum = 0
        let strict = CircuitBreaker(CircuitLimits(CircuitRules(), retryBudget: none))
        #expect(!strict.take(.retry))
    }

    @Test func aGroupHasThemIfAskedFor() throws {
        #expect(try peerGroup([peer(1)]).circuit == nil)
        let limited = try #require(try peerGroup([peer(1)]) { $0.limits = CircuitRules() }.circuit)
        for _ in 0..<1_024 { #expect(limited.take(.request)) }
        #expect(!limited.take(.request))
        let budgeted = try #require(try peerGroup([peer(1)]) { $0.retryBudget = RetryBudgetRules() }.circuit)
        for _ in 0..<2_000 { #expect(budgeted.take(.request)) }
        #expect(budgeted.counts.requests == 2_000)
    }
}
