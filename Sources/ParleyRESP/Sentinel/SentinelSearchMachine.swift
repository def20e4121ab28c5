internal import ParleyCore

/// One search for a master: which sentinel is asked next, which server is tried, and why there is none. Pure.
///
/// A sentinel may be behind the others and name a server that is none any more, so an address that turned out wrong is
/// not the end: the next sentinel is asked. An address is tried once in a search, however many sentinels name it.
package struct SentinelSearchMachine {
    package typealias Endpoint = RESPConfiguration.Endpoint

    package enum Answer {
        case address(Endpoint)
        /// It has never heard of the name.
        case unknown
        /// It could not be asked, or its answer is none.
        case failure(RESPError)
    }

    package enum Action: Equatable {
        case ask(Endpoint)
        /// Look whether this is a master.
        case tryServer(Endpoint)
        /// ``SentinelSearchMachine/verdict`` says why.
        case giveUp
    }

    private let master: String
    private var rest: [Endpoint]
    private var asked: Endpoint?
    private var tried: [(server: Endpoint, error: RESPError)] = []
    private var silent: [(sentinel: Endpoint, error: RESPError)] = []
    private var unknowing: [Endpoint] = []

    package init(master: String, sentinels: [Endpoint]) {
        self.master = master
        self.rest = sentinels.reversed()
    }

    package mutating func next() -> Action {
        self.asked = self.rest.popLast()
        return self.asked.map { .ask($0) } ?? .giveUp
    }

    /// The sentinel that was asked last has answered.
    package mutating func answered(_ answer: Answer) -> Action {
        guard let sentinel = self.asked else { return .giveUp }
        switch answer {
        case .address(let server):
            if !self.tried.contains(where: { $0.server == server }) { return .tryServer(server) }
        case .unknown: self.unknowing.append(sentinel)
        case .failure(let error): self.silent.append((sentinel, error))
        }
        return self.next()
    }

    /// The server that was tried is no master that can be used.
    package mutating func failed(_ server: Endpoint, _ error: RESPError) -> Action {
        self.tried.append((server, error))
        return self.next()
    }

    /// Why nothing was found, and what to do. What waiting may mend is ``RetrySafety/notSent``; it is permanent only
    /// when nobody said anything else.
    package var verdict: RESPError {
        if let last = self.tried.first(where: { $0.error.retry != .permanent }) ?? self.tried.first {
            var error = last.error
            error.server = last.server.description
            error.message += "; the sentinels name it as the master of \(self.master)" + self.others
            if error.retry != .permanent { error.retry = .notSent }
            return error
        }
        let names = self.list(self.unknowing)
        if !self.unknowing.isEmpty {
            return RESPError(
                .unknownMaster,
                server: names,
                "no master is called \(self.master) there: compare the name with SENTINEL MASTERS" + self.others,
                retry: self.silent.isEmpty ? .permanent : .notSent
            )
        }
        guard let first = self.silent.first else {
            return RESPError(.noSentinel, "the list of sentinels is empty: name at least one", retry: .permanent)
        }
        return RESPError(
            .noSentinel,
            server: self.list(self.silent.map(\.sentinel)),
            "no sentinel could be asked for \(self.master): are they running, and are addresses and password right?",
            retry: self.silent.allSatisfy { $0.error.retry == .permanent } ? .permanent : .notSent,
            cause: first.error
        )
    }

    private var others: String {
        self.silent.isEmpty ? "" : "; could not be asked: \(self.list(self.silent.map(\.sentinel)))"
    }

    private func list(_ endpoints: [Endpoint]) -> String { endpoints.map(\.description).joined(separator: ", ") }
}
