package import ParleyCore
internal import Synchronization

/// Makes connections to what a configuration names: directly, or by way of its sentinels.
package final class RESPConnector: Sendable {
    private typealias Endpoint = RESPConfiguration.Endpoint

    private let configuration: RESPConfiguration
    private let time: any TimeSource
    /// The sentinels, the one that was right last first: so all connections of a client ask the same one, and one that
    /// is silent costs its share of the time only once.
    private let order: Mutex<[RESPConfiguration.Endpoint]>

    package init(_ configuration: RESPConfiguration, time: any TimeSource) {
        self.configuration = configuration
        self.time = time
        if case .sentinel(let group) = configuration.endpoint.kind {
            self.order = Mutex(group.endpoints)
        } else {
            self.order = Mutex([])
        }
    }

    /// A connection whose handshake is done, behind sentinels to a server that says that it is a master. Its
    /// configuration has the server's own endpoint. Whoever asks for it closes it.
    ///
    /// - Throws: never ``RetrySafety/mayHaveRun``, since no command of a caller was sent.
    package func connect(isShared: Bool) async throws(RESPError) -> RESPConnection {
        guard case .sentinel(let group) = self.configuration.endpoint.kind else {
            return try await RESPConnection.open(self.configuration, isShared: isShared, time: self.time)
        }
        let sentinels = self.order.withLock { $0 }
        let share = self.configuration.connectTimeout / max(1, sentinels.count)
        var search = SentinelSearchMachine(master: group.master, sentinels: sentinels)
        var action = search.next()
        var asked: Endpoint?
        while true {
            if Task.isCancelled { throw self.cancelled }
            switch action {
            case .ask(let sentinel):
                asked = sentinel
                action = search.answered(await self.ask(sentinel, group, within: share))
            case .tryServer(let server):
                do throws(RESPError) {
                    let connection = try await self.master(at: server, isShared: isShared)
                    if let asked { self.prefer(asked) }
                    return connection
                } catch {
                    action = search.failed(server, error)
                }
            case .giveUp: throw search.verdict
            }
        }
    }

    private func prefer(_ sentinel: Endpoint) {
        self.order.withLock { order in
            guard let index = order.firstIndex(of: sentinel), index > 0 else { return }
            order.insert(order.remove(at: index), at: 0)
        }
    }

    package var asksSentinels: Bool { self.order.withLock { !$0.isEmpty } }

    /// Asks the sentinel that was right last, on one connection and each time that `isWanted` says so, and tells the
    /// answers. Returns when nothing is wanted any more, or the sentinel cannot be asked: another is the next then.
    package func watch(while isWanted: () async -> Bool, named: (RESPConfiguration.Endpoint) async -> Void) async {
        guard case .sentinel(let group) = self.configuration.endpoint.kind,
            let sentinel = self.order.withLock({ $0.first })
        else { return }
        do throws(RESPError) {
            let connection = try await self.open(sentinel, group, within: self.configuration.connectTimeout)
            defer { connection.abort() }
            while await isWanted() {
                if let server = try await Self.master(group, at: connection) { await named(server) }
            }
        } catch {
            self.order.withLock { if $0.first == sentinel { $0.append($0.removeFirst()) } }
        }
    }

    private func ask(
        _ sentinel: Endpoint,
        _ group: Endpoint.Sentinels,
        within share: Duration
    ) async -> SentinelSearchMachine.Answer {
        do throws(RESPError) {
            let connection = try await self.open(sentinel, group, within: share)
            defer { connection.abort() }
            return try await Self.master(group, at: connection).map { .address($0) } ?? .unknown
        } catch {
            return .failure(error)
        }
    }

    private func open(
        _ sentinel: Endpoint,
        _ group: Endpoint.Sentinels,
        within share: Duration
    ) async throws(RESPError) -> RESPConnection {
        var settings = self.configuration
        settings.endpoint = sentinel
        settings.username = group.username
        settings.password = group.password
        settings.database = 0
        settings.prefersRESP3 = false
        settings.onPush = nil
        settings.connectTimeout = share
        settings.commandTimeout = share
        settings.silenceLimit = share
        return try await RESPConnection.open(settings, isShared: false, time: self.time)
    }

    /// `nil` when the sentinel has never heard of the name.
    private static func master(
        _ group: Endpoint.Sentinels,
        at sentinel: RESPConnection
    ) async throws(RESPError) -> Endpoint? {
        let question: RESPCommand = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", RESPArgument(group.master)]
        let reply = try await sentinel.send(question)
        if reply.isNull { return nil }
        guard let words = reply.elements, words.count == 2, let host = words[0].string,
            (1...255).contains(host.utf8.count), let port = words[1].integer, (1...65_535).contains(port)
        else { throw reply.unexpected("SENTINEL") }
        return .host(host, port: Int(port))
    }

    /// A connection to `server`, if that is a master.
    private func master(at server: Endpoint, isShared: Bool) async throws(RESPError) -> RESPConnection {
        var settings = self.configuration
        settings.endpoint = server
        let connection = try await RESPConnection.open(settings, isShared: isShared, time: self.time)
        let role: String?
        do throws(RESPError) {
            role = try await connection.send(["ROLE"]).elements?.first?.string
        } catch {
            connection.abort()
            throw error
        }
        guard role == "master" else {
            connection.abort()
            throw RESPError(
                .notMaster,
                server: server.description,
                "it says that it is \(role == "slave" ? "a replica" : "no master"): wait for the fail-over",
                retry: .notSent
            )
        }
        return connection
    }

    private var cancelled: RESPError {
        RESPError(
            .cancelled,
            server: self.configuration.endpoint.description,
            "cancelled while a master was looked for",
            retry: .notSent,
            cause: CancellationError()
        )
    }
}
