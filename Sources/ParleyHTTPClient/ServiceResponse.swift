public import HTTPTypes
public import ParleyCore
public import ParleyResilience

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The complete answer of a service, whatever its status.
public struct ServiceResponse: Sendable, Hashable {
    public var status: HTTPResponse.Status
    public var headerFields: HTTPFields
    /// At most `maxResponseBytes`.
    public var body: [UInt8]
    /// Who answered.
    public var service: ServiceName
    public var endpoint: Endpoint
    /// How many tries it took.
    public var attempts: Int
    /// The id under which the call was made (`X-Request-ID`).
    public var requestID: String
    /// How the call went.
    public var explanation: CallExplanation

    public init(
        status: HTTPResponse.Status,
        headerFields: HTTPFields = [:],
        body: [UInt8] = [],
        service: ServiceName,
        endpoint: Endpoint,
        attempts: Int = 1,
        requestID: String = "",
        explanation: CallExplanation? = nil
    ) {
        self.status = status
        self.headerFields = headerFields
        self.body = body
        self.service = service
        self.endpoint = endpoint
        self.attempts = attempts
        self.requestID = requestID
        self.explanation = explanation ?? CallExplanation(service: service.description)
    }

    /// The error that the body describes, if it is `application/problem+json`.
    public var problem: ProblemDetails? {
        let mediaType = (self.headerFields[.contentType] ?? "").split(separator: ";").first?.lowercased()
        guard mediaType == ProblemDetails.mediaType else { return nil }
        return try? JSONDecoder().decode(ProblemDetails.self, from: Data(self.body))
    }

    /// This answer if its status is 2xx.
    ///
    /// - Throws: ``ServiceClientError/Code/unexpectedStatus`` otherwise. Its `retry` is `permanent` for 4xx (the same
    ///   request gets the same answer), `notSent` for 429 (refused before it was begun) and `mayHaveRun` for 408 and
    ///   5xx.
    @discardableResult
    public func successful() throws -> ServiceResponse {
        if self.status.kind == .successful { return self }
        let retry: RetrySafety
        switch self.status.code {
        case 429: retry = .notSent
        case 408, 500...: retry = .mayHaveRun
        default: retry = .permanent
        }
        let detail = self.problem.flatMap { $0.detail ?? $0.title }.map { ": \($0)" } ?? ""
        throw ServiceClientError(
            .unexpectedStatus,
            "\(self.service) at \(self.endpoint) answered \(self.status.code)\(detail) (request \(self.requestID)).",
            service: self.service,
            endpoint: self.endpoint,
            retry: retry,
            attempts: self.attempts,
            response: self,
            explanation: self.explanation
        )
    }

    /// Reads the body as JSON.
    ///
    /// - Throws: ``ServiceClientError/Code/undecodableBody`` with the `DecodingError` as its cause. The request has
    ///   been carried out, so its `retry` is `mayHaveRun`.
    public func decode<Value: Decodable>(_ type: Value.Type = Value.self) throws -> Value {
        do {
            let decoder = JSONDecoder()
            decoder.dateDecodingStrategy = .iso8601
            return try decoder.decode(type, from: Data(self.body))
        } catch {
            throw ServiceClientError(
                .undecodableBody,
                "\(self.service) at \(self.endpoint) answered \(self.status.code) with \(self.body.count) bytes that "
                    + "are not the expected JSON: \(error). Do both sides use the same version of the contract?",
                service: self.service,
                endpoint: self.endpoint,
                retry: .mayHaveRun,
                attempts: self.attempts,
                response: self,
                explanation: self.explanation,
                cause: error
            )
        }
    }
}
