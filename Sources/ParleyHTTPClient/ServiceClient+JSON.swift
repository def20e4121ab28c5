public import HTTPTypes
public import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

extension ServiceClient {
    /// Reads a JSON resource: `try await client.get("/api/v1/users/1", from: "user-service", as: User.self)`.
    ///
    /// - Throws: ``ServiceClientError``; any status but 2xx is ``ServiceClientError/Code/unexpectedStatus``.
    public func get<Value: Decodable>(
        _ path: String,
        from service: ServiceName,
        as type: Value.Type = Value.self,
        deadline: Deadline? = nil
    ) async throws -> Value {
        let request = HTTPRequest(
            method: .get,
            scheme: nil,
            authority: nil,
            path: path,
            headerFields: [.accept: "application/json"]
        )
        return try await self.send(request, to: service, deadline: deadline).successful().decode(type)
    }

    /// Sends a value as JSON and returns the answer, whatever its status; go on with ``ServiceResponse/successful()``
    /// and ``ServiceResponse/decode(_:)``.
    ///
    /// - Parameter idempotencyKey: makes a POST repeatable: the service recognises the second one by it. At most 128
    ///   visible ASCII characters; use the id of the thing that is being done, not a new one for each call.
    /// - Throws: ``ServiceClientError``; ``ServiceClientError/Code/invalidRequest`` also when `value` cannot be encoded
    ///   or the key is not of that form.
    public func sendJSON(
        _ method: HTTPRequest.Method,
        _ path: String,
        _ value: some Encodable,
        to service: ServiceName,
        idempotencyKey: String? = nil,
        deadline: Deadline? = nil
    ) async throws -> ServiceResponse {
        var fields: HTTPFields = [.accept: "application/json", .contentType: "application/json"]
        if let idempotencyKey {
            guard RequestContext.isAcceptableID(idempotencyKey) else {
                throw ServiceClientError(
                    .invalidRequest,
                    "An idempotency key for \(service) must be 1 to 128 visible ASCII characters.",
                    service: service,
                    retry: .permanent
                )
            }
            fields[named: "Idempotency-Key"] = idempotencyKey
        }
        let body: Data
        do {
            let encoder = JSONEncoder()
            encoder.dateEncodingStrategy = .iso8601
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            body = try encoder.encode(value)
        } catch {
            throw ServiceClientError(
                .invalidRequest,
                "The request for \(service) cannot be written as JSON: \(error)",
                service: service,
                retry: .permanent,
                cause: error
            )
        }
        let request = HTTPRequest(method: method, scheme: nil, authority: nil, path: path, headerFields: fields)
        return try await self.send(request, body: Array(body), to: service, deadline: deadline)
    }
}
