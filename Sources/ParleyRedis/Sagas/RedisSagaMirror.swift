public import Logging
public import ParleyCore
public import ParleyRESP
public import ParleySagas
public import ServiceLifecycle

/// Shows the sagas of another store on Redis or Valkey: `HGETALL saga:order:123` answers as the guide has it, while
/// the authority is a database.
///
/// It reads a `SagaFeed` and writes each changed saga's ``SagaHash``. How far it has come is on the server, written by
/// the same script as the hashes. So
/// - a mirror that dies at any moment goes on where it was, and a server that has forgotten everything gets it again;
/// - of several mirrors of one store each page is written by one, and none writes what another has overtaken;
/// - while the server is away nothing waits for it, and it catches up.
///
/// It shows a step soon after its commit, not with it: about ``Configuration/interval`` later. Only `RedisSagaStore`
/// can do better.
///
/// ## Edits
/// The mirror never writes over what somebody has changed: the hash stays as it was edited, and shows no further steps,
/// until the edit is taken (``take(_:)``), put back by hand, or deleted. To the saga an edit means nothing until
/// somebody sets its state in the store: see ``edit(of:)``.
public final class RedisSagaMirror: Service {
    public struct Configuration: Sendable, Hashable {
        /// Between two looks at a feed that had nothing new; 10 milliseconds to a minute.
        public var interval: Duration
        /// How long the hash of a saga that has ended stays, so that the server's memory does not fill up.
        public var retention: Duration

        public init(interval: Duration = .milliseconds(200), retention: Duration = .seconds(7 * 86_400)) {
            self.interval = min(.seconds(60), max(.milliseconds(10), interval))
            self.retention = min(.seconds(3_650 * 86_400), max(.zero, retention))
        }
    }

    /// The lines of history that are read for one script, and the sagas that are written again by it.
    static let page = 100

    private let client: RESPClient
    private let source: any SagaFeed
    private let prefix: String
    private let hashes: SagaHashes
    private let configuration: Configuration
    private let time: any TimeSource
    private let logger: Logger

    /// - Parameters:
    ///   - client: Its `run()` must be active while anything is asked.
    ///   - prefix: What the names of the mirror's own keys begin with: one for each store that is mirrored.
    public init(
        client: RESPClient,
        source: any SagaFeed,
        prefix: String,
        hashes: SagaHashes = SagaHashes(),
        configuration: Configuration = Configuration(),
        time: any TimeSource = SystemTimeSource(),
        logger: Logger
    ) {
        self.client = client
        self.source = source
        self.prefix = prefix
        self.hashes = hashes
        self.configuration = configuration
        self.time = time
        self.logger = logger
    }

    /// Mirrors until graceful shutdown or cancellation.
    public func run() async throws {
        await cancelWhenGracefulShutdown { await self.follow() }
    }

    private func follow() async {
        var failures = 0
        let backoff = Backoff(initial: .milliseconds(100), cap: .seconds(2), jitter: 0.5)
        while !Task.isCancelled {
            var wait = self.configuration.interval
            do {
                if try await !self.mirrorPage() { wait = .zero }
                if failures > 0 { self.logger.info("Sagas are mirrored again") }
                failures = 0
            } catch {
                guard !Task.isCancelled else { return }
                if failures == 0 {
                    self.logger.warning("Sagas are not mirrored for now", metadata: ["error": "\(error)"])
                }
                failures += 1
                wait = backoff.delay(afterFailures: failures, chance: 0.5)
            }
            if wait > .zero { try? await self.time.sleep(for: wait) }
        }
    }

