import Foundation
import ProcessTestSupport
import Testing

/// gRPC of others through the gateway: Google's client and server, and the gateway between them.
@Suite(.timeLimit(.minutes(5)), .serialized) struct GatewayCallTests {
    private static func configuration(_ language: ServingGateway.Language, _ port: Int) -> String {
        switch language {
        case .yaml:
            return """
                max_body_size: 0
                error_format: html
                upstreams: {calls: ["127.0.0.1:\(port)"], nobody: ["127.0.0.1:1"]}
                routes:
                  - {path: /test.Test, pass: {scheme: grpc, upstream: calls}}
                  - {path: /down.Down, pass: {scheme: grpc, upstream: nobody}}
                  - {path: /forbidden.Forbidden, return: 403}
                  - {path: /limited.Limited, return: 429}
                  - {path: /secret.Secret, return: 401}
                  - {path: /, return: 404}
                """
        case .nginx:
            return """
                upstream calls { server 127.0.0.1:\(port); }
                server {
                    {listen}
                    client_max_body_size 0;
                    location /test.Test/ { grpc_pass grpc://calls; }
                    location /down.Down/ { grpc_pass 127.0.0.1:1; }
                    location /forbidden.Forbidden/ { deny all; }
                    location /limited.Limited/ { return 429; }
                    location /secret.Secret/ { return 401; }
                }
                """
        }
    }

    private static let wanted = [
        "unary hello", "large True 10485760", "server stream 0 1 2 3 4", "long stream 5000 True",
        "client stream 2000 2000000", "both A B C []", "metadata and back True True",
        "fail NOT_FOUND as you wish: 100 % näh because True", "unimplemented UNIMPLEMENTED",
        "deadline DEADLINE_EXCEEDED", "endless more more", "cancel CANCELLED CANCELLED", "many True",
        "down.Down UNAVAILABLE 502 Bad Gateway", "forbidden.Forbidden PERMISSION_DENIED 403 Forbidden",
        "limited.Limited UNAVAILABLE 429 Too Many Requests", "secret.Secret UNAUTHENTICATED 401 Unauthorized",
        "nowhere.Nowhere UNIMPLEMENTED 404 Not Found",
    ]

    @Test("All kinds of calls, in the clear and over TLS", arguments: ServingGateway.Language.allCases, [false, true])
    func calls(language: ServingGateway.Language, isSecure: Bool) async throws {
        let (server, port) = try await GatewayPeer.serving("grpc-server")
        try await ServingGateway.with(language, Self.configuration(language, port)) { gateway in
            let answer =
                isSecure
                ? try await GatewayPeer.calls("localhost:\(gateway.secure)", gateway.folder + "/ca.pem")
                : try await GatewayPeer.calls("127.0.0.1:\(gateway.plain)")
            #expect(answer.output.split(separator: "\n").map(String.init) == Self.wanted, "\(answer.error)")
            // What the client has given up, the server was told to give up: in that call, not at the end of all.
            let left = ["left deadline", "left cancel", "left endless"]
            #expect(
                try await isEventually {
                    left.allSatisfy { server.output.split(separator: "\n").map(String.init).contains($0) }
                },
                "\(server.output) \(server.error)"
            )
        }
        await server.killNow()
    }

    @Test func anErrorOfTheGatewayIsAnAnswerWithoutABody() async throws {
        let parts = """
            upstreams: {nobody: ["127.0.0.1:1"]}
            routes:
              - {path: /down, pass: {scheme: grpc, upstream: nobody}}
              - {path: /, return: 404}
            """
        try await ServingGateway.with(.yaml, parts) { gateway in
            let plain = "http://127.0.0.1:\(gateway.plain)"
            let curl = ["--disable", "--silent", "--include", "--http2-prior-knowledge", "--data", "hello"]
            for type in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
                let call = try await Subprocess.run(
                    "curl",
                    curl + ["-H", "content-type: \(type)", plain + "/down/Call"]
                )
                let lines = call.output.split(whereSeparator: \.isNewline).map(String.init)
                #expect(lines.first == "HTTP/2 200 ")
                #expect(lines.contains("grpc-status: 14"))
                #expect(lines.contains("content-type: application/grpc"))
                #expect(lines.last?.hasPrefix("grpc-message: 502 Bad Gateway: ") == true, "\(call.output)")
            }
            // Others are answered in their own way.
            for type in ["application/grpc-web", "application/json"] {
                let other = try await Subprocess.run(
                    "curl",
                    curl + ["-H", "content-type: \(type)", plain + "/down/Call"]
                )
                #expect(other.output.hasPrefix("HTTP/2 502"))
                #expect(!other.output.contains("grpc-status"))
            }
        }
    }
}
