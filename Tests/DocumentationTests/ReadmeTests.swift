import Foundation
import Logging
import Testing

@Suite(.timeLimit(.minutes(1)))
struct ReadmeTests {
    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()

    private static func text(_ path: String) throws -> String {
        try String(contentsOf: self.root.appendingPathComponent(path), encoding: .utf8)
    }

    @Test func theExampleInTheReadmeIsTheOneThatIsCompiled() throws {
        let source = try Self.text("Tests/DocumentationTests/ReadmeExample.swift").split(
            separator: "\n",
            omittingEmptySubsequences: false
        )
        let begin = try #require(source.firstIndex { $0.hasSuffix("// example: begin") })
        let end = try #require(source.firstIndex { $0.hasSuffix("// example: end") })
        let example = source[(begin + 1)..<end].map { $0.hasPrefix("        ") ? $0.dropFirst(8) : $0 }
        #expect(try Self.text("README.md").contains(example.joined(separator: "\n")))
        #expect(example.count { !$0.isEmpty } <= 25)
    }

    @Test func theExampleWorks() async throws {
        let folder = NSTemporaryDirectory() + "readme-\(ProcessInfo.processInfo.globallyUniqueString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let (types, continuation) = AsyncStream.makeStream(of: String.self, bufferingPolicy: .bufferingOldest(8))
        await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await ReadmeExample.run(
                    path: "\(folder)/shop.db",
                    logger: Logger(label: "readme", factory: { _ in SwiftLogNoOpLogHandler() })
                ) {
                    continuation.yield($0)
                }
            }
            for await type in types {
                #expect(type == "order.created")
                break
            }
            group.cancelAll()
        }
    }

    /// What a document points at must be there.
    @Test(arguments: ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"])
    func everyFileThatADocumentNamesExists(_ document: String) throws {
        let text = try Self.text(document)
        for match in text.matches(of: /\]\(([^)#]+)\)/) where !match.1.contains("://") {
            let path = Self.root.appendingPathComponent(String(match.1)).path
            #expect(FileManager.default.fileExists(atPath: path), "\(document) points at \(match.1)")
        }
    }
}
