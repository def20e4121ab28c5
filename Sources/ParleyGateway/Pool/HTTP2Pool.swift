internal import NIOCore

/// The connections of HTTP/2 of one event loop to the instances of one upstream: one to each instance, and another
/// only when that one takes no more streams. Bound to its loop.
final class HTTP2Pool: HTTP2ClientConnectionOwner {
    typealias Ready = (Result<HTTP2ClientConnection, UpstreamFailure>) -> Void

    private struct Member {
        let peer: PeerID
        let connection: HTTP2ClientConnection
    }

    private unowned let worker: GatewayWorker
    let upstream: Upstream
    private let counters: UpstreamCounters
    private var members: [Member] = []
    private var waiting: [PeerID: [Ready]] = [:]
    /// They take no more requests, and have not closed yet.
    private var leaving: Set<ObjectIdentifier> = []
    private var isClosed = false

    init(worker: GatewayWorker, upstream: Upstream, counters: UpstreamCounters) {
        self.worker = worker
        self.counters = counters
        self.upstream = upstream
    }

    /// Whether no connection is left.
    var isEmpty: Bool { self.members.isEmpty && self.leaving.isEmpty && self.waiting.isEmpty }

    func reused() { self.counters.reused() }

    /// Connections without a stream.
    var resting: Int { self.members.count { $0.connection.openStreams == 0 } }

    /// A connection with room for a stream, at once if there is one.
    func connection(to peer: PeerID, _ location: CompiledLocation, _ ready: @escaping Ready) {
        if let member = self.members.first(where: { $0.peer == peer && $0.connection.hasRoom }) {
            return ready(.success(member.connection))
        }
        // Whoever comes while a connection is being opened waits for that one.
        let isFirst = self.waiting[peer] == nil
        self.waiting[peer, default: []].append(ready)
        if isFirst { self.open(peer, location) }
    }

    private func open(_ peer: PeerID, _ location: CompiledLocation) {
        let isSecure = location.target?.scheme == .https || location.target?.scheme == .grpcs
        let connection = HTTP2ClientConnection(isSecure: isSecure)
        connection.owner = self
        self.worker.open(peer, self.upstream, location, alpn: ["h2"]) { channel in
            try channel.pipeline.syncOperations.addHandler(connection)
        } done: { result in
            switch result {
            case .success:
                self.members.append(Member(peer: peer, connection: connection))
                self.counters.opened()
                self.serve(peer, .success(connection), location)
            case .failure(let failure):
                self.serve(peer, .failure(failure), location)
            }
        }
    }

    private func serve(
        _ peer: PeerID,
        _ result: Result<HTTP2ClientConnection, UpstreamFailure>,
        _ location: CompiledLocation
    ) {
        var waiting = self.waiting.removeValue(forKey: peer) ?? []
        while !waiting.isEmpty {
            if case .success(let connection) = result, !connection.hasRoom {
                self.waiting[peer] = waiting
                return self.open(peer, location)
            }
            waiting.removeFirst()(result)
        }
    }

    func close() {
        self.isClosed = true
        for member in self.members { member.connection.close() }
    }

    /// Peers that left: their connections end with the last request on them.
    func close(where isGone: (PeerID) -> Bool) {
        let gone = self.members.filter { isGone($0.peer) }
        self.members.removeAll { isGone($0.peer) }
        for member in gone {
            self.leaving.insert(ObjectIdentifier(member.connection))
            member.connection.close()
        }
    }

    func connectionIsIdle(_ connection: HTTP2ClientConnection) {
        if self.isClosed { connection.close() }
    }

    func connectionHasRoom(_ connection: HTTP2ClientConnection) {}

    func connectionIsGoingAway(_ connection: HTTP2ClientConnection) {
        if self.forget(connection) { self.leaving.insert(ObjectIdentifier(connection)) }
    }

    func connectionClosed(_ connection: HTTP2ClientConnection) {
        // A server that is going away may have been forgotten before its connection ends.
        if self.leaving.remove(ObjectIdentifier(connection)) != nil || self.forget(connection) {
            self.counters.closed()
        }
    }

    private func forget(_ connection: HTTP2ClientConnection) -> Bool {
        let before = self.members.count
        self.members.removeAll { $0.connection === connection }
        return self.members.count < before
    }
}

extension Exchange {
    func attemptHTTP2(_ peer: PeerID, _ upstream: Upstream, _ location: CompiledLocation) {
        guard self.takePending(upstream) else { return self.attemptFailed(.tooManyWait) }
        self.phase = .connecting
        let token = self.generation
        let attempt = self.attempts.count
        self.worker.streamPool(upstream, location).connection(to: peer, location) { result in
            guard self.generation == token, self.phase == .connecting, self.attempts.count == attempt else { return }
            switch result {
            case .failure(let failure):
                self.attemptFailed(failure)
            case .success(let connection):
                guard let stream = connection.open(self) else {
                    return self.attemptFailed(UpstreamFailure(kind: .refused, detail: "no room for another stream"))
                }
                self.attempts[self.attempts.count - 1].isReused = stream.isReused
                if stream.isReused { self.worker.streamPool(upstream, location).reused() }
                self.send(on: stream, version: .http2)
            }
        }
    }
}
