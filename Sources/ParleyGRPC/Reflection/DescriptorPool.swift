internal import SwiftProtobuf

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// The protobuf files that a server's services are declared in, found by name, symbol or extension.
struct DescriptorPool: Sendable {
    private struct Extension: Hashable {
        var type: String
        var number: Int32
    }

    private var files: [String: [UInt8]] = [:]
    private var imports: [String: [String]] = [:]
    private var fileOfSymbol: [String: String] = [:]
    private var fileOfExtension: [Extension: String] = [:]

    /// - Parameter sets: serialized `google.protobuf.FileDescriptorSet`s, in base64.
    init(_ sets: [String]) throws(GRPCServiceError) {
        for text in sets {
            do {
                let data = Data(base64Encoded: text) ?? Data()
                let set = try Google_Protobuf_FileDescriptorSet(serializedBytes: data)
                guard !set.file.isEmpty else { throw BinaryDecodingError.malformedProtobuf }
                for file in set.file where self.files[file.name] == nil { try self.add(file) }
            } catch {
                throw GRPCServiceError(
                    .invalidDescriptors,
                    "The descriptors for server reflection cannot be read: \(error). They are a FileDescriptorSet as "
                        + "protoc writes it with --include_imports --descriptor_set_out, in base64.",
                    cause: error
                )
            }
        }
    }

    private mutating func add(_ file: Google_Protobuf_FileDescriptorProto) throws {
        self.files[file.name] = try file.serializedBytes()
        self.imports[file.name] = file.dependency
        let scope = file.package.isEmpty ? "" : file.package + "."
        for message in file.messageType { self.add(message, in: scope, file: file.name) }
        for type in file.enumType { self.add(type, in: scope, file: file.name) }
        for field in file.extension { self.add(extension: field, in: scope, file: file.name) }
        for service in file.service {
            let name = scope + service.name
            self.fileOfSymbol[name] = file.name
            for method in service.method { self.fileOfSymbol["\(name).\(method.name)"] = file.name }
        }
    }

    private mutating func add(_ message: Google_Protobuf_DescriptorProto, in scope: String, file: String) {
        let name = scope + message.name
        self.fileOfSymbol[name] = file
        for field in message.field { self.fileOfSymbol["\(name).\(field.name)"] = file }
        for type in message.enumType { self.add(type, in: name + ".", file: file) }
        for field in message.extension { self.add(extension: field, in: name + ".", file: file) }
        // protoc bounds how deep messages nest, and these files are our own program's.
        for inner in message.nestedType { self.add(inner, in: name + ".", file: file) }
    }

    private mutating func add(_ type: Google_Protobuf_EnumDescriptorProto, in scope: String, file: String) {
        self.fileOfSymbol[scope + type.name] = file
        // An enum's values are its siblings.
        for value in type.value { self.fileOfSymbol[scope + value.name] = file }
    }

    private mutating func add(extension field: Google_Protobuf_FieldDescriptorProto, in scope: String, file: String) {
        self.fileOfSymbol[scope + field.name] = file
        let type = field.extendee.hasPrefix(".") ? String(field.extendee.dropFirst()) : field.extendee
        self.fileOfExtension[Extension(type: type, number: field.number)] = file
    }

    /// The file and all that it imports, itself first; `nil` for a file that there is not.
    func file(_ name: String) -> [[UInt8]]? {
        guard self.files[name] != nil else { return nil }
        var (found, seen, queue): ([[UInt8]], Set<String>, [String]) = ([], [name], [name])
        while let next = queue.popLast() {
            if let bytes = self.files[next] { found.append(bytes) }
            for other in self.imports[next] ?? [] where seen.insert(other).inserted { queue.append(other) }
        }
        return found
    }

    func fileContaining(_ symbol: String) -> [[UInt8]]? {
        self.fileOfSymbol[symbol].flatMap { self.file($0) }
    }

    func fileContaining(extension number: Int32, of type: String) -> [[UInt8]]? {
        self.fileOfExtension[Extension(type: type, number: number)].flatMap { self.file($0) }
    }

    /// `nil` for a type that there is not.
    func extensions(of type: String) -> [Int32]? {
        guard self.fileOfSymbol[type] != nil else { return nil }
        return self.fileOfExtension.keys.filter { $0.type == type }.map(\.number).sorted()
    }
}
