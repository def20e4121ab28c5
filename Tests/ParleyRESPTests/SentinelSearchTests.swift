import ParleyCore
import RedisTestSupport
import Testing

@testable import ParleyRESP

@Suite struct SentinelSearchTests {
    private typealias Search = SentinelSearchMachine
    private let sentinels = ["a", "b", "c"].map { RESPConfiguration.Endpoint.host($0) }
    private let server = RESPConfiguration.Endpoint.host("s")
    private let other = RESPConfiguration.Endpoint.host("t")
    private let down = RESPError(.cannotConnect, "down", retry: .notSent)
    private let wrong = RESPError(.wrongPassword, "wrong", retry: .permanent)

    private func begin() -> Search {
        var search = Search(master: "m", sentinels: self.sentinels)
        #expect(search.next() == .ask(self.sentinels[0]))
        return search
    }

    @Test func theyAreAskedInTurn() {
        var search = self.begin()
        #expect(search.answered(.failure(self.down)) == .ask(self.sentinels[1]))
        #expect(search.answered(.unknown) == .ask(self.sentinels[2]))
        #expect(search.answered(.address(self.server)) == .tryServer(self.server))
        #expect(search.failed(self.server, self.down) == .giveUp)
        #expect(search.answered(.unknown) == .giveUp)
    }

    @Test func anAddressIsTriedOnce() {
        var search = self.begin()
        #expect(search.answered(.address(self.server)) == .tryServer(self.server))
        #expect(search.failed(self.server, self.down) == .ask(self.sentinels[1]))
        #expect(search.answered(.address(self.server)) == .ask(self.sentinels[2]))
        #expect(search.answered(.address(self.other)) == .tryServer(self.other))
        #expect(search.failed(self.other, self.wrong) == .giveUp)
        // The one that may come back counts, not the one that never lets us in.
        let verdict = search.verdict
        #expect(verdict.code == .cannotConnect && verdict.retry == .notSent && verdict.server == "s:6379")
    }

    @Test func nothingThatACallerSentMayHaveRun() {
        var search = self.begin()
        _ = search.answered(.address(self.server))
        _ = search.failed(self.server, RESPError(.connectionLost, "lost", retry: .mayHaveRun))
        let verdict = search.verdict
        #expect(verdict.code == .connectionLost && verdict.retry == .notSent)
    }

    @Test func permanentOnlyWhenAllSaySo() {
        var search = self.begin()
        for _ in self.sentinels { _ = search.answered(.unknown) }
        let unknown = search.verdict
        #expect(unknown.code == .unknownMaster && unknown.retry == .permanent)
        search = self.begin()
        _ = search.answered(.unknown)
        _ = search.answered(.failure(self.down))
        _ = search.answered(.unknown)
        let perhaps = search.verdict
        #expect(perhaps.code == .unknownMaster && perhaps.retry == .notSent)
        search = self.begin()
        for _ in self.sentinels { _ = search.answered(.failure(self.wrong)) }
        let refused = search.verdict
        #expect(refused.code == .noSentinel && refused.retry == .permanent)
        search = self.begin()
        _ = search.answered(.failure(self.wrong))
        _ = search.answered(.failure(self.down))
        let mixed = search.verdict
        #expect(mixed.code == .noSentinel && mixed.retry == .notSent)
        search = self.begin()
        _ = search.answered(.address(self.server))
        _ = search.failed(self.server, self.wrong)
        let password = search.verdict
        #expect(password.code == .wrongPassword && password.retry == .permanent)
    }
}
