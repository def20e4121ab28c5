public import Logging
public import ParleyCore
internal import ParleyHTTPServer
internal import ParleySQLite
public import ServiceLifecycle

/// A service registry that speaks Consul's HTTP API: Consul's own clients, curl commands and runbooks work with it.
///
/// ```swift
/// let registry = try await Registry(RegistryConfiguration(path: "registry.db"), logger: logger)
/// // in a ServiceGroup: registry.run()
/// ```
/// ## What it does
/// Services, their health checks (TTL, HTTP, TCP, UDP, gRPC, HTTP/2 ping, alias), maintenance, health, questions that
/// wait for a change, filters, and a key-value store. It is one node: no cluster, no gossip, no mesh, no prepared
/// queries, no sessions and locks.
///
/// In the same process ``resolver``, ``registrar`` and ``names`` work on the same state without HTTP.
///
/// ## Guarantees
/// - A registration, deregistration or write of a key that was answered with 200 is on disk (with
///   ``RegistryConfiguration/path``). What checks find out is written within about a second; after a crash the checks
///   find it out again.
/// - An index never goes back, over restarts and crashes, unless the file is lost (or the disk has refused to write
///   100,000 changes in a row).
/// - A question that waits is woken by every change of what it asks about, and by nothing else but a restart.
/// - After a restart each TTL begins anew, and what was critical is deregistered no sooner than its whole time later.
public final class Registry: Service, Sendable {
    public let configuration: RegistryConfiguration
    let engine: RegistryEngine
    private let store: RegistryStore?
    private let floor: UInt64
    private let api: RegistryAPI
    private let listenerState: ListenerState
    private let onListening: @Sendable (Endpoint) async -> Void
    private let logger: Logger
    private let time: any TimeSource

    /// Opens the file, and reads what was there.
    ///
    /// - Parameter onListening: called with the real address before the first connection is accepted.
    /// - Throws: ``RegistryError``, or `SQLiteError` when the file cannot be opened.
    public init(
        _ configuration: RegistryConfiguration = RegistryConfiguration(),
        onListening: @escaping @Sendable (Endpoint) async -> Void = { _ in },
        logger: Logger,
        time: any TimeSource = SystemTimeSource(),
        random: any RandomSource = SystemRandomSource()
    ) async throws {
        guard !configuration.nodeName.isEmpty, !configuration.datacenter.isEmpty else {
            throw RegistryError(
                .invalidConfiguration,
                "A registry needs the name of its node (\"\(configuration.nodeName)\") and of its datacenter "
                    + "(\"\(configuration.datacenter)\")."
            )
        }
        guard configuration.token?.isEmpty != true else {
            throw RegistryError(
                .invalidConfiguration,
                "The registry's token is empty, and no request could carry it; use nil to ask for none."
            )
        }
        var saved = RegistryStateMachine.Saved()
        var floor: UInt64 = 0
        if let path = configuration.path {
            let store = try await RegistryStore.open(path: path, time: time, logger: logger)
            do {
                (saved, floor) = try await store.load()
            } catch {
                await store.backend.close()
                guard error is DecodingError || error is RegistryStore.DamagedCeiling else { throw error }
                throw RegistryError(
                    .unreadableStore,
                    "\(path) holds a row that this program cannot read; run the newer program, or move the file away "
                        + "to begin empty.",
                    cause: error
                )
            }
            self.store = store
        } else {
            self.store = nil
        }
        var machine = RegistryStateMachine(
            localNode: configuration.nodeName,
            limits: configuration.limits,
            floor: floor
        )
        var dirty = machine.restore(saved)
        let ids = UUIDv7Generator(time: time, random: random)
        let identity = RegistryIdentity(
            nodeID: machine.nodes[configuration.nodeName]?.id ?? "\(ids.next())",
            nodeName: configuration.nodeName,
            datacenter: configuration.datacenter,
            address: configuration.advertisedAddress
        )
        do throws(RegistryStateMachine.Refusal) {
            dirty.merge(try machine.begin(identity.node, listsItself: configuration.listsItself))
        } catch {
            await self.store?.backend.close()
            throw RegistryError(
                .invalidConfiguration,
                "The registry has no room for its own node \"\(configuration.nodeName)\" (\(error)); raise its limits, "
                    + "or give it the name of a node that it knows.",
                cause: error
            )
        }
        self.configuration = configuration
        self.floor = floor
        self.engine = RegistryEngine(
            machine: machine,
            isPersistent: configuration.path != nil,
            time: time,
            random: random
        )
        self.engine.change { [dirty] _ in dirty }
        self.api = RegistryAPI(engine: self.engine, configuration: configuration, identity: identity)
        self.listenerState = ListenerState(time: time)
        self.onListening = onListening
        self.logger = logger
        self.time = time
    }

    /// The address it listens on, as soon as it does.
    ///
    /// - Throws: `ServerError` when it cannot listen.
    public func endpoint() async throws -> Endpoint { try await self.listenerState.endpoint() }

    /// Serves, makes the checks, and writes what changes, until the graceful shutdown has drained.
    ///
    /// Questions that wait are then answered with what there is.
    ///
    /// - Throws: `ServerError` when it cannot listen.
    public func run() async throws {
        let result: Result<Void, any Error> = await withTaskGroup(of: Void.self) { group in
            if let store {
                group.addTask { await self.engine.keepSaving(in: store, floor: self.floor, logger: self.logger) }
            }
            group.addTask { await CheckRunner(engine: self.engine, configuration: self.configuration).run() }
            let result: Result<Void, any Error>
            do {
                try await self.serve()
                result = .success(())
            } catch {
                result = .failure(error)
            }
            group.cancelAll()
            return result
        }
        await self.store?.backend.close()
        try result.get()
    }

    private func serve() async throws {
        var configuration = ListenerConfiguration(
            name: "registry",
            host: self.configuration.host,
            port: self.configuration.port
        )
        configuration.maxConnections = self.configuration.limits.maximumConnections
        configuration.backlog = 4_096
        let listener = HTTPListener(
            configuration: configuration,
            state: self.listenerState,
            logger: self.logger,
            time: self.time
        )
        let responder = RegistryResponder(
            api: self.api,
            state: self.listenerState,
            dates: DateHeader(time: self.time),
            logger: self.logger
        )
        try await listener.run(
            responder: { request, writer, channel in
                try await responder.respond(to: request, writer: writer, channel: channel)
            },
            onListening: self.onListening,
            onDraining: { self.engine.drain() }
        )
    }
}
