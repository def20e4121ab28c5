internal import Logging
internal import ParleyCore

/// Credentials that somebody else issues, and that end.
extension AMQPConnection {
    /// What to log in with now: asks the provider, if there is one, for at most the connect timeout.
    func secret() async throws(AMQPError) -> AMQPConfiguration.Credentials.Secret? {
        let provide: @Sendable () async throws -> AMQPConfiguration.Credentials.Secret
        switch self.core.configuration.credentials.kind {
        case .external: return nil
        case .plain(let user, let password): return .init(user: user, secret: password)
        case .provider(let provider): provide = provider
        }
        let until = self.time.now.advanced(by: self.core.configuration.connectTimeout)
        do {
            return try await withThrowingTaskGroup { group in
                group.addTask { try await provide() }
                group.addTask {
                    try await self.time.sleep(until: until)
                    throw AMQPError(.timedOut, "the credentials provider took too long", retry: .notSent)
                }
                defer { group.cancelAll() }
                return try await group.next()
            }
        } catch {
            throw AMQPError(
                .credentialsUnavailable,
                "the credentials provider gave none: see the cause",
                retry: (error as? any RetryClassifiedError)?.retry ?? .notSent,
                cause: error
            )
        }
    }

    /// Renews a secret that ends, when a fifth of its time is left, until cancelled. What fails is tried again until
    /// the broker ends the connection; the next one asks the provider anyway.
    func keepSecretFresh(_ secret: AMQPConfiguration.Credentials.Secret?) async {
        guard case .provider = self.core.configuration.credentials.kind, var lifetime = secret?.validFor else { return }
        var failures = 0
        while !Task.isCancelled {
            // A provider that gives what has ended already must not be asked without pause.
            let wait =
                failures == 0
                ? max(lifetime * 4 / 5, .milliseconds(100))
                : self.core.configuration.backoff.delay(afterFailures: failures, random: self.random)
            do {
                try await self.time.sleep(for: wait)
                guard let fresh = try await self.secret() else { return }
                try await self.updateSecret(fresh.secret, reason: "the former one ends")
                self.core.with { $0.emit(AMQPEvent(kind: .secretRenewed)) }
                failures = 0
                guard let next = fresh.validFor else { return }
                lifetime = next
            } catch is CancellationError {
                return
            } catch {
                failures += 1
                self.logger.warning("amqp.secret.failed", metadata: ["error": "\(error)", "failures": "\(failures)"])
                self.core.with { $0.emit(AMQPEvent(kind: .secretFailed, error: error as? AMQPError)) }
            }
        }
    }

    /// Hands the broker a new secret (OAuth 2 token) for the connection that is open now.
    ///
    /// - Throws: ``AMQPError/Code/timedOut`` without an answer in time. A broker that refuses it ends the connection.
    public func updateSecret(_ secret: String, reason: String) async throws {
        try await self.ready()
        let reply = try self.core.with { state throws(AMQPError) in
            let method = AMQPMethod.ConnectionUpdateSecret(newSecret: Array(secret.utf8), reason: reason)
            if let error = state.trySend(.connectionUpdateSecret(method), channel: 0) { throw error }
            let reply = ConnectionState.Waiter(
                completion: Completion(),
                deadline: self.core.deadline(self.core.configuration.operationTimeout)
            )
            state.secretReplies.append(reply)
            return reply.completion
        }
        try await reply.value()
    }
}
