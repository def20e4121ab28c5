internal import Foundation
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import ParleyCore
internal import ParleyHTTPClient
internal import ParleyHTTPServer
internal import ParleySQLite
internal import ParleySagas

/// What the coordinator sends to a participant: the body that goes with the headers of `SagaCommand.fields`.
struct ParticipantRequest: Codable, Sendable {
    var saga: String
    var step: String
    var operation: String
    var epoch: Int64
    var attempt: Int
    var order: SagaOrder
}

/// The order as the saga was started with it.
struct SagaOrder: Codable, Sendable {
    struct Line: Codable, Sendable {
        var productId: String
        var quantity: Int
    }

    var orderId: String
    var userId: String
    var lines: [Line]
    var totalCents: Int
    var card: String
}

extension SagaAction {
    /// An action that another service does: `POST path` with the participant protocol.
    static func http(_ client: ServiceClient, _ service: ServiceName, _ path: String) -> SagaAction {
        .remote { command in
            do {
                let order = try JSONDecoder().decode(SagaOrder.self, from: Data(command.input.utf8))
                let body = ParticipantRequest(
                    saga: command.sagaID,
                    step: command.step,
                    operation: command.operation.rawValue,
                    epoch: command.epoch,
                    attempt: command.attempt,
                    order: order
                )
                var fields = HTTPFields()
                fields[.contentType] = "application/json"
                for (name, value) in command.fields {
                    if let name = HTTPField.Name(name) { fields[name] = value }
                }
                let response = try await client.send(
                    HTTPRequest(method: .post, scheme: nil, authority: nil, path: path, headerFields: fields),
                    body: Array(JSONEncoder().encode(body)),
                    to: service
                )
                let reason = response.problem?.detail ?? String(decoding: response.body, as: UTF8.self)
                return SagaOutcome(
                    httpStatus: response.status.code,
                    body: response.status.kind == .successful ? String(decoding: response.body, as: UTF8.self) : reason,
                    retryAfter: nil
                )
            } catch let error as ServiceClientError {
                return .unknown(reason: "\(service): \(error.message)", retry: error.retry)
            } catch {
                return .unknown(reason: "\(service): \(error)", retry: .mayHaveRun)
            }
        }
    }
}

/// Serves the commands of sagas: each in one transaction of the participant's database, behind the barrier.
struct ParticipantRoutes: Sendable {
    let backend: SQLiteBackend

    /// - Parameter effect: Writes to the transaction; `rejected` must come before the first write.
    func add(
        _ path: RouterPath,
        _ action: String,
        to router: ParleyRouter,
        _ effect: @escaping @Sendable (SagaOrder, any Transaction) throws -> SagaOutcome
    ) {
        router.post(path) { request, context in
            let message = try await request.decode(as: ParticipantRequest.self, context: context)
            guard let operation = SagaCommand.Operation(rawValue: message.operation) else {
                throw ProblemError(
                    .badRequest,
                    code: "unknown_operation",
                    detail: "The operation must be action or compensate."
                )
            }
            let command = SagaCommand(
                sagaID: message.saga,
                businessKey: message.order.orderId,
                action: action,
                operation: operation,
                step: message.step,
                epoch: message.epoch,
                attempt: message.attempt,
                input: "",
                outputs: [:]
            )
            let outcome = try await self.backend.withTransaction { transaction in
                try SagaBarrier().enter(command, in: transaction) { try effect(message.order, $0) }
            }
            return try Self.response(to: outcome)
        }
    }

    private static func response(to outcome: SagaOutcome) throws -> Response {
        switch outcome {
        case .success(let output):
            return Response(
                status: .ok,
                headers: [.contentType: "application/json"],
                body: ResponseBody(byteBuffer: ByteBuffer(string: output ?? "{}"))
            )
        case .rejected(let reason):
            throw ProblemError(.conflict, code: "rejected", detail: reason)
        case .unknown(let reason, _):
            throw ProblemError(.serviceUnavailable, code: "unknown_outcome", detail: reason)
        case .ongoing:
            throw ProblemError(HTTPResponse.Status(code: 425), code: "ongoing", detail: "It is being worked on.")
        }
    }
}
