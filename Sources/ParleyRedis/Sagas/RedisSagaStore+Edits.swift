internal import Logging
internal import ParleyCore
internal import ParleyRESP
public import ParleySagas

extension RedisSagaStore {
    /// The sagas whose hash somebody else has changed, by age; parks those that go on. It looks at every saga, in small
    /// pages: a question for people, not for a loop.
    ///
    /// The hash of a saga that has ended may be cleared away; that is no edit. A saga that cannot be read is logged,
    /// and the others are shown.
    ///
    /// - Parameter limit: 1 to 1,000.
    public func edits(limit: Int = 100) async throws -> [SagaEdit] {
        let limit = min(1_000, max(1, limit))
        var edits: [SagaEdit] = []
        var seen: Set<String> = []
        var offset = 0
        while edits.count < limit {
            let reply = try await self.client.eval(
                SagaScripts.edits,
                keys: [self.keys.prefix],
                arguments: [RESPArgument(offset), RESPArgument(Self.page)]
            )
            for (key, edit) in self.read(reply) where seen.insert(key).inserted {
                do {
                    edits += try [edit.get()].compactMap(\.self)
                } catch {
                    self.logger.error(
                        "A saga with an edited hash cannot be read; correct it to see the edit.",
                        metadata: ["error": "\(error)"]
                    )
                }
            }
            guard reply.elements?.first?.integer == Int64(Self.page) else { break }
            offset += Self.page
        }
        return Array(edits.prefix(limit))
    }

    /// The edit of one saga's hash, `nil` when the hash is as the store wrote it; parks the saga like
    /// ``edits(limit:)``.
    ///
    /// - Throws: ``SagaError`` with `corrupt` for a saga that cannot be read.
    public func edit(of id: String) async throws -> SagaEdit? {
        let reply = try await self.client.eval(
            SagaScripts.edit,
            keys: [self.keys.prefix],
            arguments: [RESPArgument(id)]
        )
        return try self.read(reply).first?.edit.get()
    }

    private func read(_ reply: RESPValue) -> [(key: String, edit: Result<SagaEdit?, any Error>)] {
        (reply.elements ?? []).dropFirst().compactMap { part in
            guard let words = part.elements, words.count == 3, let type = words[1].string else { return nil }
            let record = SagaRecord.fields(words[0])
            let key = self.keys.saga(String(decoding: record["id"] ?? [], as: UTF8.self))
            // A field whose name is not UTF-8 cannot be shown, compared or kept.
            let fields = SagaRecord.fields(words[2])
            let isWhole = fields.count == words[2].pairs?.count
            let found = isWhole ? type : "hash with field names that are not UTF-8"
            return (key, Result { try SagaEdit(record: record, key: key, type: found, now: fields) })
        }
    }

    /// Takes over the state that somebody has set in the hash, as `SagaCoordinator.force` does: it must be a state of
    /// the saga's definition, and effects that are outstanding stay so. The saga goes on from there, and its hash is
    /// written anew.
    ///
    /// Only a state can be accepted. The other fields show what the saga holds in its input and in the outputs of its
    /// actions, and an edit does not change those: an edit that touches them is refused as a whole, because a saga that
    /// ignored half of it would do something else than the person wanted.
    ///
    /// - Parameter coordinator: One on this store, which knows the saga's definition.
    /// - Throws: ``SagaError``: `unknownState` (it lists those there are), `notAllowed` when there is no edited state,
    ///   when other fields are edited or when the saga has ended, `conflict` when saga or hash have changed since
    ///   ``edits(limit:)``. Nothing is written then.
    @discardableResult
    public func accept(
        _ edit: SagaEdit,
        through coordinator: SagaCoordinator,
        by person: String,
        because reason: String
    ) async throws -> SagaInstance {
        let (state, fields) = try edit.accepted()
        let (instance, transition) = try await coordinator.forcing(
            edit.saga.id,
            to: state,
            by: person,
            because: "\(reason) (accepts the edit of '\(edit.key)')"
        )
        guard instance.version == edit.saga.version else { throw Self.moved(edit) }
        return try await self.write(edit, transition, fields)
    }

    /// Puts the hash back as the saga has it, and lets the saga go on where it was. What its driver was doing when the
    /// edit was noticed is asked for again, under the same idempotency key.
    ///
    /// - Throws: ``SagaError``: `notAllowed` when the key holds something else than a hash (it belongs to somebody;
    ///   move it away first), `conflict` when saga or hash have changed since ``edits(limit:)``.
    @discardableResult
    public func reject(_ edit: SagaEdit, by person: String, because reason: String) async throws -> SagaInstance {
        guard case .fields(let fields) = edit.content.kind else { throw edit.foreign }
        var next = edit.before
        next.version += 1
        next.epoch += 1
        next.updatedAt = self.time.wallTime
        let event = SagaEvent(
            version: next.version,
            at: next.updatedAt,
            kind: .resumed,
            state: next.state,
            nextState: next.state,
            action: nil,
            attempt: 0,
            detail: "the edit of '\(edit.key)' was rejected by \(person): \(reason)"
        )
        return try await self.write(edit, SagaTransition(instance: next, events: [event]), fields)
    }

    private func write(
        _ edit: SagaEdit,
        _ transition: SagaTransition,
        _ fields: [String: [UInt8]]
    ) async throws -> SagaInstance {
        guard case .written(let saga) = try await self.commit(edit.saga, accepting: fields, { _ in transition }) else {
            throw Self.moved(edit)
        }
        return saga
    }

    private static func moved(_ edit: SagaEdit) -> SagaError {
        SagaError(
            .conflict,
            "saga '\(edit.saga.id)' or its hash '\(edit.key)' has changed since; look at the edits again",
            retry: .notSent
        )
    }
}

extension SagaEdit {
    /// The state that can be accepted, and what the hash holds; a state that was removed is called nothing.
    ///
    /// - Throws: ``SagaError`` with `notAllowed` when there is none, or when other fields are edited.
    package func accepted() throws -> (state: String, fields: [String: [UInt8]]) {
        guard case .fields(let fields) = self.content.kind else { throw self.foreign }
        let others = self.changes.filter { $0.field != "state" }.map(\.field)
        guard others.isEmpty else {
            throw SagaError(
                .notAllowed,
                "the edit of '\(self.key)' changes \(others.joined(separator: ", ")), and only a state can be "
                    + "accepted; put these back by hand and look again, or reject the edit"
            )
        }
        guard let state = self.changes.first.map({ $0.edited ?? "" }) else {
            throw SagaError(
                .notAllowed,
                "nothing in '\(self.key)' differs from what is stored any more; reject the edit to let the saga go on"
            )
        }
        return (state, fields)
    }

    /// Why the edit can be neither accepted nor rejected; `nil` when it can.
    package var obstacle: SagaError? {
        if case .foreign = self.content.kind { self.foreign } else { nil }
    }

    fileprivate var foreign: SagaError {
        SagaError(
            .notAllowed,
            "'\(self.key)' is a \(self.content) now, which belongs to somebody; "
                + "rename or delete it, look at the edits again, then reject"
        )
    }
}
