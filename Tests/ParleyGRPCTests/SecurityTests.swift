import Foundation
import ParleyCore
import ParleyDiscovery
import ParleyGRPC
import ParleyResilience
import ProcessTestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct SecurityTests {
    private func certificates() async throws -> String {
        let folder = NSTemporaryDirectory() + "parley-grpc-" + UUID().uuidString
        let script =
            URL(fileURLWithPath: #filePath).deletingLastPathComponent().path
            + "/../../dev/servers/certificates"
        let answer = try await Subprocess.run(script, [folder])
        guard answer.status == 0 else { throw TestSupportError(answer.error) }
        return folder
    }

    private func local(_ endpoint: ParleyCore.Endpoint) -> StaticResolver {
        at(Endpoint(host: "localhost", port: endpoint.port))
    }

    @Test func bothSidesShowTheirCertificates() async throws {
        let folder = try await self.certificates()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await withServer(configure: {
            $0.security = .mutualTLS(
                certificateChain: "\(folder)/server.pem",
                privateKey: "\(folder)/server.key",
                trustRoots: "\(folder)/ca.pem"
            )
        }) { _, endpoint async throws in
            func answer(_ security: GRPCClientSecurity, to resolver: StaticResolver) async -> Result<String, any Error>
            {
                do {
                    return .success(
                        try await withClient(
                            resolver,
                            configure: {
                                $0.security = security
                                $0.policy.timeout = .seconds(5)
                                $0.policy.retry = nil
                            }
                        ) { try await $0.text("Echo", "secret") }
                    )
                } catch {
                    return .failure(error)
                }
            }
            let local = self.local(endpoint)
            let right = GRPCClientSecurity.mutualTLS(
                certificateChain: "\(folder)/client.pem",
                privateKey: "\(folder)/client.key",
                trustRoots: "\(folder)/ca.pem"
            )
            #expect(try await answer(right, to: local).get() == "secret")
            let stranger = GRPCClientSecurity.mutualTLS(
                certificateChain: "\(folder)/other-ca.pem",
                privateKey: "\(folder)/other-ca.key",
                trustRoots: "\(folder)/ca.pem"
            )
            let suspicious = GRPCClientSecurity.mutualTLS(
                certificateChain: "\(folder)/client.pem",
                privateKey: "\(folder)/client.key",
                trustRoots: "\(folder)/other-ca.pem"
            )
            // The certificate is for localhost, not for an address.
            for (security, resolver) in [
                (.tls(trustRoots: "\(folder)/ca.pem"), local), (stranger, local), (suspicious, local),
                (.plaintext, local),
                (right, at(endpoint)),
            ] as [(GRPCClientSecurity, StaticResolver)] {
                let error = await #expect(throws: GRPCCallError.self) { try await answer(security, to: resolver).get() }
                #expect(error?.explanation.attempts.isEmpty == false)
            }
        }
    }

    @Test func aServerNameStandsForTheHost() async throws {
        let folder = try await self.certificates()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try await withServer(configure: {
            $0.security = .tls(certificateChain: "\(folder)/server.pem", privateKey: "\(folder)/server.key")
        }) { _, endpoint async throws in
            try await withClient(
                at(endpoint),
                configure: {
                    $0.security = .tls(trustRoots: "\(folder)/ca.pem")
                    $0.serverName = "localhost"
                }
            ) { client async throws in
                let answer = try await client.text("Echo", "hello")
                #expect(answer == "hello")
            }
        }
    }

    @Test func aClientCertificateThatIsNotThereIsNamed() async throws {
        let security = GRPCClientSecurity.mutualTLS(certificateChain: "/nowhere.pem", privateKey: "/nowhere.key")
        let endpoint = Endpoint(host: "127.0.0.1", port: 1)
        try await withClient(at(endpoint), configure: { $0.security = security }) { client async throws in
            let error = await failure { try await client.text("Echo") }
            #expect(error?.message.contains("PEM") == true, "\(String(describing: error))")
        }
    }
}
