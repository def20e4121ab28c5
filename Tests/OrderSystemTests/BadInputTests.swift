import Foundation
import NIOHTTP1
import ProcessTestSupport
import Testing

@Suite(.timeLimit(.minutes(3)))
struct BadInputTests {
    struct Problem: Decodable {
        var status: Int
        var title: String
        var detail: String
        var code: String
        var requestId: String
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var method: HTTPMethod = .POST
        var path = "/api/v1/orders"
        var body: String? = #"{"userId":"1","items":[{"productId":"1","quantity":1}]}"#
        var contentType: String? = "application/json"
        var status: Int
        /// What the answer must name.
        var names: String
        var testDescription: String { self.name }
    }

    static let cases = [
        Case(name: "malformed JSON", body: "{\"userId\":", status: 400, names: "JSON"),
        Case(name: "no body", body: "", status: 400, names: "JSON"),
        Case(name: "missing field", body: #"{"items":[]}"#, status: 400, names: "userId"),
        Case(
            name: "wrong type",
            body: #"{"userId":"1","items":[{"productId":"1","quantity":"two"}]}"#,
            status: 400,
            names: "quantity"
        ),
        Case(name: "no items", body: #"{"userId":"1","items":[]}"#, status: 422, names: "items"),
        Case(
            name: "zero",
            body: #"{"userId":"1","items":[{"productId":"1","quantity":0}]}"#,
            status: 422,
            names: "quantity"
        ),
        Case(
            name: "negative",
            body: #"{"userId":"1","items":[{"productId":"1","quantity":-3}]}"#,
            status: 422,
            names: "quantity"
        ),
        Case(
            name: "huge",
            body: #"{"userId":"1","items":[{"productId":"1","quantity":9223372036854775807}]}"#,
            status: 422,
            names: "quantity"
        ),
        Case(
            name: "over every integer",
            body: #"{"userId":"1","items":[{"productId":"1","quantity":1e99}]}"#,
            status: 400,
            names: "quantity"
        ),
        Case(
            name: "unknown product",
            body: #"{"userId":"1","items":[{"productId":"99","quantity":1}]}"#,
            status: 422,
            names: "99"
        ),
        Case(
            name: "product of path tricks",
            body: #"{"userId":"1","items":[{"productId":"../users/1","quantity":1}]}"#,
            status: 422,
            names: "../users/1"
        ),
        Case(
            name: "unknown user",
            body: #"{"userId":"nobody","items":[{"productId":"1","quantity":1}]}"#,
            status: 422,
            names: "nobody"
        ),
        Case(
            name: "too large",
            body: #"{"userId":""# + String(repeating: "x", count: 200_000) + #""}"#,
            status: 413,
            names: "65536"
        ),
        Case(name: "wrong method", method: .DELETE, body: nil, contentType: nil, status: 405, names: "DELETE"),
        Case(name: "wrong content type", contentType: "text/plain", status: 415, names: "application/json"),
        Case(name: "no content type", contentType: nil, status: 415, names: "application/json"),
        Case(
            name: "unknown order",
            method: .GET,
            path: "/api/v1/orders/nope",
            body: nil,
            contentType: nil,
            status: 404,
            names: "nope"
        ),
        Case(
            name: "unknown path",
            method: .GET,
            path: "/api/v2/orders",
            body: nil,
            contentType: nil,
            status: 404,
            names: "No service is behind this path"
        ),
        Case(
            name: "bad limit",
            method: .GET,
            path: "/api/v1/orders?limit=0",
            body: nil,
            contentType: nil,
            status: 400,
            names: "limit"
        ),
        Case(
            name: "bad status",
            method: .GET,
            path: "/api/v1/orders?status=new",
            body: nil,
            contentType: nil,
            status: 400,
            names: "status"
        ),
    ]

    /// One system for all of them: whatever was thrown at it before, it must answer the next one.
    @Test func eachGetsAClearAnswerAndLosesNothing() async throws {
        let data = try TemporaryFolder()
        let system = try await OrderSystemProcess.start(data: data)
        let shop = Shop(base: system.gateway)
        for bad in Self.cases {
            var headers: [String: String] = [:]
            headers["Content-Type"] = bad.contentType
            let answer = try await shop.send(bad.method, bad.path, body: bad.body, headers: headers)
            #expect(answer.status == bad.status, "\(bad.name): \(answer.text)")
            #expect(answer.headers.first(name: "content-type") == "application/problem+json", "\(bad.name)")
            let problem = try answer.decode(Problem.self)
            #expect(problem.status == bad.status)
            #expect(problem.detail.contains(bad.names), "\(bad.name): \(problem.detail)")
            #expect(answer.headers["x-request-id"] == [problem.requestId], "\(bad.name)")
            if bad.status == 405 { #expect(answer.headers.first(name: "allow")?.contains("POST") == true) }
        }
        #expect(try await shop.orders("PENDING").isEmpty)
        #expect(try await shop.placeAndFinish().status == "CONFIRMED")
        try await shop.checkThatEverythingAddsUp()
    }
}

@Suite(.timeLimit(.minutes(3)))
struct StartTests {
    private let data: TemporaryFolder

    init() throws { self.data = try TemporaryFolder() }

    private func refusal(
        _ arguments: [String] = ["up", "--ephemeral-ports"],
        data: TemporaryFolder? = nil
    ) async throws -> String {
        do {
            let system = try await OrderSystemProcess.start(arguments, data: data ?? self.data)
            await system.killNow()
            Issue.record("it started")
            return ""
        } catch let refusal as OrderSystemProcess.Refusal {
            #expect(refusal.status != 0)
            return refusal.standardError
        }
    }

    @Test func aCorruptDatabaseIsRefusedAndLeftAlone() async throws {
        let path = "\(self.data.path)/order-service.db"
        let garbage = Data((0..<8_192).map { UInt8(truncatingIfNeeded: $0 &* 31) })
        try garbage.write(to: URL(fileURLWithPath: path))
        let message = try await self.refusal()
        #expect(message.contains(path), "\(message)")
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == garbage)
    }

    @Test func aForeignDatabaseIsRefusedAndLeftAlone() async throws {
        let path = "\(self.data.path)/order-service.db"
        let sql = "CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1);"
        #expect(try await Subprocess.run("sqlite3", [path, sql]).status == 0)
        let before = try Data(contentsOf: URL(fileURLWithPath: path))
        let message = try await self.refusal()
        #expect(message.contains(path), "\(message)")
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == before)
    }

    @Test func aPortInUseIsNamed() async throws {
        let first = try await OrderSystemProcess.start(["user-service", "--port", "0"], data: self.data)
        let port = try #require(first.addresses["user-service"]?.split(separator: ":").last.map(String.init))
        let message = try await self.refusal(["user-service", "--port", port], data: TemporaryFolder())
        #expect(message.contains(port) && message.contains("in use"), "\(message)")
    }

    @Test func aDataFolderThatCannotBeWrittenIsNamed() async throws {
        // A file where the folder should be: refused for root as well, whom permissions do not stop.
        let file = "\(self.data.path)/file"
        try Data("x".utf8).write(to: URL(fileURLWithPath: file))
        let run = try await OrderSystemProcess.run(["up", "--ephemeral-ports", "--data", "\(file)/data"])
        #expect(run.status != 0)
        #expect(run.error.contains(file), "\(run.error)")
    }

    @Test func anUnknownOptionIsNamedWithHelp() async throws {
        let run = try await OrderSystemProcess.run(["up", "--prot", "80"])
        #expect(run.status == 64)
        #expect(run.error.contains("--prot"), "\(run.error)")
        #expect(run.error.contains("Usage:"), "\(run.error)")
    }

    @Test func helpHasExamples() async throws {
        let run = try await OrderSystemProcess.run(["--help"])
        #expect(run.status == 0)
        #expect(run.output.contains("order-system up"))
    }

    @Test func operatorsSeeAndMendSagasFromTheTerminal() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let order = try await Shop(base: system.gateway).placeAndFinish()
        let list = try await OrderSystemProcess.run(["sagas", "--json", "--data", self.data.path])
        #expect(list.status == 0, "\(list.error)")
        #expect(list.output.contains(order.id))
        let show = try await OrderSystemProcess.run(["sagas", "show", order.id, "--data", self.data.path])
        #expect(show.output.contains("SAGA_COMPLETED"), "\(show.output)\(show.error)")
        let retry = try await OrderSystemProcess.run(["sagas", "retry", order.id, "--data", self.data.path])
        #expect(retry.status != 0)
        #expect(retry.error.contains("has ended"), "\(retry.error)")
        let letters = try await OrderSystemProcess.run(["dead-letters", "--json", "--data", self.data.path])
        #expect(letters.output.trimmingCharacters(in: .whitespacesAndNewlines) == "[]", "\(letters.error)")
        let nowhere = try await OrderSystemProcess.run(["sagas", "--data", "\(self.data.path)/nowhere"])
        #expect(nowhere.status != 0)
        #expect(nowhere.error.contains("nowhere"), "\(nowhere.error)")
    }
}
