internal import GRPCCore
internal import SwiftProtobuf

/// user-service over gRPC: the same users, for the other services.
struct UserRPCs: Users_V1_UserService.SimpleServiceProtocol {
    let users: Users

    func getUser(request: Users_V1_GetUserRequest, context: ServerContext) async throws -> Users_V1_User {
        Self.message(try await self.users.user(request.id))
    }

    func listUsers(
        request: Users_V1_ListUsersRequest,
        context: ServerContext
    ) async throws -> Users_V1_ListUsersResponse {
        let users = try await self.users.all()
        return .with { $0.users = users.map(Self.message) }
    }

    private static func message(_ user: User) -> Users_V1_User {
        .with {
            $0.id = user.id
            $0.name = user.name
            $0.email = user.email
        }
    }
}
