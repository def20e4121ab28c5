internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import ParleyRESP
internal import ParleyRedis
internal import ParleySQLite
internal import ParleySagas

/// The orders' sagas as the guide shows them, `HGETALL saga:order:<id>`, and what people set there.
///
/// The sagas themselves stay in order-service's file, because confirming and cancelling an order commit its row, its
/// event and the saga's step together. So a state that is set in the hash changes nothing until somebody says
/// `POST /admin/sagas/<id>/replay`.
struct OrderMirror: Sendable {
    let mirror: RedisSagaMirror
    let sagas: SQLiteSagaStore
    let time: any TimeSource = SystemTimeSource()

    static let hashes = SagaHashes([
        SagaHash(
            type: OrderSagaDefinition.name,
            name: "order",
            fields: [
                .init("order_id", .businessKey),
                .init("inventory_reservation", .output(of: "reserve_inventory", "reservation")),
                .init("started_at", .startedAt),
            ]
        )
    ])

    /// A state that somebody has set in a saga's hash, and that can be taken over.
    struct Decidable: Sendable {
        fileprivate var edit: SagaMirrorEdit
        var state: String
        var key: String { self.edit.key }
    }

    private static let tries = 10

    /// What a customer waits for is not kept up for long.
    private static let patience: Duration = .milliseconds(200)

    /// For people; `nil` also when nobody can tell.
    func shownEdit(of saga: SagaInstance) async -> String? {
        guard !saga.status.isTerminal else { return nil }
        var context = RequestContext.current ?? RequestContext(requestID: saga.id)
        let limit = Deadline(after: Self.patience, on: self.time)
        context.deadline = min(context.deadline ?? limit, limit)
        guard let edit = try? await context.withCurrent({ try await self.mirror.edit(of: saga) }) else { return nil }
        let what =
            edit.changes.isEmpty
            ? "there is a \(edit.content) now"
            : edit.changes.map { "\($0.field) \($0.stored ?? "nothing") → \($0.edited ?? "nothing")" }
                .joined(separator: ", ")
        return
            "'\(edit.key)' was edited by hand (\(what)); POST /admin/sagas/\(saga.businessKey)/replay takes it over, "
            + "deleting the key forgets it"
    }

    /// The state that was set in a saga's hash; `nil` when the hash is as it was written.
    ///
    /// - Throws: `SagaError` when the edit cannot be taken over; `ProblemError` when nobody can tell whether there is
    ///   one: trying the present step again might be the opposite of what the person wanted.
    func decidable(_ name: String) async throws -> Decidable? {
        guard let saga = try await self.find(name), !saga.status.isTerminal else { return nil }
        guard let edit = try await self.asking({ try await self.mirror.edit(of: saga) }) else { return nil }
        let state = try edit.wantedState()
        guard edit.shownState == saga.state else {
            throw SagaError(
                .conflict,
                "'\(edit.key)' was set to '\(state)' when it showed '\(edit.shownState ?? "")', and the saga has moved "
                    + "on to '\(saga.state)' since; POST …/state sets a state all the same, deleting the key forgets it"
            )
        }
        return Decidable(edit: edit, state: state)
    }

    /// Does what the edit says, with the edit taken first: should this process die in between, the hash says truly that
    /// nothing was done.
    ///
    /// The saga may be trying its step again and again meanwhile, so `body` is repeated while the saga is where the
    /// person saw it.
    ///
    /// - Throws: `SagaError` when somebody else was faster; what `body` throws.
    func taking<Value>(_ decided: Decidable, _ body: () async throws -> Value) async throws -> Value {
        guard try await self.asking({ try await self.mirror.take(decided.edit) }) else {
            throw SagaError(.conflict, "'\(decided.key)' has changed in this moment; look at it again")
        }
        for _ in 1..<Self.tries {
            do {
                return try await body()
            } catch let error as SagaError where error.code == .conflict {
                guard try await self.find(decided.edit.saga)?.state == decided.edit.shownState else { throw error }
            }
        }
        return try await body()
    }

    /// Shows a saga again as it is. When the server is away the edit stays, and is shown.
    func settle(_ id: String) async {
        guard let saga = try? await self.find(id), let edit = try? await self.mirror.edit(of: saga) else { return }
        _ = try? await self.mirror.take(edit)
    }

    private func find(_ name: String) async throws -> SagaInstance? {
        for query in [SagaQuery(id: name), SagaQuery(businessKey: name)] {
            if let saga = try await self.sagas.instances(matching: query).first { return saga }
        }
        return nil
    }

    private func asking<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as RESPError {
            throw ProblemError(
                .serviceUnavailable,
                code: "mirror_unavailable",
                detail: "Whether a state was set in the saga's hash cannot be told (\(error.code)). "
                    + "POST …/state names the state and does not need the mirror."
            )
        }
    }
}

extension Assembly {
    /// Nothing when no mirror is wanted.
    mutating func mirrorSagas(of backend: SQLiteBackend) async throws -> OrderMirror? {
        guard let server = try self.settings.chosenMirror() else { return nil }
        let logger = self.logger(.orderService)
        // How far a mirror has come belongs to this file, also when several systems share a server.
        let rows = try await backend.read { try $0.query("SELECT id FROM file_id", []) }
        let client = RESPClient(server, logger: logger)
        let mirror = RedisSagaMirror(
            client: client,
            source: backend.sagas,
            prefix: "{order-mirror:\(rows.first?.first?.text ?? "")}",
            hashes: OrderMirror.hashes,
            logger: logger
        )
        self.append(client)
        self.append(mirror)
        return OrderMirror(mirror: mirror, sagas: backend.sagas)
    }
}