    /// - Returns: Whether there was nothing more.
    func mirrorPage() async throws -> Bool {
        let replies = try await self.client.pipeline([
            ["GET", RESPArgument(self.prefix + ":position")],
            ["SRANDMEMBER", RESPArgument(self.prefix + ":again"), RESPArgument(Self.page)],
        ])
        guard replies.count == 2 else { return true }
        let position = try replies[0].get().string
        let again = try replies[1].get().elements?.compactMap(\.string) ?? []
        // After the position: what is read now is newer than all that was written up to there.
        let changes = try await self.source.changes(after: position, including: again, limit: Self.page)
        let sagas = changes.instances
        let gone = Set(again).subtracting(sagas.map(\.id))
        if !gone.isEmpty {
            let words = ["SREM", RESPArgument(self.prefix + ":again")] + gone.map { RESPArgument($0) }
            _ = try await self.client.send(RESPCommand(words))
        }
        guard !sagas.isEmpty || changes.position != position else { return changes.isEnd }
        var words = ScriptArguments()
        words.add(RESPArgument(position ?? ""), RESPArgument(changes.position ?? ""))
        for saga in sagas {
            guard let hash = self.hashes.hash(of: saga.type) else { continue }
            words.add(
                RESPArgument(saga.id),
                RESPArgument(hash.key(of: saga, prefix: self.hashes.prefix)),
                RESPArgument(self.life(of: saga)),
                fields: hash.values(of: saga)
            )
        }
        let written = try await self.client.eval(
            SagaMirrorScripts.write,
            keys: [self.prefix],
            arguments: words.words
        )
        return written.integer == 1 && changes.isEnd
    }

    /// In milliseconds; -1 for ever, 0 no longer.
    private func life(of saga: SagaInstance) -> Int64 {
        guard saga.status.isTerminal else { return -1 }
        let end = saga.updatedAt + self.configuration.retention
        return max(0, (end.microseconds - self.time.wallTime.microseconds) / 1_000)
    }

    // MARK: Edits

    /// What somebody has changed in a saga's hash; `nil` when it is as the mirror wrote it, or not there.
    ///
    /// - Throws: `RESPError`: then nobody knows whether there is an edit.
    public func edit(of saga: SagaInstance) async throws -> SagaMirrorEdit? {
        guard let hash = self.hashes.hash(of: saga.type) else { return nil }
        let key = hash.key(of: saga, prefix: self.hashes.prefix)
        let reply = try await self.client.eval(
            SagaMirrorScripts.look,
            keys: [self.prefix],
            arguments: [RESPArgument(saga.id), RESPArgument(key)]
        )
        guard let parts = reply.elements, parts.count == 3, let kind = parts[0].string else { return nil }
        guard kind != "none" else { return nil }
        let (now, copy) = (SagaRecord.fields(parts[1]), SagaRecord.fields(parts[2]))
        let isReadable = kind == "hash" && now.count == parts[1].pairs?.count
        guard !isReadable || now != copy else { return nil }
        let names = isReadable ? Set(now.keys).union(copy.keys).sorted() : []
        func text(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }
        return SagaMirrorEdit(
            saga: saga.id,
            key: key,
            content: isReadable ? "hash" : kind == "hash" ? "hash with field names that are not UTF-8" : kind,
            changes: names.filter { now[$0] != copy[$0] }.map {
                SagaEdit.Change(field: $0, stored: text(copy[$0]), edited: text(now[$0]))
            },
            shownState: text(copy["state"]),
            fields: isReadable ? now : [:]
        )
    }

    /// Puts back what the mirror wrote, so that the saga is shown as it is again. Whoever means to do what the edit
    /// says takes it first: of several people one gets it, and an edit that was made meanwhile is not overlooked.
    ///
    /// - Returns: Whether it was taken; otherwise the hash has changed since, or is not the mirror's.
    public func take(_ edit: SagaMirrorEdit) async throws -> Bool {
        guard !edit.fields.isEmpty, edit.shownState != nil else { return false }
        var words = ScriptArguments()
        words.add(RESPArgument(edit.saga), RESPArgument(edit.key))
        for (name, value) in edit.fields { words.add(RESPArgument(name), RESPArgument(value)) }
        let taken = try await self.client.eval(SagaMirrorScripts.take, keys: [self.prefix], arguments: words.words)
        return taken.integer == 1
    }
}
