import Foundation
import ProcessTestSupport
import RabbitMQTestSupport
import Testing

/// The built command.
let binary =
    ProcessInfo.processInfo.environment["PARLEY_BINARY"] ?? RabbitMQServer.root + "/.build/debug/parley"

/// Runs it as its users run it.
func parley(
    _ arguments: [String],
    _ environment: [String: String] = [:],
    folder: String? = nil
) async throws -> Subprocess.Answer {
    try await Subprocess.run(binary, arguments, environment, folder: folder)
}

func json(_ answer: Subprocess.Answer) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [String: Any])
}

func rows(_ answer: Subprocess.Answer) throws -> [[String: Any]] {
    try #require(try JSONSerialization.jsonObject(with: Data(answer.output.utf8)) as? [[String: Any]])
}
