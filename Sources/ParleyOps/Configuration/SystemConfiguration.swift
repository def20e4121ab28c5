package import ParleyGateway
public import ParleyRabbitMQ
internal import Yams

#if canImport(FoundationEssentials)
internal import FoundationEssentials
#else
internal import Foundation
#endif

/// What `parley.yaml` says.
///
/// Reading is strict: a key that is not known, a value of the wrong kind, a name that nothing in the file has are
/// problems with their line and column, all of them reported at once. `${NAME}` and `${NAME:-default}` in values are
/// taken from the environment.
public struct SystemConfiguration: Sendable {
    public struct RabbitMQ: Sendable {
        /// Where the management API is, if the file says so; may hold a password.
        public var management: String?
        public var topology: RabbitMQTopology
    }

    public var rabbitMQ: RabbitMQ?
    package var gateway: GatewayModel?

    /// A longer file is a mistake.
    public static let maximumBytes = 4 << 20

    /// Reads a file.
    ///
    /// - Parameter variables: The environment.
    /// - Throws: ``ConfigurationError``.
    public init(file: String, variables: [String: String]) throws {
        func unreadable(_ why: String) -> ConfigurationError {
            ConfigurationError(.unreadable, [.init(file: file, line: nil, column: nil, message: why)])
        }
        guard FileManager.default.fileExists(atPath: file) else {
            throw unreadable("there is no such file; say where it is with --file")
        }
        guard let data = FileManager.default.contents(atPath: file) else {
            throw unreadable("it cannot be read: look at its permissions")
        }
        guard data.count <= Self.maximumBytes else { throw unreadable("it is longer than \(Self.maximumBytes) bytes") }
        guard let text = String(validating: data, as: UTF8.self) else { throw unreadable("it is not UTF-8") }
        try self.init(text: text, file: file, variables: variables)
    }

    /// - Parameter file: What to call it in messages, and the folder of the files that it names.
    public init(text: String, file: String, variables: [String: String]) throws {
        let reading = ConfigurationReading(file: file, variables: variables)
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch let error as YamlError {
            throw ConfigurationError(.invalid, [Self.problem(error, file)])
        }
        if let root {
            let table = ConfigurationTable(root, "the file", keys: ["rabbitmq", "gateway"], reading)
            if let section = table.table("rabbitmq", keys: RabbitMQSection.keys) {
                self.rabbitMQ = RabbitMQSection.read(section)
            }
            if let node = table.node("gateway") { self.gateway = GatewaySection.read(node, reading) }
        }
        guard reading.problems.isEmpty else { throw ConfigurationError(.invalid, reading.problems) }
    }

    private static func problem(_ error: YamlError, _ file: String) -> ConfigurationError.Problem {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return .init(file: file, line: mark.line, column: mark.column, message: "no YAML: \(problem)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            let keys = duplicates.map { "'\($0)'" }.joined(separator: ", ")
            let mark = context.mark
            return .init(file: file, line: mark.line, column: mark.column, message: "the key \(keys) is there twice")
        case .reader(let problem, _, _, _):
            return .init(file: file, line: nil, column: nil, message: "no YAML: \(problem)")
        default:
            return .init(file: file, line: nil, column: nil, message: "no YAML that can be read")
        }
    }
}
