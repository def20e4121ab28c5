internal import Hummingbird
internal import ParleyCore
internal import ParleyHTTPServer
internal import ParleySQLite

struct User: Codable, Sendable, ResponseEncodable {
    var id: String
    var name: String
    var email: String
}

/// user-service: who may order.
struct Users: Sendable {
    let backend: SQLiteBackend

    static let schema = [
        "CREATE TABLE user (id TEXT PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL)",
        """
        INSERT INTO user VALUES ('1', 'Ada Lovelace', 'ada@example.com'), ('2', 'Alan Turing', 'alan@example.com'),
            ('123', 'Grace Hopper', 'grace@example.com'), ('456', 'Edsger Dijkstra', 'edsger@example.com')
        """,
    ]

    var router: ParleyRouter {
        let router = ParleyRouter(service: "user-service")
        let users = router.group("api/v1/users")
        users.get { _, _ in try await self.all() }
        users.get(":id") { _, context in try await self.user(context.parameters.require("id")) }
        // The path of the guide's first example.
        router.get("api/users/:id") { _, context in try await self.user(context.parameters.require("id")) }
        return router
    }

    func all() async throws -> [User] {
        try await self.backend.read {
            try $0.query("SELECT id, name, email FROM user ORDER BY id").compactMap(Self.user)
        }
    }

    func user(_ id: String) async throws -> User {
        let user = try await self.backend.read { transaction in
            try transaction.query("SELECT id, name, email FROM user WHERE id = ?", [.text(id)]).first.flatMap(Self.user)
        }
        guard let user else {
            throw ProblemError(.notFound, code: "user_not_found", detail: "There is no user '\(id)'.")
        }
        return user
    }

    private static func user(_ row: [SQLValue]) -> User? {
        guard row.count == 3, let id = row[0].text, let name = row[1].text, let email = row[2].text else { return nil }
        return User(id: id, name: name, email: email)
    }
}

extension Assembly {
    mutating func addUsers(ports: Ports) async throws {
        let backend = try await self.openDatabase(of: .userService)
        try await backend.migrate("user-service/1", Users.schema)
        let users = Users(backend: backend)
        let grpc = try self.addGRPC(.userService, port: ports.grpc, services: [UserRPCs(users: users)])
        self.addHTTP(.userService, port: ports.http, router: users.router, grpc: grpc)
    }
}
