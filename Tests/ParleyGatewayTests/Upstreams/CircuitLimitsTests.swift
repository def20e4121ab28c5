internal import ParleyGateway
internal import Testing

@Suite struct CircuitLimitsTests {
    @Test(arguments: [CircuitResource.connection, .pendingRequest, .request, .retry])
    func eachHasItsLimit(_ resource: CircuitResource) {
        var rules = CircuitRules()
        rules.maxConnections = 3
        rules.maxPending = 3
        rules.maxRequests = 3
        var limits = CircuitLimits(rules)
        for _ in 0..<3 { #expect(limits.take(resource)) }
        #expect(!limits.take(resource))
        #expect(limits.counts.overflows == 1)
        limits.give(resource)
        #expect(limits.take(resource))
        for _ in 0..<9 { limits.give(resource) }
        #expect(limits.counts == CircuitLimits.Counts(overflows: 1))
    }

    @Test func zeroIsNoLimit() {
        var rules = CircuitRules()
        rules.maxRequests = 0
        var limits = CircuitLimits(rules)
        for _ in 0..<5_000 { #expect(limits.take(.request)) }
    }

    @Test func aBudgetOfRetriesIsAShare() {
        var limits = CircuitLimits(CircuitRules(), retryBudget: RetryBudgetRules())
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
        var strict = CircuitLimits(CircuitRules(), retryBudget: none)
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
