import Testing

@testable import ParleyGateway

@Suite struct ChoiceReasonTests {
    private func text(_ method: UpstreamModel.Method, isBackup: Bool = false, count: Int = 2) -> String {
        var peer = PeerModel(host: "10.0.0.1", port: 80)
        peer.weight = 3
        peer.isBackup = isBackup
        let picked = ExchangeRecord.Candidate(name: peer.name, weight: 3, activeRequests: 2)
        let others = (1..<max(1, count)).map { ExchangeRecord.Candidate(name: "10.0.1.\($0):80") }
        return ChoiceReason.text(method, peer, among: count == 0 ? [] : [picked] + others)
    }

    @Test func eachMethodHasItsWords() {
        #expect(self.text(.roundRobin) == "its turn, with weight 3")
        #expect(self.text(.leastConnections) == "2 active requests for weight 3")
        #expect(self.text(.leastConnections, count: 0) == "weight 3")
        #expect(self.text(.ipHash) == "by the client's address")
        #expect(self.text(.hash(Template(parts: []), isConsistent: false)) == "by its key")
        #expect(self.text(.hash(Template(parts: []), isConsistent: true)) == "by its key's place on the ring")
        #expect(self.text(.random(isTwo: false)) == "drawn by lot")
        #expect(self.text(.ewma).hasPrefix("the faster of two"))
        #expect(self.text(.ipHash, count: 1) == "the only instance")
        #expect(self.text(.roundRobin, isBackup: true).hasPrefix("a backup, for no other could be picked; its turn"))
    }
}
