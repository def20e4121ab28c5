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
            return try await self.perform(SagaIntervention(.setState, state), ask, context)
        }
    }

    private func perform(
        _ intervention: SagaIntervention,
        _ ask: Ask,
        _ context: ParleyRequestContext
    ) async throws -> Answer {
        guard let person = ask.by ?? RequestContext.current?.caller, !person.isEmpty else {
            throw ProblemError(
                .unprocessableContent,
                code: "missing_person",
                detail: "Say who asks for it: the header X-Service, or 'by' in the body."
            )
        }
        guard let reason = ask.reason, reason.contains(where: { !$0.isWhitespace }) else {
            throw ProblemError(.unprocessableContent, code: "missing_reason", detail: "'reason' says why; it is kept.")
        }
        do {
            let report = try await self.sagas.intervene(
                intervention,
                on: try context.parameters.require("id"),
                by: String(person.prefix(200)),
                because: String(reason.prefix(2_000)),
                isDryRun: false
            )
            return Answer(
                saga: report.saga,
                intervention: report.intervention,
                effects: report.effects,
                warnings: report.warnings
            )
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
