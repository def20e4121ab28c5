internal import HTTPTypes
public import Hummingbird
internal import NIOCore
internal import ParleyCore

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Reads a JSON request body, and answers the sender of a bad one so that they can mend it:
/// 415 for another content type, 413 above the limit, 400 for malformed JSON (with the place), a missing member (with
/// its name), a value of the wrong type (with its path).
///
/// `try await request.decode(as: NewOrder.self, context: context)` in a handler uses it.
public struct JSONBodyDecoder: RequestDecoder {
    public init() {}

    public func decode<Value: Decodable>(
        _ type: Value.Type,
        from request: Request,
        context: some Hummingbird.RequestContext
    ) async throws -> Value {
        guard Self.isJSON(request.headers[.contentType]) else {
            let sent = request.headers[.contentType].map { "not \"\($0)\"" } ?? "but the request names no Content-Type"
            throw ProblemError(
                .unsupportedMediaType,
                code: "unsupported_media_type",
                detail: "The body must be application/json in UTF-8, \(sent).",
                headers: [.accept: "application/json"]
            )
        }
        let buffer = try await request.body.collect(upTo: context.maxUploadSize)
        guard buffer.readableBytes > 0 else {
            throw ProblemError(
                .badRequest,
                code: "empty_body",
                detail: "The request has no body; a JSON value is expected."
            )
        }
        let bytes = Array(buffer.readableBytesView)
        let oddNumber: JSONSyntax.OddNumber?
        do {
            oddNumber = try JSONSyntax.check(bytes)
        } catch {
            throw ProblemError(
                .badRequest,
                code: "malformed_json",
                detail: "The body is not JSON: \(error.reason) (line \(error.line), column \(error.column)).",
                extra: ["line": "\(error.line)", "column": "\(error.column)"]
            )
        }
        do {
            let decoder = JSONDecoder()
            decoder.dateDecodingStrategy = .iso8601
            return try decoder.decode(type, from: Data(bytes))
        } catch let error as DecodingError {
            throw Self.problem(error, oddNumber: oddNumber)
        }
    }

    /// `application/json` or any `+json` type, with no charset or one that JSON may have (RFC 8259: UTF-8).
    package static func isJSON(_ contentType: String?) -> Bool {
        guard let contentType else { return false }
        let parts = contentType.lowercased().split(separator: ";", omittingEmptySubsequences: false)
            .map { Self.trimmed($0) }
        guard let mediaType = parts.first, mediaType == "application/json" || mediaType.hasSuffix("+json") else {
            return false
        }
        return parts.dropFirst().allSatisfy { parameter in
            guard parameter.hasPrefix("charset=") else { return true }
            let charset = parameter.dropFirst("charset=".count).filter { $0 != "\"" }
            return charset == "utf-8" || charset == "utf8" || charset == "us-ascii"
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        var text = text
        while text.first == " " || text.first == "\t" { text.removeFirst() }
        while text.last == " " || text.last == "\t" { text.removeLast() }
        return String(text)
    }

    static func problem(_ error: DecodingError, oddNumber: JSONSyntax.OddNumber?) -> ProblemError {
        switch error {
        case .keyNotFound(let key, let context):
            let path = Self.path(context.codingPath + [key])
            return Self.invalid("`\(path)` is missing.", at: path)
        case .valueNotFound(_, let context):
            let path = Self.path(context.codingPath)
            return Self.invalid("`\(path)` must not be null.", at: path)
        case .typeMismatch(let type, let context):
            let path = Self.path(context.codingPath)
            return Self.invalid("`\(path)` must be \(Self.words(for: type)).", at: path)
        case .dataCorrupted(let context):
            if context.codingPath.isEmpty, let number = oddNumber {
                let path = number.path.isEmpty ? "$" : number.path
                return Self.invalid("`\(path)` is \(number.text), which does not fit what is expected there.", at: path)
            }
            let path = Self.path(context.codingPath)
            return Self.invalid("`\(path)` cannot be read: \(context.debugDescription)", at: path)
        @unknown default:
            return ProblemError(.badRequest, code: "invalid_body", detail: "The body is not what is expected here.")
        }
    }

    private static func invalid(_ detail: String, at path: String) -> ProblemError {
        ProblemError(.badRequest, code: "invalid_body", detail: detail, extra: ["path": path])
    }

    /// `items[0].quantity`; `$` for the whole body.
    private static func path(_ keys: [any CodingKey]) -> String {
        var path = ""
        for key in keys {
            if let index = key.intValue {
                path += "[\(index)]"
            } else {
                path += path.isEmpty ? key.stringValue : "." + key.stringValue
            }
        }
        return path.isEmpty ? "$" : path
    }

    /// The sender knows JSON, not Swift.
    private static func words(for type: any Any.Type) -> String {
        switch type {
        case is String.Type: "a string"
        case is Bool.Type: "true or false"
        case is any FixedWidthInteger.Type: "a whole number"
        case is any BinaryFloatingPoint.Type: "a number"
        case is [any Sendable].Type: "an array"
        case is [String: any Sendable].Type: "an object"
        default: String(describing: type).hasPrefix("Array") ? "an array" : "of another type"
        }
    }
}
