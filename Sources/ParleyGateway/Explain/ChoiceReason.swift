/// Why the balancer chose an instance, in a few words. Pure.
enum ChoiceReason {
    /// - Parameter candidates: As they were at the moment of the choice; may be empty, or cut.
    static func text(
        _ method: UpstreamModel.Method,
        _ picked: PeerModel,
        among candidates: [ExchangeRecord.Candidate]
    ) -> String {
        if candidates.count == 1 { return "the only instance" }
        let reason = self.reason(method, picked, candidates.first { $0.name == picked.name })
        return picked.isBackup ? "a backup, for no other could be picked; \(reason)" : reason
    }

    private static func reason(
        _ method: UpstreamModel.Method,
        _ picked: PeerModel,
        _ candidate: ExchangeRecord.Candidate?
    ) -> String {
        let load =
            candidate.map { ExplainText.count($0.activeRequests, "active request") + " for weight \($0.weight)" }
            ?? "weight \(picked.weight)"
        switch method {
        case .roundRobin: return "its turn, with weight \(picked.weight)"
        case .leastConnections: return load
        case .ipHash: return "by the client's address"
        case .hash(_, let isConsistent): return isConsistent ? "by its key's place on the ring" : "by its key"
        case .random(let isTwo): return isTwo ? "the less loaded of two that were drawn: \(load)" : "drawn by lot"
        case .ewma: return "the faster of two that were drawn: \(load)"
        }
    }
}
