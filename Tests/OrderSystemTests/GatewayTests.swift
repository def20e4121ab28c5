import AsyncHTTPClient
import Foundation
import NIOCore
import NIOHTTP1
import NIOSSL
import Testing

/// What the gateway has beside HTTP: TLS with a certificate of its own, and gRPC.
@Suite(.timeLimit(.minutes(3))) struct GatewayTests {
    let data: TemporaryFolder

    init() throws { self.data = try TemporaryFolder() }

    private var certificatePath: String { self.data.path + "/gateway-certificate.pem" }

    private func get(_ url: String) async throws -> (status: UInt, text: String) {
        var configuration = HTTPClient.Configuration()
        configuration.tlsConfiguration = .makeClientConfiguration()
        // Nobody else is trusted, and the name must be right.
        configuration.tlsConfiguration?.trustRoots = .file(self.certificatePath)
        let client = HTTPClient(eventLoopGroup: HTTPClient.defaultEventLoopGroup, configuration: configuration)
        let result: Result<(status: UInt, text: String), any Error>
        do {
            let answer = try await client.execute(HTTPClientRequest(url: url), timeout: .seconds(20))
            let body = try await answer.body.collect(upTo: 1_048_576)
            result = .success((answer.status.code, String(buffer: body)))
        } catch {
            result = .failure(error)
        }
        try await client.shutdown()
        return try result.get()
    }

    @Test func theCertificateThatItMadeIsGoodAndStays() async throws {
        let first = try await OrderSystemProcess.start(data: self.data)
        let address = try #require(first.addresses["gateway-tls"])
        let port = try #require(address.split(separator: ":").last)
        for host in ["127.0.0.1", "localhost"] {
            let answer = try await self.get("https://\(host):\(port)/api/v1/users/1")
            #expect(answer.status == 200 && answer.text.contains("Ada Lovelace"))
        }
        let key = try FileManager.default.attributesOfItem(atPath: self.data.path + "/gateway-key.pem")
        #expect(key[.posixPermissions] as? Int == 0o600)
        let made = try String(contentsOfFile: self.certificatePath, encoding: .utf8)
        #expect(await first.interrupt().status == 0)
        let second = try await OrderSystemProcess.start(data: self.data)
        let again = try await self.get(try #require(second.addresses["gateway-tls"]) + "/health/live")
        #expect(again.status == 200)
        #expect(try String(contentsOfFile: self.certificatePath, encoding: .utf8) == made)
    }

    /// order-service asks for the user over gRPC, through the gateway.
    @Test func callsOfGRPCGoThroughTheGateway() async throws {
        let system = try await OrderSystemProcess.start(data: self.data)
        let rpc = try #require(system.addresses["gateway-grpc"])
        let elsewhere = try TemporaryFolder()
        let product = system.addresses["product-service"]?.replacing("http://", with: "") ?? ""
        let order = try await OrderSystemProcess.start(
            ["order-service", "--port", "0"],
            data: elsewhere,
            environment: ["USER_SERVICE": rpc, "PRODUCT_SERVICE": product]
        )
        let shop = Shop(base: try #require(order.addresses["order-service"]))
        let placed = try await shop.place()
        #expect(placed.status == 202, "\(placed.text)")
        let nobody = try await shop.send(
            .POST,
            "/api/v1/orders",
            body: #"{"userId":"nobody","items":[{"productId":"1","quantity":1}]}"#,
            headers: ["content-type": "application/json"]
        )
        #expect(nobody.status == 422 && nobody.text.contains("There is no user"), "\(nobody.text)")
    }
}
