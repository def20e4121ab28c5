internal import HTTPTypes
internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import ParleyOps
internal import ParleySagas

/// The guide's admin endpoint, on order-service's own port; the gateway has no route to it.
///
/// Each intervention names who asks for it: the caller's `X-Service`, or `by` in the body.
struct AdminRoutes: Sendable {
    let sagas: any SagaInspector
    let mirror: OrderMirror?

    private struct Ask: Codable, Sendable {
        var state: String?
        /// The event of a choreography to say again.
        var from: String?
        var reason: String?
        var by: String?
    }

    private struct Answer: Codable, Sendable, ResponseEncodable {
        var saga: String
        var intervention: String
        var effects: [String]
        var warnings: [String]
    }

    func add(to router: ParleyRouter) {
        let admin = router.group("admin/sagas")
        admin.post(":id/replay") { request, context in
            let ask = try await request.decode(as: Ask.self, context: context)
            let id = try context.parameters.require("id")
            // The guide's two steps: the state was set in the saga's hash, and this sets the saga going.
            if ask.from == nil, let edit = try await self.answering({ try await self.mirror?.decidable(id) }) {
                return try await self.perform(SagaIntervention(.setState, edit.state), ask, context, taking: edit)
            }
            return try await self.perform(SagaIntervention(.replay, ask.from), ask, context)
        }
        admin.post(":id/state") { request, context in
            let ask = try await request.decode(as: Ask.self, context: context)
            guard let state = ask.state else {
                throw ProblemError(
                    .unprocessableContent,
                    code: "missing_state",
                    detail: "'state' says which state to set."
                )
            }
            let answer = try await self.perform(SagaIntervention(.setState, state), ask, context)
            // Said in words, so whatever was set in the hash is settled.
            await self.mirror?.settle(answer.saga)
            return answer
        }
    }

    private func perform(
        _ intervention: SagaIntervention,
        _ ask: Ask,
        _ context: ParleyRequestContext,
        taking edit: OrderMirror.Decidable? = nil
    ) async throws -> Answer {
        let names = [ask.by, RequestContext.current?.caller].compactMap(\.self).filter { !$0.isEmpty }
        guard !names.isEmpty else {
            throw ProblemError(
                .unprocessableContent,
                code: "missing_person",
                detail: "Say who asks for it: the header X-Service, or 'by' in the body."
            )
        }
        guard let reason = ask.reason, reason.contains(where: { !$0.isWhitespace }) else {
            throw ProblemError(.unprocessableContent, code: "missing_reason", detail: "'reason' says why; it is kept.")
        }
        let (person, because) = (names.joined(separator: ", through "), reason)
        let note = edit.map { " (set in '\($0.key)')" } ?? ""
        return try await self.answering {
            func intervene(isDryRun: Bool) async throws -> SagaInterventionReport {
                try await self.sagas.intervene(
                    intervention,
                    on: try context.parameters.require("id"),
                    by: String(person.prefix(200)),
                    because: String(because.prefix(2_000)) + note,
                    isDryRun: isDryRun
                )
            }
            let report: SagaInterventionReport
            if let edit, let mirror {
                // What would be refused is left as it is, to be corrected.
                _ = try await intervene(isDryRun: true)
                report = try await mirror.taking(edit) { try await intervene(isDryRun: false) }
            } else {
                report = try await intervene(isDryRun: false)
            }
            return Answer(
                saga: report.saga,
                intervention: report.intervention,
                effects: report.effects,
                warnings: report.warnings
            )
        }
    }

    private func answering<Value>(_ body: () async throws -> Value) async throws -> Value {
        do {
            return try await body()
        } catch let error as SagaError {
            switch error.code {
            case .unknownSaga: throw ProblemError(.notFound, code: "unknown_saga", detail: error.message)
            case .unknownState, .unknownEvent:
                throw ProblemError(.unprocessableContent, code: error.code.description, detail: error.message)
            case .notAllowed, .conflict:
                throw ProblemError(.conflict, code: error.code.description, detail: error.message)
            default: throw error
            }
        }
    }
}
