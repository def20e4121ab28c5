internal import GRPCCore
internal import GRPCProtobuf
internal import SwiftProtobuf

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// Server reflection: tells tools without a schema what this server offers.
///
/// Under two names, `grpc.reflection.v1` and the older `v1alpha` that many tools ask for first: their messages are the
/// same on the wire, only the package differs.
struct Reflection: RegistrableRPCService {
    private typealias Question = Grpc_Reflection_V1_ServerReflectionRequest
    private typealias Response = Grpc_Reflection_V1_ServerReflectionResponse

    /// Answers are taken by the library as fast as they are written, whether anybody reads them or not.
    private static let maximumQuestions = 10_000
    private static let own = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]

    let pool: DescriptorPool
    /// What this server answers, of all that the files declare.
    let offered: [String]

    init(pool: DescriptorPool, offered: Set<String>) {
        self.pool = pool
        self.offered = offered.union(Self.own).sorted()
    }

    func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
        for version in ["v1", "v1alpha"] {
            router.registerHandler(
                forMethod: MethodDescriptor(
                    fullyQualifiedService: "grpc.reflection.\(version).ServerReflection",
                    method: "ServerReflectionInfo"
                ),
                deserializer: ProtobufDeserializer<Question>(),
                serializer: ProtobufSerializer<Response>()
            ) { request, _ in
                StreamingServerResponse { writer in
                    var count = 0
                    for try await question in request.messages {
                        count += 1
                        guard count <= Self.maximumQuestions else {
                            throw RPCError(
                                code: .resourceExhausted,
                                message: "At most \(Self.maximumQuestions) questions a call; make another one."
                            )
                        }
                        try await writer.write(self.answer(question))
                    }
                    return [:]
                }
            }
        }
    }

    private func answer(_ question: Question) -> Response {
        var answer = Response()
        answer.validHost = question.host
        answer.originalRequest = question
        answer.messageResponse =
            switch question.messageRequest {
            case .fileByFilename(let name): Self.files(self.pool.file(name), name)
            case .fileContainingSymbol(let symbol): Self.files(self.pool.fileContaining(symbol), symbol)
            case .fileContainingExtension(let wanted):
                Self.files(
                    self.pool.fileContaining(extension: wanted.extensionNumber, of: wanted.containingType),
                    "extension \(wanted.extensionNumber) of \(wanted.containingType)"
                )
            case .allExtensionNumbersOfType(let type): self.extensions(of: type)
            case .listServices:
                .listServicesResponse(
                    .with { $0.service = self.offered.map { name in .with { $0.name = name } } }
                )
            case nil: Self.error(.invalidArgument, "The request asks for nothing.")
            }
        return answer
    }

    private func extensions(of type: String) -> Response.OneOf_MessageResponse {
        guard let numbers = self.pool.extensions(of: type) else { return Self.unknown(type) }
        return .allExtensionNumbersResponse(
            .with {
                $0.baseTypeName = type
                $0.extensionNumber = numbers
            }
        )
    }

    private static func files(_ files: [[UInt8]]?, _ what: String) -> Response.OneOf_MessageResponse {
        guard let files else { return self.unknown(what) }
        return .fileDescriptorResponse(.with { $0.fileDescriptorProto = files.map { Data($0) } })
    }

    private static func unknown(_ what: String) -> Response.OneOf_MessageResponse {
        self.error(.notFound, "This server knows no \(what.prefix(200)).")
    }

    private static func error(_ code: Status.Code, _ message: String) -> Response.OneOf_MessageResponse {
        .errorResponse(
            .with {
                $0.errorCode = Int32(code.rawValue)
                $0.errorMessage = message
            }
        )
    }
}
